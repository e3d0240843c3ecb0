"""Measures a folder of `masklet export web` in Chromium: the first click, and frames per second.

    python -m benchmarks.web_page site examples/demo.mp4

It clicks each object once on the first frame, then tracks all of them through some frames. It needs
playwright and an installed Chromium.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CLICKS = ((188, 140), (534, 120))  # two balloons of the demo clip
SIZE = (640, 360)
MILLISECONDS = 300_000  # long enough for a busy machine
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


class Isolated(SimpleHTTPRequestHandler):
    """A file server with the headers that let pages use threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--objects", type=int, default=2, choices=(1, 2))
    parser.add_argument("--frames", type=int, default=12)
    options = parser.parse_args()
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    handler = functools.partial(Isolated, directory=str(options.site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(MILLISECONDS)
        page.goto(f"http://127.0.0.1:{server.server_port}/?run=wasm&threads={options.threads}")
        page.wait_for_selector(".topbar .dot.good")
        print(page.locator(".topbar .status").inner_text(), f"load {os.getloadavg()[0]:.0f}", sep=", ")
        page.set_input_files("#file-picker", str(options.clip))
        page.wait_for_selector(".stage[data-frame='0']")
        wait(page)
        for number, point in enumerate(CLICKS[: options.objects]):
            if number:
                page.get_by_role("button", name="New object", exact=True).click()
            start = time.perf_counter()
            page.mouse.click(*position(page, *point))
            wait(page)
            print(f"click {number + 1}: {1000 * (time.perf_counter() - start):.0f} ms")
        page.get_by_role("button", name="Track", exact=True).click()
        page.wait_for_selector(f".stage[data-frame='{options.frames}']")
        rate = re.search(r"[\d.]+ frames per second", page.locator(".transport").inner_text())
        print(rate[0] if rate else "no rate was shown", f"{options.objects} objects", sep=", ")
        browser.close()
        server.shutdown()


def wait(page: Page) -> None:
    """Wait until no request is running."""
    page.wait_for_selector(".working", state="hidden")


def position(page: Page, x: float, y: float) -> tuple[float, float]:
    """The screen position of a point of the clip."""
    box = page.locator(".canvas").bounding_box()
    assert box is not None
    scale = min(box["width"] / SIZE[0], box["height"] / SIZE[1])
    return (
        box["x"] + box["width"] / 2 + (x - SIZE[0] / 2) * scale,
        box["y"] + box["height"] / 2 + (y - SIZE[1] / 2) * scale,
    )


if __name__ == "__main__":
    main()
