"""The studio as a person uses it, in a real browser: point, track, check, correct, take the result home."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.browser.screen import FRAMES, LONG, Screen, Server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RED = (188, 140)  # in the red balloon
YELLOW = ((505, 85), (565, 165))  # around the yellow one


def test_clicks_boxes_and_candidates_make_masks(screen: Screen) -> None:
    assert screen.painted() == 0
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    assert screen.painted() > 50
    offers = screen.page.get_by_role("radio")
    assert offers.count() == 3
    assert screen.page.get_by_role("radio", checked=True).count() == 1
    offers.nth(2).click()
    screen.shows_prompt("1 positive, candidate 3")
    # The confidence is the candidate's own, not that of a mask that a person drew.
    assert screen.page.locator(".object.selected .sure").inner_text() != "1.00"
    screen.press("Control+z")
    screen.shows_prompt("1 positive")
    screen.click(188, 300, minus=True)
    screen.shows_prompt("1 positive, 1 negative")
    screen.press("a")
    screen.drag(*YELLOW)
    screen.shows_prompt("a box")
    assert len(screen.objects()) == 2
    assert screen.masks()[0] == {1, 2}
    status = screen.page.locator(".status")
    screen.until(lambda: status.inner_text().endswith(" ms"))  # once the answer is painted


def test_brush_eraser_and_clipboard_make_masks_exactly(screen: Screen) -> None:
    screen.press("d")
    screen.drag((100, 100), (200, 100))
    screen.shows_prompt("a mask")
    whole = screen.painted()
    screen.press("e")
    screen.drag((100, 100), (140, 100))
    screen.until(lambda: 0 < screen.painted() < whole)
    screen.press("Control+c")
    screen.frame(3)
    assert screen.painted() == 0
    screen.page.get_by_role("button", name="Paste").click()
    screen.shows_prompt("a mask")
    assert 0 < screen.painted() < whole
    screen.press("Backspace")
    screen.page.get_by_text("No prompt yet.").wait_for()


def test_tracking_is_watched_corrected_and_undone(screen: Screen) -> None:
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    screen.watch_for("[role=progressbar][aria-label=Tracking]")
    screen.press("f")
    screen.tracked()
    assert screen.has_shown()
    assert sorted(screen.masks()) == list(range(FRAMES))
    screen.frame(8)
    assert screen.painted() > 20
    screen.click(188, 330, minus=True)
    screen.shows_prompt("1 negative")
    screen.page.get_by_role("button", name="Track changes").click()
    screen.tracked()
    screen.page.get_by_role("button", name="Track changes").wait_for(state="detached")
    for _ in range(3):  # the second tracking, the correction, the first tracking
        before = screen.label("Undo")
        screen.press("Control+z")
        screen.until(lambda before=before: screen.label("Undo") != before)
    assert set(screen.masks()) == {0}
    screen.press("Control+Shift+z")
    screen.until(lambda: "click" in screen.label("Redo"))
    assert sorted(screen.masks()) == list(range(FRAMES))


def test_review_leads_from_doubt_to_doubt(screen: Screen) -> None:
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    screen.press("f")
    screen.tracked()
    screen.frame(0)  # which is prompted, and not in doubt
    screen.press("j")
    screen.page.wait_for_selector(".stage:not([data-frame='0'])")
    screen.quiet()
    screen.page.get_by_role("button", name="Reviewed").click()
    screen.page.wait_for_selector(".toggle[aria-pressed=true]")
    screen.press("Home", "i", "End", "o", "r")
    screen.until(lambda: reviewed(screen) == [[0, FRAMES]])
    screen.press("r")
    screen.until(lambda: reviewed(screen) == [])
    screen.frame(9)
    screen.press("i")
    screen.press("Home", "Enter")  # accepts the frame in view, which is not in the range
    screen.until(lambda: reviewed(screen) == [[0, 1]])
    screen.page.locator("canvas.strip[role=img][aria-label*='100 percent']").wait_for()


def reviewed(screen: Screen) -> list[list[int]]:
    video = screen.page.evaluate("async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}")
    return video["reviewed"]


def test_export_hands_over_a_file(screen: Screen, tmp_path: Path) -> None:
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    screen.press("Control+e")
    with screen.page.expect_download() as download:
        screen.page.click("[data-format=coco]")
    path = tmp_path / "coco.json"
    download.value.save_as(path)
    assert len(json.loads(path.read_text())["annotations"]) == 1
    screen.page.get_by_text("15 of 16 frames have no masks").wait_for()
    screen.press("Escape")
    screen.page.get_by_role("dialog").wait_for(state="detached")
    screen.press("i", "o")
    screen.page.get_by_title("Clear the range").wait_for()
    screen.press("Control+e")
    assert screen.page.locator(".export-options select").nth(1).input_value() == "range"
    with screen.page.expect_request("**/exports") as sent, screen.page.expect_download():
        screen.page.click("[data-format=youtube-vis]")
    body = sent.value.post_data_json
    assert (body["start"], body["stop"]) == (0, 1)


def test_an_export_is_found_again_after_the_page_was_closed(screen: Screen) -> None:
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    screen.press("Control+e")
    with screen.page.expect_response(
        lambda answer: answer.request.method == "POST" and "/exports" in answer.url
    ):
        screen.page.click("[data-format=overlay]")
    screen.page.reload()
    screen.opened()
    screen.press("Control+e")
    link = screen.page.get_by_role("group", name="Earlier exports").get_by_role("link")
    link.wait_for()
    assert "overlay.mp4" in link.inner_text()
    with screen.page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename.endswith("overlay.mp4")


def test_work_survives_the_server(opened: Callable[[], Screen], long_clip: Path, server: Server) -> None:
    screen = opened()
    screen.upload(long_clip)
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    screen.press("f")
    screen.until(lambda: len(screen.masks()) > 3)
    done = max(screen.masks(0, LONG))
    server.kill()
    screen.page.get_by_text("Connection lost").wait_for()
    server.start()
    go_on = screen.page.locator("button", has_text="Resume from")
    go_on.wait_for()
    assert LONG - 1 > max(screen.masks(0, LONG)) >= done
    screen.page.reload()
    screen.opened()
    go_on.click()
    screen.tracked()
    assert sorted(screen.masks(0, LONG)) == list(range(LONG))


def test_two_people_see_each_other_and_names_are_text(opened: Callable[[], Screen], screen: Screen) -> None:
    other = opened()
    other.page.goto(screen.page.url)
    other.opened()
    screen.click(*RED)
    other.page.locator(".object input.name").wait_for()
    other.page.locator(".sure:not(.none)").wait_for()
    other.until(lambda: other.painted() > 50)
    name = "<img src=x onerror=alert(1)>"
    other.page.locator(".object input.name").dblclick()
    other.page.keyboard.type(name)
    other.press("Enter")
    screen.until(lambda: screen.objects() == other.objects() == [name])
    assert screen.page.locator("img[src=x]").count() == 0


def test_the_keyboard_is_enough(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    screen.page.locator(f".entry[data-path='{clip.name}']").focus()
    screen.press("Enter")
    screen.opened()
    screen.press("k", *["ArrowLeft"] * 9, *["ArrowUp"] * 3, "Enter")
    screen.answered()
    screen.shows_prompt("1 positive")
    screen.press("a", "b", *["ArrowRight"] * 12, "Enter", *["ArrowRight"] * 5, *["ArrowDown"] * 5, "Enter")
    screen.answered()
    screen.shows_prompt("a box")
    screen.press("Escape", "ArrowRight", "ArrowRight")
    assert screen.page.locator(".frame-number").input_value() == "2"
    screen.press("?")
    screen.page.get_by_role("heading", name="Keys").wait_for()
    screen.press("Escape")
    screen.press("2", "v")
    screen.page.wait_for_selector(".hidden-object[data-object='2']")
    screen.press("Delete")
    screen.until(lambda: len(screen.objects()) == 1)


def test_projects_are_made_and_deleted(opened: Callable[[], Screen]) -> None:
    screen = opened()
    screen.page.get_by_role("button", name="New project").click()
    screen.page.get_by_label("Name of the new project").last.fill("Kites")
    screen.page.get_by_role("button", name="Save").click()
    screen.page.get_by_role("heading", name="Kites").wait_for()
    screen.page.get_by_role("button", name="Delete the project").click()
    screen.page.get_by_role("button", name="Delete", exact=True).click()
    screen.page.get_by_role("heading", name="Kites").wait_for(state="detached")
    screen.page.locator("main h1").wait_for()  # of another project
    assert screen.page.get_by_role("link", name="Kites").count() == 0


def test_what_cannot_be_is_said(opened: Callable[[], Screen], tmp_path: Path) -> None:
    screen = opened()
    words = tmp_path / "words.mp4"
    words.write_text("not a video")
    screen.page.set_input_files("#file-picker", str(words))
    screen.page.locator(".upload.failed").wait_for()
    assert "words.mp4: " in screen.page.locator(".upload.failed").inner_text()
    screen.page.goto(f"{screen.address}#video/nothing")
    screen.page.get_by_role("alert").wait_for()
    screen.page.get_by_role("link", name="All videos").click()
    screen.page.wait_for_selector(".drop")


def test_everything_fits(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    screen.page.locator(f".entry[data-path='{clip.name}']").click()
    screen.opened()
    screen.press("d")
    screen.drag((100, 100), (200, 100))
    screen.press("a")
    screen.drag((300, 100), (400, 100))
    outside = """() => [...document.querySelectorAll("button, input, canvas")]
        .filter((element) => element.checkVisibility() && !element.closest(".visually-hidden"))
        .filter((element) => {
            const { left, right, top, bottom } = element.getBoundingClientRect();
            return left < -1 || top < -1 || right > innerWidth + 1 || bottom > innerHeight + 1;
        })
        .map((element) => element.outerHTML.slice(0, 120))"""
    for width, height in [(1280, 800), (1920, 1080), (1024, 768), (820, 1180)]:
        screen.page.set_viewport_size({"width": width, "height": height})
        screen.until(lambda width=width: screen.page.evaluate("innerWidth") == width)
        screen.quiet()
        assert screen.page.evaluate(outside) == [], f"at {width} x {height}"
    for width, height in [(844, 390), (800, 500)]:  # tools and strips scroll there
        screen.page.set_viewport_size({"width": width, "height": height})
        screen.until(lambda width=width: screen.page.evaluate("innerWidth") == width)
        screen.quiet()
        stage = screen.stage.bounding_box()
        assert stage is not None and stage["height"] > height / 2, f"at {width} x {height}"
        assert screen.page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_every_control_has_a_name(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    screen.page.wait_for_selector(".entry")
    assert screen.nameless() == []
    screen.upload(clip)
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    assert screen.nameless() == []
    for keys in ("Control+e", "?"):
        screen.press(keys)
        screen.page.get_by_role("dialog").wait_for()
        assert screen.nameless() == [], keys
        screen.press("Escape")


def test_fingers_point_and_pinch(opened: Callable[..., Screen], clip: Path) -> None:
    screen = opened(touch=True)
    screen.upload(clip)
    box = screen.stage.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    screen.touch("touchStart", (x - 40, y))
    screen.touch("touchStart", (x - 40, y), (x + 40, y))
    for reach in (50, 65, 80):
        screen.touch("touchMove", (x - reach, y), (x + reach, y))
    screen.touch("touchEnd")
    # Two fingers point at nothing.
    screen.page.get_by_text("No prompt yet.").wait_for(state="attached")
    screen.page.touchscreen.tap(x + 60, y)
    screen.shows_prompt("1 positive")
    video = screen.page.evaluate("async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}")
    ((at, _),) = video["prompts"][0]["prompt"]["positive"]
    unzoomed = 60 / min(box["width"] / 640, box["height"] / 360)
    assert abs(unzoomed / (at - 320) - 2) < 0.2
