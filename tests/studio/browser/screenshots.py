"""Take the screenshots of docs/studio.md: the studio at work on the demo clip, in all sizes and colours.

python tests/studio/browser/screenshots.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from io import BytesIO
from pathlib import Path

import PIL.Image
from playwright.sync_api import sync_playwright
from screen import CHROMIUM, DEMO, Screen, Server, short_clip

REPO = Path(__file__).parents[3]
FRAMES = 24  # of the demo clip
SIZES = ((1280, 800), (820, 1180), (390, 844))  # a desk, a tablet, a phone
THEMES = ("dark", "light")
ROW, GAP = 720, 8  # height of images side by side, and the gap between them
WAIT = 900  # milliseconds until the images of a new size are here


class Album:
    """Takes each state on a desk in dark colours, and one of them in all sizes and colours."""

    def __init__(self, screen: Screen, target: Path) -> None:
        self.screen = screen
        self.target = target

    def take(self, state: str) -> None:
        self._shoot().save(self.target / f"studio-{state}.webp", quality=70)

    def take_all(self, state: str) -> None:
        """One image of all sizes in dark colours, and one of them in light colours."""
        page = self.screen.page
        rows: dict[str, list[PIL.Image.Image]] = {theme: [] for theme in THEMES}
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(WAIT)
            for theme in THEMES:
                page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
                page.wait_for_timeout(150)
                rows[theme].append(self._shoot())
        for theme, images in rows.items():
            join(images).save(self.target / f"studio-{state}-{theme}.webp", quality=65)
        page.set_viewport_size(dict(zip(("width", "height"), SIZES[0], strict=True)))
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.wait_for_timeout(WAIT)

    def _shoot(self) -> PIL.Image.Image:
        return PIL.Image.open(BytesIO(self.screen.page.screenshot())).convert("RGB")


def join(images: list[PIL.Image.Image]) -> PIL.Image.Image:
    """Images side by side, all of one height."""
    scaled = [image.resize((image.width * ROW // image.height, ROW)) for image in images]
    joined = PIL.Image.new("RGB", (sum(image.width + GAP for image in scaled) - GAP, ROW), "#777")
    left = 0
    for image in scaled:
        joined.paste(image, (left, 0))
        left += image.width + GAP
    return joined


def shots(screen: Screen, album: Album) -> None:
    page = screen.page
    page.locator(".entry[data-path='demo.mp4']").click()
    screen.opened()
    page.locator(".status .dot.good").wait_for()
    screen.click(188, 140)
    page.mouse.move(*screen.at(190, 142))
    album.take("click")
    screen.press("a")
    screen.drag((505, 85), (535, 150), (565, 165))
    screen.press("f")
    progress = page.get_by_role("progressbar", name="Tracking")
    screen.until(lambda: int(progress.get_attribute("aria-valuenow") or 0) >= 40)
    album.take("track")
    page.locator("button.stop").wait_for(state="detached")
    screen.frame(14)
    screen.press("i")
    screen.frame(22)
    screen.press("o", "r", "Escape", "j")
    page.wait_for_timeout(1500)
    for way, state in (("side by side", "side"), ("on the image", "")):
        page.locator(".view-button").click()
        page.get_by_role("button", name=way).click()
        page.wait_for_timeout(300)
        if state:
            album.take(state)
    album.take_all("sizes")
    screen.press("p")
    page.locator("button[aria-label=Problems]").click()
    page.locator(".problems h3").wait_for()
    album.take("problems")
    screen.press("Escape", "2", "v", "Control+e")  # a hidden object: the sheet says that it was left out
    with page.expect_download():
        page.click("[data-format=coco]")
    page.locator(".export-notes p").first.wait_for()
    album.take("export")
    screen.press("Escape", "?")
    album.take("keys")
    screen.press("Escape")
    page.goto(screen.address)
    page.wait_for_selector(".card img")
    album.take("start")


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
            shots(screen, album)
            screen.close()


if __name__ == "__main__":
    main()
