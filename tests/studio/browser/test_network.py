"""Connections are few, and fail: what was done is not lost, and clicks do not wait for pictures."""

from __future__ import annotations

import pytest
from playwright.sync_api import Request

from studio.browser.screen import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]


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
    screen.until(lambda: last.evaluate("picture => picture.naturalWidth"))
    assert 1 <= most <= 2
