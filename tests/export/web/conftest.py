"""One exported page, one browser and one clip for all tests; a visitor of its own for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the page runs ONNX graphs: pip install 'masklet[export]'")
pytest.importorskip("playwright", reason="the page is tested by playwright: pip install 'masklet[dev]'")

from playwright.sync_api import Browser

from export.web import visitor
from export.web.visitor import ISOLATION, Visitor, make_clip, serve


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with nano, as `masklet export web` writes it."""
    folder = tmp_path_factory.mktemp("web") / "site"
    visitor.export_site(folder)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "disc.mp4")


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Of a file server that isolates the page, which then may use threads."""
    with serve(site, ISOLATION) as address:
        yield address


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Callable[..., Visitor]]:
    """Make visitors. Their complaints about errors on the page are checked at the end."""
    opened: list[Visitor] = []

    def make(query: str = "?run=wasm", *, at: str = address, **how: object) -> Visitor:
        opened.append(Visitor(chromium, at, query, **how))
        return opened[-1]

    yield make
    for page in opened:
        page.close()
