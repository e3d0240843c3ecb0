"""A file server for an exported page, and a visitor who uses the page in Chromium."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

TIMEOUT = 120_000  # milliseconds; a busy machine tracks a frame in two seconds
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


def export_site(folder: Path) -> None:
    """Run `masklet export web`: in a process of its own, since torch cannot trace what the tests watch."""
    command = [sys.executable, "-m", "masklet", "export", "web", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "npm cannot be reached" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert "MB  in all" in done.stdout


class _Handler(SimpleHTTPRequestHandler):
    headers_sent: Mapping[str, str] = {}

    def end_headers(self) -> None:
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve(folder: Path, headers: Mapping[str, str]) -> Iterator[str]:
    """The address of a file server, as any host has one."""
    handler = type("Handler", (_Handler,), {"headers_sent": headers})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Visitor:
    """A page, and what a person does on it. Points are in pixels of the clip.

    Args:
        query: Of the page's address, such as `?run=wasm`.
        size: (W, H) of the clip.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        query: str = "",
        *,
        size: tuple[int, int] = (320, 240),
        view: tuple[int, int] = (1280, 800),
        theme: str = "dark",
        is_touch: bool = False,
        service_workers: Literal["allow", "block"] = "allow",
    ) -> None:
        self.size = size
        self.context = browser.new_context(
            viewport={"width": view[0], "height": view[1]},
            color_scheme="light" if theme == "light" else "dark",
            has_touch=is_touch,
            service_workers=service_workers,
            permissions=["camera"],
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda line: self.complaints.append(line.text) if line.type == "error" else None
        )
        self.page.goto(f"{address}{query}")

    def close(self) -> None:
        self.context.close()
        assert self.complaints == [], self.complaints

    def load(self) -> str:
        """Wait until the model is loaded. Returns what runs it."""
        self.page.wait_for_selector(".topbar .dot.good")
        return self.page.locator(".topbar .status").inner_text()

    def open(self, file: Path) -> None:
        self.page.set_input_files("#file-picker", str(file))
        self.wait_for_frame(0)

    def wait_for_frame(self, frame: int) -> None:
        self.page.wait_for_selector(f".stage[data-frame='{frame}']")
        self.wait()

    def wait(self) -> None:
        """Wait until no request is under way."""
        self.page.wait_for_selector(".working", state="hidden")

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the clip is on the screen."""
        box = self.page.locator(".canvas").bounding_box()
        assert box is not None
        width, height = self.size
        scale = min(box["width"] / width, box["height"] / height)
        return (
            box["x"] + box["width"] / 2 + (x - width / 2) * scale,
            box["y"] + box["height"] / 2 + (y - height / 2) * scale,
        )

    def click(self, x: float, y: float, *, is_negative: bool = False) -> None:
        self.page.mouse.click(*self.position(x, y), button="right" if is_negative else "left")
        self.wait()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def track(self) -> None:
        """Track to the end of the clip."""
        self.press("Track")
        self.page.get_by_role("button", name="Stop").wait_for()
        self.page.get_by_role("button", name="Track").wait_for()

    def go_to(self, frame: int) -> None:
        self.page.get_by_role("slider", name="Frame").fill(str(frame))
        self.wait_for_frame(frame)

    def save(self, button: str, folder: Path) -> Path:
        with self.page.expect_download() as download:
            self.press(button)
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def object_names(self) -> list[str]:
        names: list[str] = self.page.locator(".object-name").all_inner_texts()
        return [name.split("\n")[0] for name in names]


def make_clip(path: Path, *, frames: int = 6, size: tuple[int, int] = (320, 240)) -> Path:
    """A red disc that moves over a wavy background, and a flat green square that stands.

    Nano is unsure of what is flat: two levels of a colour change the square's mask by a quarter.
    """
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    waves = 100 + 30 * np.sin(x / 17) + 30 * np.sin(y / 11 + x / 29)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in range(frames):
            image = np.stack([waves, waves + 20, waves + 50], axis=-1)
            image[(x - 110 - 7 * frame) ** 2 + (y - 110 - 3 * frame) ** 2 < 48**2] = (210, 40, 50)
            image[160:206, 230:290] = (40, 200, 60)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")))
        target.mux(stream.encode())
    return path


def unpack(path: Path) -> Path:
    """The folder with what a zip holds."""
    folder = path.with_suffix("")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder
