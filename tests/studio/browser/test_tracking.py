"""Tracking from the page: how far, which frames, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from studio.browser.screen import FRAMES, LONG, Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RED = (188, 140)
YELLOW = (535, 125)


# Some requests leave the page late; `sent` has all changes in the order in which they leave.
SLOW_FETCH = """([method, end, milliseconds]) => {
    const { fetch } = window;
    window.sent = [];
    window.fetch = async (address, options = {}) => {
        const kind = options.method ?? "GET";
        const isSlow = kind === method && address.endsWith(end);
        if (isSlow) await new Promise((resolve) => setTimeout(resolve, milliseconds));
        const what = address.split("?")[0].split("/")[3] ?? "";
        if (kind !== "GET" && what !== "preview") window.sent.push(`${kind} ${what}`);
        return fetch(address, options);
    };
}"""

# Remember the rows of objects, and which share of a strip is cleared whenever one is painted.
WATCH_ROWS = """() => {
    window.rows = Array.from(document.querySelectorAll(".strips .lane, .objects .object"));
    window.cleared = [];
    const { clearRect } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.clearRect = function (x, y, width, height) {
        if (this.canvas.matches(".strip")) window.cleared.push(width / this.canvas.width);
        clearRect.call(this, x, y, width, height);
    };
}"""
SAME_ROWS = """() => {
    const now = Array.from(document.querySelectorAll(".strips .lane, .objects .object"));
    return now.length === window.rows.length && now.every((row, at) => row === window.rows[at]);
}"""
STRIPS = """() => Array.from(document.querySelectorAll("canvas.strip"), (strip) => strip.toDataURL())"""


def slow(screen: Screen, method: str, end: str) -> None:
    screen.page.evaluate(SLOW_FETCH, [method, end, 1500])


def stroke(screen: Screen, y: float) -> None:
    """Paint from left to right, and do not wait for the answer."""
    screen.page.mouse.move(*screen.at(170, y))
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at(210, y))
    screen.page.mouse.up()


def counts(screen: Screen, frame: int) -> str:
    page = screen.page.evaluate(
        "async (path) => (await fetch(path)).json()",
        f"api/videos/{screen.video}/masks?start={frame}&stop={frame + 1}",
    )
    return page["frames"][0]["masks"][0]["counts"]


def test_tracking_from_here_for_some_frames_and_filling_gaps(screen: Screen) -> None:
    screen.click(*RED)
    screen.shows_prompt("1 positive")
    screen.page.get_by_role("button", name="More ways to track").click()
    screen.page.get_by_label("Number of frames").fill("4")
    screen.page.get_by_label("Number of frames").press("Enter")
    screen.tracked()
    assert sorted(screen.masks()) == [0, 1, 2, 3]
    screen.frame(FRAMES - 2)
    screen.page.get_by_role("button", name="From here").click()
    screen.tracked()
    assert sorted(screen.masks()) == [0, 1, 2, 3, FRAMES - 2, FRAMES - 1]
    before = counts(screen, 3)
    screen.press("u")
    screen.tracked_to(FRAMES)
    assert counts(screen, 3) == before


def test_an_export_of_the_project_waits_for_prompts_under_way(screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.until(screen.masks)
    slow(screen, "POST", "prompts")
    stroke(screen, 160)
    stroke(screen, 180)
    screen.page.get_by_title("All videos").click()
    screen.page.get_by_role("button", name="Export all").click()
    with screen.page.expect_download():
        screen.page.get_by_role("button", name="Export", exact=True).click()
    assert screen.page.evaluate("window.sent") == ["POST prompts", "POST prompts", "POST exports"]


def test_reviewed_frames_keep_their_masks_and_the_page_says_so(screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.answered()
    screen.until(screen.masks)
    screen.press("p", "f")
    screen.tracked_to(FRAMES)
    screen.frame(5)
    screen.press("r")
    screen.page.get_by_text("Reviewed: tracking does not change this mask").wait_for()
    before = counts(screen, 5), counts(screen, 6)
    screen.frame(0)
    screen.press("d")
    screen.drag((400, 200), (500, 200))
    screen.page.get_by_role("button", name="Track changes").wait_for()
    screen.keep_notes()
    screen.press("t")
    screen.tracked()
    screen.page.get_by_role("button", name="Track changes").wait_for(state="detached")
    screen.until(lambda: screen.noted("Reviewed frame 5 keeps its masks."))
    assert counts(screen, 5) == before[0]
    assert counts(screen, 6) != before[1]


def test_resume_survives_a_click_and_its_undo(opened: Callable[[], Screen], long_clip: Path) -> None:
    screen = opened()
    screen.upload(long_clip)
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.answered()
    screen.until(screen.masks)
    screen.press("p", "f")
    screen.page.locator("button.stop").wait_for()
    screen.until(lambda: len(screen.masks()) > 2)
    screen.press("s")
    screen.tracked()
    resume = screen.page.get_by_role("button", name="Resume from")
    resume.wait_for()
    screen.frame(0)
    place = screen.stage.bounding_box()
    screen.click(300, 300)
    screen.page.get_by_role("button", name="Track changes").wait_for()
    assert resume.is_visible() and screen.stage.bounding_box() == place, "the image stays where it is"
    screen.press("Control+z")
    screen.until(lambda: "click" not in screen.label("Undo"))
    resume.click()
    screen.tracked_to(LONG)


def test_undo_while_tracking_takes_back_what_was_tracked(
    opened: Callable[[], Screen], long_clip: Path
) -> None:
    screen = opened()
    screen.upload(long_clip)
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.until(lambda: screen.masks() == {0: {1}})
    screen.press("p", "f")
    screen.page.locator("button.stop").wait_for()
    screen.until(lambda: len(screen.masks()) > 2)
    screen.press("Control+z")
    screen.until(lambda: screen.masks() == {0: {1}})
    screen.page.locator("button.stop").wait_for(state="detached")
    screen.press("Control+Shift+z")
    screen.until(lambda: len(screen.masks()) > 2)


def test_changes_are_tracked_as_far_as_objects_were(screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.until(screen.masks)
    screen.page.get_by_role("button", name="More ways to track").click()
    screen.page.get_by_label("Number of frames").fill("4")
    screen.page.get_by_label("Number of frames").press("Enter")
    screen.tracked()
    assert sorted(screen.masks()) == [0, 1, 2, 3]
    screen.frame(1)
    before = counts(screen, 3)
    screen.drag((400, 200), (500, 200))
    changes = screen.page.get_by_role("button", name="Track changes")
    changes.wait_for()
    assert "frames 1\u20133" in (changes.get_attribute("title") or "")
    changes.click()
    screen.tracked()
    changes.wait_for(state="detached")
    assert counts(screen, 3) != before
    assert sorted(screen.masks()) == [0, 1, 2, 3]


def test_both_ways_stay_in_the_range_and_doubt_stops_on_request(screen: Screen) -> None:
    screen.frame(6)
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.until(screen.masks)
    screen.press("p")
    screen.frame(4)
    screen.press("i")
    screen.frame(8)
    screen.press("o")
    more = screen.page.get_by_role("button", name="More ways to track")
    more.click()
    screen.page.get_by_label("stop when doubtful").check()
    with screen.page.expect_request("**/propagation") as sent:
        screen.page.get_by_role("button", name="Track both ways in the range").click()
    assert sent.value.post_data_json["stop_when_doubtful"] == 0.5
    screen.tracked()
    assert set(screen.masks()) <= set(range(4, 9))
    more.click()
    screen.page.get_by_label("stop when doubtful").uncheck()
    screen.page.get_by_role("button", name="Track both ways in the range").click()
    screen.tracked()
    assert sorted(screen.masks()) == [4, 5, 6, 7, 8]


def test_enter_leaves_the_frame_field(screen: Screen) -> None:
    screen.page.locator(".frame-number").click()
    screen.page.keyboard.type("6")
    screen.press("Enter", "1", "ArrowRight")
    screen.page.wait_for_selector(".stage[data-frame='7']")
    assert screen.page.locator(".frame-number").input_value() == "7"
    assert screen.page.locator(".time").first.inner_text() == "00:00:00:07"


def test_tracking_right_after_a_stroke_waits_for_its_mask(screen: Screen) -> None:
    screen.press("d")
    stroke(screen, 120)
    screen.press("f")
    screen.tracked_to(FRAMES)


def test_tracking_is_begun_before_the_page_knows_of_the_prompt(screen: Screen) -> None:
    slow(screen, "GET", f"videos/{screen.video}")
    screen.press("d")
    stroke(screen, 120)
    screen.until(screen.masks)
    screen.press("f")
    screen.tracked_to(FRAMES)


def test_changes_are_sent_in_the_order_in_which_they_were_made(screen: Screen) -> None:
    slow(screen, "POST", "prompts")
    screen.press("d")
    stroke(screen, 100)
    stroke(screen, 250)
    screen.press("r", "Shift+C", "Control+z", "f")
    screen.tracked_to(FRAMES)
    assert screen.page.evaluate("() => window.sent") == [
        "POST prompts",
        "POST prompts",
        "PUT reviewed",
        "POST edits",
        "POST undo",
        "POST propagation",
    ]
    page = screen.page.evaluate(
        "async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}/masks?start=0&stop=1"
    )
    _, top, _, bottom = page["frames"][0]["masks"][0]["box"]
    assert top < 100 and bottom > 250, "the second stroke was added to the first"


def test_a_click_while_tracking_is_shown_on_the_frame_that_has_it(screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 120), (210, 120))
    screen.until(screen.masks)
    with screen.page.expect_response("**/propagation"):  # the button to stop it may be gone at once
        screen.press("p", "f")
    screen.press("a")
    screen.click(*YELLOW)
    screen.shows_prompt("1 positive")
    video = screen.page.evaluate("async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}")
    (clicked,) = [prompt["frame"] for prompt in video["prompts"] if prompt["object"] == 2]
    screen.tracked()
    # The view stays on that frame, though tracking went on.
    screen.page.wait_for_selector(f".stage[data-frame='{clicked}']")
    screen.shows_prompt("1 positive")


def test_a_tracked_frame_redraws_only_its_part_of_each_strip(screen: Screen) -> None:
    for point in (RED, YELLOW):
        screen.click(*point)
        screen.shows_prompt("1 positive")
        screen.press("a")
    screen.quiet()
    screen.page.evaluate(WATCH_ROWS)
    screen.press("f")
    screen.tracked_to(FRAMES)
    assert screen.page.evaluate(SAME_ROWS)
    cleared = screen.page.evaluate("window.cleared")
    assert sum(share < 0.1 for share in cleared) >= 2 * (FRAMES - 2)
    drawn = screen.page.evaluate(STRIPS)
    assert len(drawn) == 3
    screen.page.reload()
    screen.opened()
    screen.until(lambda: screen.page.evaluate(STRIPS) == drawn)
