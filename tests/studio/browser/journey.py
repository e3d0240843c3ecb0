"""A new user's way, with a clock: start the server, drop a clip, click, track, correct, take COCO home.

Then into the middle of an hour of video, and a hundred frames on from there.

    python tests/studio/browser/journey.py CLIP [FOLDER for screenshots]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import av
from playwright.sync_api import sync_playwright
from screen import CHROMIUM, Screen, Server, short_clip

HOUR = 86_400  # frames, at 24 a second
SOME = 40  # frames that are tracked of the clip
MANY = 100  # of the hour


class Clock:
    """Says how long each step took, and takes a screenshot after it."""

    def __init__(self, screenshots: Path | None) -> None:
        self._screenshots = screenshots
        self.begun = self._last = time.perf_counter()
        self.screen: Screen | None = None

    def did(self, what: str) -> None:
        now = time.perf_counter()
        sys.stdout.write(f"{now - self.begun:7.1f} s  {now - self._last:6.1f} s  {what}\n")
        sys.stdout.flush()
        if self.screen is not None and self._screenshots is not None:
            self.screen.page.screenshot(path=self._screenshots / f"{what}.png")
        self._last = time.perf_counter()


def long_clip(path: Path) -> Path:
    """An hour: a short clip's packets, over and over, so that nothing need be encoded."""
    with av.open(str(short_clip(path.with_name("short.mp4"), 96))) as source, av.open(str(path), "w") as to:
        stream = to.add_stream_from_template(source.streams.video[0])
        packets = sorted(
            (packet for packet in source.demux(video=0) if packet.size), key=lambda packet: packet.dts
        )
        contents = [(bytes(packet), packet.is_keyframe, packet.pts - packets[0].dts) for packet in packets]
        step = packets[1].dts - packets[0].dts
        for number in range(HOUR):
            content, key, shift = contents[number % len(contents)]
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, packets[0].time_base, key
            packet.dts = number * step
            packet.pts = number // len(contents) * len(contents) * step + shift
            to.mux(packet)
    return path


def way(screen: Screen, clock: Clock, clip: Path) -> None:
    screen.upload(clip)
    clock.did("the clip is open")
    video = screen.page.evaluate("async (path) => (await fetch(path)).json()", f"api/videos/{screen.video}")
    screen.size = width, height = video["width"], video["height"]
    middle = width / 2, height * 0.55
    screen.click(*middle)
    screen.shows_prompt("1 positive")
    clock.did("a click, and its mask")
    screen.press("f")
    screen.until(lambda: len(screen.masks(0, SOME)) == SOME)
    clock.did(f"{SOME} frames are tracked")
    screen.press("s")
    screen.page.locator("button.stop").wait_for(state="detached")
    number = screen.page.locator(".frame-number")
    before = number.input_value()
    screen.press("j")
    screen.until(lambda: number.input_value() != before)
    screen.frame(int(number.input_value()))
    screen.press("d")
    screen.drag((middle[0] - 60, middle[1]), (middle[0] + 60, middle[1]))
    screen.shows_prompt("a mask")
    clock.did("the most doubtful one is corrected")
    screen.press("Control+e")
    with screen.page.expect_download() as download:
        screen.page.click("[data-format=coco]")
    assert download.value.path().stat().st_size > 1000
    screen.press("Escape")
    clock.did("COCO is there")


def deep_in(screen: Screen, clock: Clock, clip: Path) -> None:
    screen.page.goto(screen.address)
    screen.upload(clip)
    clock.did("the hour is open")
    screen.size = 640, 360
    screen.frame(HOUR // 2)
    clock.did("its middle is in view")
    screen.click(320, 180)
    screen.shows_prompt("1 positive")
    clock.did("a click there, and its mask")
    screen.press("f")
    screen.until(lambda: len(screen.masks(HOUR // 2, HOUR // 2 + MANY)) == MANY)
    clock.did(f"{MANY} frames are tracked")


def main(clip: Path, screenshots: Path | None) -> None:
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        hour = long_clip(Path(place) / "hour.mp4")
        data = Path(place) / "data"
        data.mkdir()
        clock = Clock(screenshots)
        with Server(data) as server:
            clock.did("the server answers")
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            clock.screen = screen = Screen(browser, server.address)
            screen.page.wait_for_selector(".drop")
            clock.did("the first page")
            way(screen, clock, clip)
            deep_in(screen, clock, hour)
            screen.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
