"""Take the pictures of docs/studio.md: the studio at work on the demo clip.

python tests/studio/browser/pictures.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import sync_playwright
from screen import CHROMIUM, DEMO, Screen, Server, short_clip

REPO = Path(__file__).parents[3]
FRAMES = 60  # of the demo clip: until the balloon comes out from behind the pine


def shots(screen: Screen, take: Callable[[str], None]) -> None:
    page = screen.page
    page.wait_for_selector(".entry[data-path='demo.mp4']")
    take("start")
    page.locator(".entry[data-path='demo.mp4']").click()
    screen.opened()
    page.wait_for_timeout(2000)  # thumbnails
    screen.click(188, 140)
    page.wait_for_timeout(300)
    take("click")
    screen.drag((130, 70), (200, 200), (248, 240))
    screen.press("a")
    screen.drag((505, 85), (535, 150), (565, 165))
    page.wait_for_timeout(300)
    screen.press("f")
    progress = page.get_by_role("progressbar", name="Tracking")
    screen.until(lambda: int(progress.get_attribute("aria-valuenow") or 0) >= 45)
    page.wait_for_timeout(300)
    take("follow")
    page.locator("button.stop").wait_for(state="detached")
    screen.frame(30)
    screen.press("i")
    screen.frame(44)
    screen.press("o", "r", "Escape")
    screen.press("j")
    page.wait_for_timeout(1500)
    screen.press("1", "e")
    screen.drag((60, 230), (250, 215), (60, 200), (280, 190))
    page.mouse.move(*screen.at(300, 200))
    page.wait_for_timeout(500)
    take("correct")
    screen.press("Control+e")
    page.wait_for_timeout(300)
    take("export")
    screen.press("Escape", "?")
    page.wait_for_timeout(300)
    take("keys")
    screen.press("Escape", "p")


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "docs" / "images"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, clips = Path(folder) / "data", Path(folder) / "clips"
        data.mkdir()
        clips.mkdir()
        short_clip(clips / DEMO.name, FRAMES)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with Server(data, clips) as server, browser:
            screen = Screen(browser, server.address, timeout=500_000)

            def take(name: str) -> None:
                screen.page.screenshot(path=target / f"studio-{name}.jpg", type="jpeg", quality=82)

            shots(screen, take)
            screen.page.get_by_label("Dark or light").click()
            for name, width, height in (("light", 1920, 1080), ("tablet", 820, 1180)):
                screen.page.set_viewport_size({"width": width, "height": height})
                screen.page.wait_for_timeout(2500)
                take(name)
            screen.close()


if __name__ == "__main__":
    main()
