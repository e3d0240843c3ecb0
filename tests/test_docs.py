"""Links in the project's pages lead somewhere. Only links inside the repository: the network is not asked."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("examples/**/*.md")])

LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def headings(page: str) -> set[str]:
    """The anchors that a page's headings get where Markdown is shown."""
    titles = re.findall(r"^#+\s+(.+?)\s*$", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), re.MULTILINE)
    named = re.findall(r"^<a id=\"([\w-]+)\"></a>$", page, re.MULTILINE)  # those of older headings
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles} | set(named)


def dead_links(text: str, folder: Path) -> Iterator[str]:
    """Links of a page in `folder` that lead to no file, or to no heading of that file."""
    for match in LINK.finditer(CODE.sub("", text)):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path
        missing = not target.exists()
        if missing or (anchor and anchor not in headings(target.read_text("utf-8") if path else text)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead_links(page.read_text(encoding="utf-8"), page.parent)) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text('# Three, no: *four* rooms\n\n<a id="five-rooms"></a>\n')
    page = """# Here
    [a](there.md) [b](there.md#three-no-four-rooms) [c](#here) [d](https://example.org/x) `[e](code.md)`
    [i](there.md#five-rooms) [f](gone.md) [g](there.md#five) [h](#there) <img src="gone.png">
    """
    assert list(dead_links(page, tmp_path)) == ["gone.md", "there.md#five", "#there", "gone.png"]
