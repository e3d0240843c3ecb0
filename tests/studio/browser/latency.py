"""How long a click takes to become a painted mask, as the page itself measures it.

    python tests/studio/browser/latency.py [CLIP] [CLICKS]

From the release of the button to the paint that shows the mask, on a frame that is encoded already. Each
click is on an object of its own, and taken back before the next. Once the cursor jumps and clicks at once;
once it rests as long as a person takes to press the button, so that the studio has worked ahead.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from screen import CHROMIUM, DEMO, Screen, Server

REST = 300  # milliseconds between the mask under the cursor and the click


def measure(screen: Screen, clicks: int, *, rests: bool) -> tuple[list[int], list[int]]:
    """Milliseconds in all, and those of them that the server says it took."""
    took, served = [], []
    dot = screen.page.locator(".status .dot.good")
    for number in range(clicks):
        dot.wait_for()
        if rests:
            with screen.page.expect_response("**/preview"):
                screen.page.mouse.move(*screen.at(120 + 400 * number / clicks, 140))
            screen.page.wait_for_timeout(REST)
        with screen.page.expect_response("**/prompts") as answer:
            screen.click(120 + 400 * number / clicks, 140)
        served.append(int(answer.value.json()["milliseconds"]))
        took.append(int(screen.page.locator(".status").inner_text().split("·")[-1].removesuffix("ms")))
        screen.press("Control+z")
        screen.until(lambda: not screen.objects())
        screen.press("a")
    return took, served


def measure_previews(screen: Screen, moves: int) -> list[int]:
    """Milliseconds from a move of the cursor to the mask under it."""
    times = []
    screen.page.locator(".status .dot.good").wait_for()
    for number in range(moves):
        with screen.page.expect_response("**/preview"):
            screen.page.mouse.move(*screen.at(120 + 400 * number / moves, 140))
        screen.page.wait_for_timeout(150)
        title = screen.page.locator(".status span").get_attribute("title") or ""
        if "cursor: " in title:
            times.append(int(title.split("cursor: ")[1].removesuffix(" ms")))
    return times


def main() -> None:
    clip = Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO
    clicks = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data = Path(folder) / "data"
        data.mkdir()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with Server(data) as server, browser:
            screen = Screen(browser, server.address)
            screen.upload(clip)
            rows = {
                "at once": measure(screen, clicks, rests=False),
                f"after {REST} ms of rest": measure(screen, clicks, rests=True),
            }
            previews = measure_previews(screen, clicks)
            screen.close()
    for name, times in rows.items():
        took, served = map(sorted, times)
        high = took[int(0.95 * len(took))]
        sys.stdout.write(
            f"{clip.name}, {clicks} clicks {name}: median {statistics.median(took):.0f} ms, 95th percentile "
            f"{high} ms, from {took[0]} to {took[-1]} ms; in the server: median "
            f"{statistics.median(served):.0f} ms\n"
        )
    sys.stdout.write(
        f"the mask under the cursor: median {statistics.median(previews):.0f} ms of {len(previews)}\n"
    )


if __name__ == "__main__":
    main()
