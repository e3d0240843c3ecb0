"""Connections are few, and fail: what was done is not lost, and clicks do not wait for images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Request, Route

from studio.browser.screen import FRAMES, Screen, ask
from studio.browser.test_choosing import area
from studio.browser.test_tracking import slow

pytestmark = [pytest.mark.browser, pytest.mark.slow]


MASKS = f"masks?start=0&stop={FRAMES}"  # what a page asks for where masks have changed


def test_thumbnails_leave_connections_for_clicks(screen: Screen) -> None:
    most, loading = 0, set[Request]()

    def begin(request: Request) -> None:
        nonlocal most
        if request.resource_type == "image" and "/thumbnails/" in request.url:
            loading.add(request)
            most = max(most, len(loading))

    screen.page.on("request", begin)
    screen.page.on("requestfinished", lambda request: loading.discard(request))
    screen.page.on("requestfailed", lambda request: loading.discard(request))
    screen.page.reload()
    screen.opened()
    last = screen.page.locator(".thumbs img").last
    screen.until(lambda: last.evaluate("image => image.naturalWidth"))
    assert 1 <= most <= 2


def box(screen: Screen) -> list[float]:
    page = screen.page.evaluate(
        "async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}/masks?start=0&stop=1"
    )
    corners: list[float] = page["frames"][0]["masks"][0]["box"]
    return corners


def stroke(screen: Screen, y: float) -> None:
    screen.page.mouse.move(*screen.at(170, y))
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at(210, y))
    screen.page.mouse.up()


def steps(screen: Screen) -> list[str]:
    history = screen.page.evaluate(
        "async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}/history"
    )
    return [step["title"] for step in history["steps"]]


def test_strokes_without_a_connection_are_kept_and_sent(screen: Screen) -> None:
    screen.press("d")
    screen.page.mouse.move(*screen.at(170, 100))
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at(210, 100))
    screen.set_offline(True)
    screen.page.mouse.up()
    stroke(screen, 250)
    screen.page.get_by_text("No connection: not saved yet").wait_for()
    screen.set_offline(False)
    screen.page.get_by_text("The server answers again.").wait_for()
    screen.answered()
    _, top, _, bottom = box(screen)
    assert top < 100 and bottom > 250
    assert steps(screen) == ["mask on frame 0"] * 2


def test_a_change_whose_answer_was_lost_is_not_sent_again(screen: Screen) -> None:
    lost: list[Route] = []

    def lose(route: Route) -> None:
        if lost:
            return route.continue_()
        lost.append(route)
        route.fetch()
        return route.abort()

    screen.page.route("**/prompts", lose)
    slow(screen, "GET", MASKS)
    screen.press("d")
    stroke(screen, 100)
    stroke(screen, 250)
    screen.page.get_by_text("The server answers again.").wait_for()
    screen.answered()
    _, top, _, bottom = box(screen)
    assert top < 100 and bottom > 250
    assert steps(screen) == ["mask on frame 0"] * 2
    screen.until(lambda: screen.objects() == ["object 1"])


def lose_first_prompt(screen: Screen) -> None:
    """The next prompt of a page does not reach the server; those after it do."""
    lost: list[Route] = []

    def lose(route: Route) -> None:
        if lost:
            return route.continue_()
        lost.append(route)
        return route.abort()

    screen.page.route("**/prompts", lose)


def test_a_tab_does_not_take_the_change_of_another_for_its_own(
    opened: Callable[..., Screen], screen: Screen
) -> None:
    screen.press("d")
    screen.drag((170, 60), (210, 60))
    screen.until(lambda: screen.objects() == ["object 1"])
    one = area(screen)
    tab = opened(beside=screen)
    tab.page.goto(screen.page.url)
    tab.opened()
    tab.until(lambda: tab.objects() == ["object 1"])
    lose_first_prompt(tab)
    held: list[
        Route
    ] = []  # the tab asks whether its stroke arrived, and is answered after the other's stroke
    tab.page.route("**/history*", lambda route: held.append(route))
    tab.press("1", "d")
    stroke(tab, 150)
    tab.until(lambda: held)
    screen.drag((170, 250), (210, 250))
    tab.page.unroute("**/history*")
    held[0].continue_()
    tab.page.get_by_text("The server answers again.").wait_for()
    tab.answered()
    assert steps(tab) == ["mask on frame 0"] * 3
    assert area(tab) > 2.5 * one


def test_tracking_is_not_taken_for_a_change_that_was_lost(screen: Screen) -> None:
    person = ask(screen, "GET", "about")["person"]["name"]
    step = {"head": 9, "do": "follow", "title": "track", "person": person, "client": None}
    answer = {"steps": [step | {"at": "2026-01-01T00:00:00Z", "undone": False}]}
    screen.page.route("**/history*", lambda route: route.fulfill(json=answer), times=1)
    lose_first_prompt(screen)
    screen.press("d")
    stroke(screen, 150)
    screen.page.get_by_text("The server answers again.").wait_for()
    screen.answered()
    assert steps(screen) == ["mask on frame 0"]


def test_a_stroke_right_after_undo_does_not_bring_back_what_was_undone(screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 100), (210, 100))
    screen.drag((170, 300), (210, 300))
    screen.until(lambda: box(screen)[3] > 300)
    slow(screen, "GET", MASKS)
    screen.press("Control+z")
    stroke(screen, 200)
    screen.until(lambda: len(steps(screen)) == 2 and box(screen)[3] > 200)
    assert 200 < box(screen)[3] < 300


@pytest.mark.parametrize(
    ("status", "words"), [(401, "Signed out: not saved yet"), (507, "Disk full: not saved yet")]
)
def test_what_the_server_cannot_take_now_waits(screen: Screen, status: int, words: str) -> None:
    body = json.dumps({"error": "kind", "message": "Not now."})
    screen.page.route("**/prompts", lambda route: route.fulfill(status=status, body=body))
    screen.press("d")
    stroke(screen, 100)
    screen.page.get_by_text(words).wait_for()
    screen.page.unroute("**/prompts")
    screen.page.get_by_text("The server answers again.").wait_for()
    screen.answered()
    assert steps(screen) == ["mask on frame 0"]


def test_a_page_that_was_left_is_not_shown_when_its_answer_comes(screen: Screen) -> None:
    video, late = screen.page.url, list[Route]()
    screen.page.route("**/api/projects", lambda route: late.append(route))
    screen.page.evaluate("location.hash = '#'")
    screen.until(lambda: late)
    screen.page.goto(video)
    screen.opened()
    late[0].continue_()
    screen.quiet()
    assert screen.page.locator(".studio").count() == 1


def test_who_left_while_a_file_was_sent_stays_where_they_are(
    opened: Callable[[], Screen], screen: Screen, clip: Path
) -> None:
    video, late = screen.page.url, list[Route]()
    screen.page.click(".brand")
    screen.page.locator("#file-picker").wait_for(state="attached")
    screen.page.route("**/uploads", lambda route: late.append(route))
    screen.page.set_input_files("#file-picker", str(clip))
    screen.until(lambda: late)
    screen.page.goto(video)
    screen.opened()
    late[0].continue_()
    screen.page.locator(".toast", has_text="Added balloons.mp4.").wait_for()
    assert screen.page.url == video
