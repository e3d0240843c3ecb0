"""Take the pictures of docs/studio.md: the studio at work on the demo clip, in two themes and three sizes.

python tests/studio/browser/pictures.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import PIL.Image
from playwright.sync_api import sync_playwright
from screen import CHROMIUM, DEMO, Screen, Server, short_clip

REPO = Path(__file__).parents[3]
FRAMES = 60  # of the demo clip: until the balloon comes out from behind the pine
SIZES = {"desk": (1280, 800), "tablet": (820, 1180), "phone": (390, 844)}
THEMES = ("dark", "light")
SHEET_HEIGHT = 420  # of a picture in the overview of all states
WAIT = 900  # milliseconds until the pictures of a new size are here


class Album:
    """Takes each state in all themes and sizes."""

    def __init__(self, screen: Screen, target: Path) -> None:
        self.screen = screen
        self.target = target
        self.pictures: dict[tuple[str, str], list[PIL.Image.Image]] = {}

    def take(self, state: str) -> None:
        page = self.screen.page
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(WAIT)
            for theme in THEMES:
                page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
                page.wait_for_timeout(150)
                picture = PIL.Image.open(BytesIO(page.screenshot())).convert("RGB")
                self.pictures.setdefault((theme, size), []).append(picture)
                if size == "desk" and theme == "dark":
                    picture.save(self.target / f"studio-{state}.webp", quality=70, method=6)
        page.set_viewport_size({"width": 1280, "height": 800})
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.wait_for_timeout(WAIT)

    def save_overviews(self) -> None:
        """One picture for each theme: a row of all states for each size."""
        for theme in THEMES:
            rows = [
                [
                    picture.resize((picture.width * SHEET_HEIGHT // picture.height, SHEET_HEIGHT))
                    for picture in row
                ]
                for (row_theme, _), row in self.pictures.items()
                if row_theme == theme
            ]
            width = max(sum(picture.width + 6 for picture in row) for row in rows)
            sheet = PIL.Image.new("RGB", (width, (SHEET_HEIGHT + 6) * len(rows)), "#444")
            for line, row in enumerate(rows):
                left = 0
                for picture in row:
                    sheet.paste(picture, (left, line * (SHEET_HEIGHT + 6)))
                    left += picture.width + 6
            sheet.thumbnail((2000, 2000))
            sheet.save(self.target / f"studio-all-{theme}.webp", quality=60, method=6)


def shots(screen: Screen, take: Callable[[str], None]) -> None:
    page = screen.page
    page.locator(".entry[data-path='demo.mp4']").click()
    screen.opened()
    page.locator(".status .dot.good").wait_for()
    screen.click(188, 140)
    page.mouse.move(*screen.at(190, 142))
    take("click")
    screen.press("a")
    screen.drag((505, 85), (535, 150), (565, 165))
    screen.press("f")
    progress = page.get_by_role("progressbar", name="Tracking")
    screen.until(lambda: int(progress.get_attribute("aria-valuenow") or 0) >= 40)
    take("track")
    page.locator("button.stop").wait_for(state="detached")
    screen.frame(30)
    screen.press("i")
    screen.frame(44)
    screen.press("o", "r", "Escape", "j")
    page.wait_for_timeout(1500)
    screen.press("1", "e")
    screen.drag((60, 230), (250, 215), (60, 200), (280, 190))
    page.mouse.move(*screen.at(300, 200))
    take("correct")
    screen.press("p")
    page.locator("button[aria-label=Problems]").click()
    page.locator(".problems h3").wait_for()
    take("problems")
    screen.press("Escape", "Control+e")
    take("export")
    screen.press("Escape", "?")
    take("keys")
    screen.press("Escape")
    page.goto(screen.address)
    page.wait_for_selector(".card img")
    take("start")


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "docs" / "images"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, clips = Path(folder) / "data", Path(folder) / "clips"
        data.mkdir()
        clips.mkdir()
        short_clip(clips / DEMO.name, FRAMES)
        for number in (1, 2, 10):
            short_clip(clips / f"clip {number}.mp4", 8)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with Server(data, clips) as server, browser:
            screen = Screen(browser, server.address, timeout=500_000)
            album = Album(screen, target)
            shots(screen, album.take)
            album.save_overviews()
            screen.close()


if __name__ == "__main__":
    main()
