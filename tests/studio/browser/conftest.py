"""One server and one browser for all tests of the page; a project and a page of its own for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest

pytest.importorskip("playwright", reason="the page is tested by playwright: pip install 'masklet[dev]'")

from playwright.sync_api import Browser

from studio.browser.screen import LONG, Screen, Server, ask, short_clip

collect_ignore = ["film.py", "journey.py", "latency.py", "screenshots.py"]  # scripts, run by hand


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in the server's folder, which has three images too."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "images").mkdir()
    for number, color in ((1, "navy"), (2, "olive"), (10, "maroon")):
        PIL.Image.new("RGB", (160, 90), color).save(folder / "images" / f"photo {number}.png")
    return short_clip(folder / "balloons.mp4")


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_clip(tmp_path_factory.mktemp("long") / "balloons.mp4", LONG)


@pytest.fixture(scope="session")
def server(chromium: Browser, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("studio") / "data"
    data.mkdir()
    server = Server(data, clip.parent)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def opened(chromium: Browser, server: Server) -> Iterator[Callable[..., Screen]]:
    """Makes pages, at a desk or with a tablet. Each is another person, or a further tab of one."""
    screens: list[Screen] = []

    def make(*, touch: bool = False, beside: Screen | None = None) -> Screen:
        person = None if beside is None else beside.context
        screens.append(Screen(chromium, server.address, touch=touch, person=person))
        return screens[-1]

    yield make
    for screen in screens:
        screen.close()


@pytest.fixture
def screen(opened: Callable[[], Screen], clip: Path) -> Screen:
    """A page that shows the clip, uploaded anew to a project of its own."""
    screen = opened()
    screen.show_project(ask(screen, "POST", "projects", {"name": "Balloons"})["id"])
    screen.upload(clip)
    return screen
