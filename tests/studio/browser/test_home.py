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
        "reviewer": "",
        "comments": 0,
    }
    states = {10: (0, 0, "new", ""), 2: (2, 3, "working", "Ada"), 1: (1, 10, "reviewed", "Grace")}
    names_of_state = ("objects", "reviewed", "state", "assignee")
    videos = [
        {
            "id": f"v{number}",
            "name": f"clip {number}.mp4",
            **dict(zip(names_of_state, state, strict=True)),
            **made,
        }
        for number, state in states.items()
    ]
    project = {"id": "p", "name": "Birds", "policy": "recency", "created": made["created"]}
    project |= {"videos": videos, "classes": []}
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
    screen.page.get_by_label("Search videos").fill("")
    screen.page.get_by_label("Person").select_option("Grace")
    assert names.all_inner_texts() == ["clip 1.mp4"]
