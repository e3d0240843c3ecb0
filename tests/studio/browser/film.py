"""Make the film of the first minute: open a clip, point, track, look at the doubtful frame, export.

    python tests/studio/browser/film.py [FILE.webm]

Every frame of the film is a screenshot with a drawn cursor, so a slow machine makes the same film.
"""

from __future__ import annotations

import sys
import tempfile
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import PIL.Image
from playwright.sync_api import sync_playwright
from screen import CHROMIUM, DEMO, Screen, Server, short_clip

REPO = Path(__file__).parents[3]
FRAMES = 24  # of the demo clip
FPS = 10
SIZE = 1024, 640
CURSOR = """() => {
    const cursor = document.createElement("div");
    cursor.id = "film-cursor";
    cursor.style = `position: fixed; z-index: 99; width: 18px; height: 18px; margin: -9px; border-radius: 50%;
        border: 2.5px solid #fff; box-shadow: 0 0 0 1.5px #000a; pointer-events: none; left: 0; top: 0`;
    document.body.append(cursor);
    const sheet = new CSSStyleSheet(); // the film does not run at the machine's own pace
    sheet.replaceSync(".status span { visibility: hidden }");
    document.adoptedStyleSheets.push(sheet);
}"""


class Film:
    """Screenshots, one after the other, encoded as they come."""

    def __init__(self, screen: Screen, path: Path) -> None:
        self.screen = screen
        self._file = av.open(str(path), "w")
        self._stream = self._file.add_stream("libvpx-vp9", rate=FPS)
        self._stream.width, self._stream.height, self._stream.pix_fmt = *SIZE, "yuv420p"
        self._stream.options = {"crf": "36", "b": "0", "cpu-used": "4"}
        self._cursor = (SIZE[0] / 2, SIZE[1] / 2)

    def shoot(self, count: int = 1) -> None:
        """The page as it is, for so many frames of the film."""
        shot = PIL.Image.open(BytesIO(self.screen.page.screenshot(type="jpeg", quality=92))).convert("RGB")
        for _ in range(count):
            self._file.mux(self._stream.encode(av.VideoFrame.from_ndarray(np.asarray(shot))))

    def move(self, x: float, y: float, steps: int = 7) -> None:
        """The cursor goes to a place of the screen, slower at both ends."""
        start = self._cursor
        for step in range(1, steps + 1):
            share = (1 - np.cos(np.pi * step / steps)) / 2
            at = start[0] + share * (x - start[0]), start[1] + share * (y - start[1])
            self.screen.page.mouse.move(*at)
            self.screen.page.evaluate(
                "([x, y]) => document.getElementById('film-cursor').style.translate = `${x}px ${y}px`",
                list(at),
            )
            self.shoot()
        self._cursor = (x, y)

    def press(self, selector: str) -> None:
        """Move to a control and press it."""
        box = self.screen.page.locator(selector).first.bounding_box()
        assert box is not None
        self.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.screen.page.mouse.down()
        self.screen.page.mouse.up()

    def close(self) -> None:
        self._file.mux(self._stream.encode())
        self._file.close()


def act(screen: Screen, film: Film) -> None:
    page = screen.page
    page.wait_for_selector(".entry[data-path='demo.mp4']")
    page.evaluate(CURSOR)
    film.shoot(8)
    film.press(".entry[data-path='demo.mp4']")
    screen.opened()
    page.locator(".status .dot.good").wait_for()
    page.wait_for_timeout(1500)
    film.shoot(6)
    for x, y in ((188, 140), (535, 125)):
        film.move(*screen.at(x, y))
        page.mouse.move(*screen.at(x + 1, y))
        page.wait_for_selector(".over[data-hover]")
        film.shoot(8)
        screen.click(x, y)
        page.wait_for_timeout(300)
        film.shoot(8)
        screen.press("a")
    screen.press("1")
    film.press("button[aria-label=Track]")
    page.locator("button.stop").wait_for()
    while page.locator("button.stop").count():
        film.shoot()
    film.shoot(6)
    film.press("button[aria-label='Next doubtful']")
    page.wait_for_timeout(1500)
    film.shoot(12)
    film.press(".export-button")
    page.wait_for_timeout(300)
    film.shoot(15)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "docs" / "images" / "first-minute.webm"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, clips = Path(folder) / "data", Path(folder) / "clips"
        data.mkdir()
        clips.mkdir()
        short_clip(clips / DEMO.name, FRAMES)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with Server(data, clips) as server, browser:
            screen = Screen(browser, server.address, timeout=500_000)
            screen.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
            film = Film(screen, path)
            act(screen, film)
            film.close()
            screen.close()


if __name__ == "__main__":
    main()
