"""The documentation site builds without a warning, is complete, and loads nothing from other hosts."""

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import nbformat
import pytest
import yaml

import masklet

pytest.importorskip("mkdocs")
REPO = Path(__file__).parents[1]
TUTORIALS = sorted((REPO / "docs" / "tutorials").glob("*.ipynb"))
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=\"?(https?:[^\s\">]+)|<link[^>]+href=\"?(https?:[^\s\">]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    answer = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.mark.slow
def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        links = ["".join(match) for match in LOADED.findall(page.read_text("utf-8"))]
        assert links == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", style.read_text("utf-8")), style


@pytest.mark.slow
def test_search_has_its_index_with_it(site: Path) -> None:
    assert "VisibilityMonitor" in (site / "search" / "search_index.js").read_text("utf-8")


@pytest.mark.browser
def test_search_finds_pages_from_the_disk_and_from_a_server(site: Path, chromium: Any) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    serve = partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for start in (site.as_uri(), f"http://127.0.0.1:{server.server_port}"):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{start}/tutorials/camera.html")
            page.locator(".md-search__input").press_sequentially("supervision")  # it listens to keys
            first = page.locator(".md-search-result__item a").first
            expect(first).to_have_attribute("href", re.compile("integrations"), timeout=60_000)
            page.close()
        server.shutdown()


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    anchors = {
        anchor
        for page in (site / "reference").glob("*.html")
        for anchor in re.findall(r"id=\"?(masklet[\w.]*)", page.read_text("utf-8"))
    }
    names = {name for name in masklet.__all__ if not name.startswith("_")}
    assert {name for name in names if not any(anchor.endswith(f".{name}") for anchor in anchors)} == set()


@pytest.mark.slow
def test_tutorials_are_pages_with_their_images(site: Path) -> None:
    for notebook in TUTORIALS:
        page = (site / "tutorials" / f"{notebook.stem}.html").read_text("utf-8")
        assert f"{notebook.stem}.ipynb" in page
        for image in re.findall(rf"{notebook.stem}-\d+\.\w+", page):
            assert (site / "tutorials" / image).is_file()


def test_every_page_is_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        """Reads mkdocs.yml, whose tags for Python objects do not matter here."""

    Loader.add_multi_constructor("", lambda loader, suffix, node: None)
    navigation = yaml.load((REPO / "mkdocs.yml").read_text("utf-8"), Loader)["nav"]
    listed = set(re.findall(r"'([\w/-]+\.md)'", repr(navigation)))
    pages = {str(path.relative_to(REPO / "docs")) for path in (REPO / "docs").rglob("*.md")}
    notebooks = {f"tutorials/{path.stem}.md" for path in TUTORIALS}
    assert notebooks <= listed
    assert listed <= pages | notebooks


def test_outputs_of_tutorials_are_small_and_whole() -> None:
    assert len(TUTORIALS) == 6
    for path in TUTORIALS:
        assert path.stat().st_size < 200_000, path
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                assert output.output_type != "error"
                assert "/tmp" not in str(output)
