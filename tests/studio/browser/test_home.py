"""The first page: large folders, and cards that fingers can use."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from studio.browser.screen import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_two_hundred_files_are_in_order_and_can_be_searched(opened: Callable[[], Screen]) -> None:
    screen = opened()
    names = [f"clip {number}.mp4" for number in range(1, 201)]
    entries = [{"name": name, "path": name, "kind": "video", "bytes": 5} for name in sorted(names)]
    body = json.dumps({"path": "", "entries": entries})
    screen.page.route(
        "**/api/folder*", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    screen.page.reload()
    rows = screen.page.locator(".entry")
    rows.last.wait_for()
    shown = rows.evaluate_all("rows => rows.map((row) => row.dataset.path)")
    assert shown == names
    in_view = rows.evaluate_all(
        """rows => {
            const list = rows[0].closest(".entries").getBoundingClientRect();
            return rows.filter((row) => row.getBoundingClientRect().bottom <= list.bottom).length;
        }"""
    )
    assert in_view >= 12
    screen.page.get_by_label("Search in this folder").fill("17 clip")
    screen.page.wait_for_timeout(100)
    visible = rows.evaluate_all("rows => rows.filter((row) => row.checkVisibility()).length")
    assert visible == sum("17" in name for name in names)


def test_a_project_is_a_list_of_work(opened: Callable[[], Screen]) -> None:
    screen = opened()
    made = {
        "width": 64,
        "height": 48,
        "frames": 10,
        "fps": 24,
        "kind": "video",
        "created": "2026-01-01T00:00:00Z",
    }
    states = [(0, 0), (2, 3), (1, 10)]  # objects, reviewed frames: new, in work, reviewed
    videos = [
        {"id": f"v{number}", "name": f"clip {number}.mp4", "objects": objects, "reviewed": reviewed, **made}
        for number, (objects, reviewed) in zip((10, 2, 1), states, strict=True)
    ]
    project = {"id": "p", "name": "Birds", "policy": "recency", "created": made["created"], "videos": videos}
    body = json.dumps({"projects": [project]})
    screen.page.route(
        "**/api/projects", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    screen.page.reload()
    names = screen.page.locator(".card strong")
    names.first.wait_for()
    screen.page.get_by_label("Order of videos").select_option("name")
    assert names.all_inner_texts() == ["clip 1.mp4", "clip 2.mp4", "clip 10.mp4"]
    screen.page.get_by_role("button", name="in work").click()
    assert names.all_inner_texts() == ["clip 2.mp4"]
    screen.page.get_by_role("button", name="all 3").click()
    screen.page.get_by_label("Search videos").fill("10")
    assert names.all_inner_texts() == ["clip 10.mp4"]


def test_problems_are_stretches_that_nobody_reviewed(opened: Callable[[], Screen]) -> None:
    screen = opened()
    problems = screen.page.evaluate(
        """async () => {
            const { findProblems } = await import("./panels/problems.js");
            return findProblems({
                start: 0, stop: 16, bins: 8, reviewed: [0, 0, 0, 0, 0, 0, 0, 1],
                objects: [{
                    object: 3, prompted: [],
                    confidence: [0.9, 0.4, 0.3, 0.1, 0.1, 0.9, null, 0.2],
                    absent: [0, 0, 0, 1, 1, 0, 0, 0],
                }],
            });
        }"""
    )
    assert problems == [
        {"object": 3, "kind": "doubtful", "start": 2, "stop": 6, "confidence": 0.3},
        {"object": 3, "kind": "lost", "start": 6, "stop": 10, "confidence": 0.1},
    ]
