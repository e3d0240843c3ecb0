"""Ways to a mask beside clicking: the mask under the cursor, everything on a frame, drawn outlines."""

from __future__ import annotations

import pytest
from playwright.sync_api import Request, Route

from studio.browser.screen import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RED = (188, 140)


def hover(screen: Screen, x: float, y: float) -> None:
    screen.page.mouse.move(*screen.at(x, y))
    screen.page.mouse.move(*screen.at(x + 1, y + 1))


def test_the_mask_under_the_cursor_is_shown_before_a_click(screen: Screen) -> None:
    screen.page.locator(".status .dot.good").wait_for()
    hover(screen, *RED)
    screen.page.wait_for_selector(".over[data-hover]")
    assert screen.masks() == {}
    screen.page.locator(".view-button").click()
    screen.page.get_by_label("show the mask under the cursor").uncheck()
    screen.press("Escape")
    hover(screen, *RED)
    screen.page.wait_for_selector(".over:not([data-hover])")


def test_the_studio_is_asked_for_the_very_place_where_the_cursor_rests(screen: Screen) -> None:
    screen.page.locator(".status .dot.good").wait_for()
    hover(screen, *RED)
    screen.page.wait_for_selector(".over[data-hover]")
    place = RED[0] + 2.5, RED[1] + 1  # too near to the last place for another mask while the cursor moves

    def asks_there(request: Request) -> bool:
        if not request.url.endswith("/preview"):
            return False
        ((x, y),) = request.post_data_json["positive"]
        return abs(x - place[0]) < 1 and abs(y - place[1]) < 1

    with screen.page.expect_request(asks_there) as request:
        screen.page.mouse.move(*screen.at(*place))
    with screen.page.expect_request("**/prompts") as click:
        screen.page.mouse.down()
        screen.page.mouse.up()
    assert click.value.post_data_json["positive"] == request.value.post_data_json["positive"]


def test_everything_is_shown_and_a_click_keeps_one(screen: Screen) -> None:
    held: list[Route] = []
    screen.page.route("**/everything", lambda route: held.append(route), times=1)
    screen.press("x")
    screen.page.locator(".status", has_text="Finding everything").wait_for()
    screen.until(lambda: held)
    held[0].continue_()
    screen.page.wait_for_selector("[aria-label^=Everything][aria-pressed=true]")
    offered = screen.page.evaluate(
        """async (video) => {
            const body = JSON.stringify({ frame: 0 });
            const headers = { "Content-Type": "application/json" };
            const answer = await fetch(`api/videos/${video}/everything`, { method: "POST", headers, body });
            return (await answer.json()).segments.map((segment) => segment.box);
        }""",
        screen.video,
    )
    x0, y0, x1, y1 = offered[0]
    for x, y in [((x0 + x1) / 2, (y0 + y1) / 2), (x0 + 2, (y0 + y1) / 2), ((x0 + x1) / 2, y0 + 2)]:
        hover(screen, x, y)
        screen.paint()
        if screen.page.locator(".over[data-hover]").count():
            screen.page.mouse.down()
            screen.page.mouse.up()
            break
    screen.until(lambda: screen.masks() == {0: {1}})
    screen.press("Escape")
    screen.page.wait_for_selector("[aria-label^=Everything][aria-pressed=false]")


def test_lasso_and_polygon_add_and_take_away(screen: Screen) -> None:
    screen.press("w")
    for corner in ((100, 100), (200, 100), (200, 200), (100, 200)):
        screen.page.mouse.click(*screen.at(*corner))
    screen.press("Enter")
    screen.shows_prompt("a mask")
    assert abs(area(screen) - 100 * 100) < 500
    screen.press("q")
    screen.page.keyboard.down("Alt")
    screen.drag((90, 90), (150, 90), (150, 210), (90, 210))
    screen.page.keyboard.up("Alt")
    screen.until(lambda: area(screen) < 6000)
    assert abs(area(screen) - 50 * 100) < 500


def area(screen: Screen) -> int:
    """Pixels of the first object's mask on frame 0."""
    return screen.page.evaluate(
        """async (video) => {
            const page = await (await fetch(`api/videos/${video}/masks?start=0&stop=1`)).json();
            const { runs } = await import("./lib/rle.js");
            const lengths = runs(page.frames[0].masks[0].counts);
            return lengths.reduce((sum, length, index) => sum + (index % 2 ? length : 0), 0);
        }""",
        screen.video,
    )


def test_views_show_the_image_beside_the_masks_or_a_matte(screen: Screen) -> None:
    screen.press("d")
    screen.drag((100, 100), (200, 100))
    screen.press("p")
    white = """() => {
        const canvas = document.querySelector(".stage .base");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let white = 0, black = 0;
        for (let at = 0; at < data.length; at += 4) {
            white += data[at] + data[at + 1] + data[at + 2] === 765 ? 1 : 0;
            black += data[at] + data[at + 1] + data[at + 2] === 0 ? 1 : 0;
        }
        return [white, black, data.length / 4];
    }"""
    screen.page.locator(".view-button").click()
    screen.page.get_by_role("button", name="Matte").click()

    def shows_matte() -> bool:
        whites, blacks, pixels = screen.page.evaluate(white)
        return whites > 1000 and whites + blacks > 0.99 * pixels

    screen.until(shows_matte)
    screen.page.locator(".view-button").click()
    screen.page.get_by_role("button", name="side by side").click()
    # A click on the right image is a click on the same place of the video.
    box = screen.stage.bounding_box()
    assert box is not None
    scale = box["width"] / 2 / 640
    x, y = box["x"] + box["width"] / 2 + 400 * scale, box["y"] + box["height"] / 2 + (250 - 180) * scale
    screen.press("a")
    screen.page.mouse.click(x, y)
    screen.shows_prompt("1 positive")
    video = screen.page.evaluate("async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}")
    ((at_x, at_y),) = video["prompts"][-1]["prompt"]["positive"]
    assert abs(at_x - 400) < 2 and abs(at_y - 250) < 2
