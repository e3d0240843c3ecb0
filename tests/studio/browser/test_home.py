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
