"""The stage: what a press, a paste and a slow image do, and what they must not do."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Response, Route

from studio.browser.screen import FRAMES, Screen, short_clip

pytestmark = [pytest.mark.browser, pytest.mark.slow]

YELLOW = (535, 125)  # in the yellow balloon, which is small


def paint_two_objects(screen: Screen) -> None:
    """A bar at the left, and one at the right, which is selected."""
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.press("a")
    screen.drag((400, 100), (480, 100))
    screen.until(lambda: screen.objects() == ["object 1", "object 2"])
    screen.press("p")


def selected(screen: Screen) -> str:
    return screen.page.locator(".object.selected").get_attribute("data-object") or ""


def test_the_image_stays_in_place_when_objects_appear(screen: Screen) -> None:
    before = screen.stage.bounding_box()
    screen.press("d")
    for count, x in enumerate((100, 250, 400), 1):
        screen.drag((x, 100), (x + 60, 100))
        screen.until(lambda count=count: len(screen.objects()) == count)
        assert screen.stage.bounding_box() == before
        screen.press("a")


def test_a_click_on_another_object_selects_it_and_shift_edits(screen: Screen) -> None:
    paint_two_objects(screen)
    screen.click(140, 100)
    screen.page.locator(".object.selected[data-object='1']").wait_for()
    screen.shows_prompt("a mask")  # nothing was added to either
    screen.press("2")
    screen.shows_prompt("a mask")
    screen.page.keyboard.down("Shift")
    screen.click(140, 100)
    screen.page.keyboard.up("Shift")
    screen.shows_prompt("a mask, 1 positive")
    assert selected(screen) == "2"


def test_a_double_click_on_a_name_renames_an_object_that_was_not_selected(screen: Screen) -> None:
    paint_two_objects(screen)
    screen.page.locator(".object[data-object='1'] input.name").dblclick()
    screen.page.keyboard.type("bar")
    screen.press("Enter")
    screen.until(lambda: screen.objects() == ["bar", "object 2"])


def prompts_of(screen: Screen) -> list[tuple[int, list[float]]]:
    """The status and the point of each click from now on."""
    clicks: list[tuple[int, list[float]]] = []

    def keep(response: Response) -> None:
        if response.url.endswith("/prompts"):
            clicks.append((response.status, response.request.post_data_json["positive"][0]))

    screen.page.on("response", keep)
    return clicks


def test_clicks_on_the_outermost_pixels_are_answered(screen: Screen) -> None:
    clicks = prompts_of(screen)
    width, height = screen.size
    (left, top), (right, bottom) = screen.at(0, 0), screen.at(width, height)
    scale = (right - left) / width
    assert scale % 0.5, "the test is about odd fractions"
    near = 0.4  # screen pixels
    corners = [(left + near, top + near), (right - near, top + near), (left + near, bottom - near)]
    edges = [(left - near, (top + bottom) / 2), (right + near, (top + bottom) / 2)]
    edges += [((left + right) / 2, top + near), ((left + right) / 2, bottom - near)]
    for count, place in enumerate([*corners, (right - near, bottom - near), *edges], 1):
        screen.press("a")
        screen.page.mouse.click(*place)
        screen.until(lambda count=count: len(clicks) == count)
        screen.answered()
    assert [status for status, _ in clicks] == [200] * 8, clicks
    assert all(0 <= x < width and 0 <= y < height for _, (x, y) in clicks)
    assert clicks[0][1] == [0.5, 0.5] and clicks[4][1][0] == 0 and clicks[5][1][0] == width - 0.5
    screen.press("a")
    for place in ((left - 4, top + 50), (right + 4, top + 50), (left + 50, top - 4), (left + 50, bottom + 4)):
        if screen.page.evaluate("([x, y]) => document.elementFromPoint(x, y).matches('.over')", place):
            screen.page.mouse.click(*place)
    screen.page.mouse.move(left + near, top + near)
    screen.page.mouse.wheel(0, -300)  # the first pixel, larger: in the stage's corner
    screen.paint()
    box = screen.stage.bounding_box()
    assert box is not None
    screen.page.mouse.click(box["x"] + near, box["y"] + near)
    screen.until(lambda: len(clicks) == 9)  # and none from beside the image
    assert clicks[8] == (200, [0.5, 0.5])


CLICK = """([x, y]) => {
    const over = document.querySelector(".stage .over");
    for (const [kind, buttons] of [["move", 0], ["down", 1], ["up", 0]]) {
        over.dispatchEvent(new PointerEvent(`pointer${kind}`, {
            bubbles: true, pointerId: 1, pointerType: "mouse", clientX: x, clientY: y, button: 0, buttons,
        }));
    }
}"""


def test_a_click_that_comes_with_the_cursor_does_not_wait_for_a_preview(screen: Screen) -> None:
    screen.page.locator(".status .dot.good").wait_for()
    screen.quiet()
    asked: list[str] = []
    screen.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    with screen.page.expect_response("**/prompts"):
        screen.page.evaluate(CLICK, screen.at(*YELLOW))
    assert asked[0] == "prompts"
    assert "preview" not in asked
    screen.answered()
    screen.press("a")
    with screen.page.expect_response("**/preview"):  # a cursor that stays is shown what a click would give
        screen.page.mouse.move(*screen.at(300, 100))


def test_the_middle_button_pans_and_pastes_nothing(screen: Screen) -> None:
    paint_two_objects(screen)
    screen.press("Control+c", "ArrowRight")
    screen.page.wait_for_selector(".stage[data-frame='1']")
    screen.page.mouse.move(*screen.at(300, 200))
    screen.page.mouse.down(button="middle")
    screen.page.mouse.move(*screen.at(320, 210))
    screen.page.mouse.up(button="middle")
    screen.page.evaluate("window.dispatchEvent(new ClipboardEvent('paste'))")  # as Linux does then
    screen.quiet()
    assert screen.masks(1, 2) == {}


def test_images_paste_after_a_mask_was_copied(screen: Screen) -> None:
    paint_two_objects(screen)
    screen.press("Control+c")
    screen.page.get_by_text("Mask copied").wait_for()
    image = np.zeros((360, 640), np.uint8)
    image[200:300, 100:500] = 255
    file = BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    paste_image(screen, file.getvalue())
    screen.until(lambda: area(screen, 0, 2) == 100 * 400)


def paste_image(screen: Screen, png: bytes) -> None:
    screen.page.evaluate(
        """async (data) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "mask.png", { type: "image/png" }));
            window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
        }""",
        base64.b64encode(png).decode(),
    )


def area(screen: Screen, frame: int, obj: int) -> int:
    """The box of an object on a frame, in pixels, as the server has it."""
    page = screen.page.evaluate(
        "async (path) => (await fetch(path)).json()",
        f"api/videos/{screen.video}/masks?start={frame}&stop={frame + 1}",
    )
    boxes = [mask["box"] for entry in page["frames"] for mask in entry["masks"] if mask["object"] == obj]
    return 0 if not boxes else (boxes[0][2] - boxes[0][0]) * (boxes[0][3] - boxes[0][1])


def test_icons_are_fetched_once(screen: Screen) -> None:
    fetched: list[str] = []
    screen.page.on("request", lambda request: fetched.append(request.url))
    for _ in range(5):
        screen.press("ArrowRight")
    screen.page.wait_for_selector(".stage[data-frame='5']")
    screen.quiet()
    assert [address for address in fetched if ".svg" in address] == []


def test_a_slow_frame_shows_its_thumbnail_and_takes_clicks(screen: Screen) -> None:
    held: list[Route] = []
    screen.page.route(f"**/frames/{FRAMES - 3}.jpg*", lambda route: held.append(route))
    screen.page.fill(".frame-number", str(FRAMES - 3))
    screen.press("Enter")
    screen.page.wait_for_selector(f".stage.waiting[data-frame='{FRAMES - 3}']")
    screen.click(188, 140)
    screen.until(lambda: screen.masks(FRAMES - 3, FRAMES - 2) == {FRAMES - 3: {1}})
    for route in held:
        route.continue_()
    screen.page.wait_for_selector(f".stage:not(.waiting)[data-frame='{FRAMES - 3}']")


def test_candidates_are_shown_close_and_keep_their_confidence(screen: Screen) -> None:
    screen.click(*YELLOW)
    screen.shows_prompt("1 positive")
    share = """(canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let yellow = 0;
        for (let at = 0; at < data.length; at += 4) yellow += data[at] - data[at + 2] > 60 ? 1 : 0;
        return yellow / (data.length / 4);
    }"""
    screen.until(lambda: screen.page.locator(".candidate canvas").first.evaluate(share) > 0.08)


def test_numbers_of_objects_start_again_after_undo(screen: Screen) -> None:
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.until(lambda: screen.objects() == ["object 1"])
    screen.press("Control+z")
    screen.until(lambda: screen.objects() == [])
    screen.drag((300, 100), (380, 100))
    screen.until(lambda: screen.objects() == ["object 1"])


def test_a_truncated_video_says_one_sentence(screen: Screen, tmp_path: Path) -> None:
    whole = short_clip(tmp_path / "whole.mp4", 60)
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    screen.page.goto(screen.address)
    screen.upload(cut)
    screen.press("End")
    notice = screen.page.locator(".stage-notice")
    notice.wait_for()
    assert "cut.mp4" in notice.inner_text()
    screen.quiet()
    assert screen.page.locator(".toast").count() == 0


def test_the_outline_stays_smooth_when_zoomed(screen: Screen) -> None:
    """A diagonal stroke, zoomed in: its edge has many directions, not the two of pixels."""
    screen.press("d")
    screen.drag((300, 150), (340, 210))
    screen.press("p")
    for _ in range(5):
        screen.press("+")
    screen.quiet()
    steps = screen.page.evaluate(
        """() => {
            const canvas = document.querySelector(".stage .base");
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            const edge = (y) => {
                for (let x = 0; x < width; x++) {
                    const at = 4 * (y * width + x);
                    if (data[at] > 200 && data[at + 1] < 110 && data[at + 2] < 120) return x;
                }
                return null;
            };
            const edges = [];
            for (let y = height / 2 - 20; y < height / 2 + 20; y++) edges.push(edge(y));
            return edges.slice(1).map((x, at) => Math.abs(x - edges[at]));
        }"""
    )
    # A pixel of the video is seven of the screen: blocks would give steps of seven and zeros between.
    assert max(steps) < 5, steps
