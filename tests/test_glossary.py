"""The glossary has one word for one thing. What it lists as the word of others is not used here."""

import re
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).parents[1]
SUFFIXES = {".css", ".html", ".ipynb", ".j2", ".js", ".md", ".py", ".svg", ".toml", ".yml"}
PLACES = ("benchmarks", "dev", "docs", "examples", "src", "tests")

HISTORY = {"CHANGELOG.md", "dev/LOG.md", "tests/test_glossary.py"}
QUOTED = r'["`]pictures?["`]'

# "Picture" stays where files, databases, commands or other programs have it: why, where, in which form.
EXCEPTIONS = (
    ("the glossary's own line", r"docs/glossary\.md", r"\| picture \|$"),
    ("kinds of files in the studio's database", r"src/masklet/studio/.*|docs/api\.md", QUOTED),
    ("a setting in the engine's run.json", r"src/masklet/engine/demo\.py", r'"pictures": '),
    ("measured rows in docs/performance-*.json", r"(tests/)?benchmarks/.*timed_actions\.py", r'"picture"'),
    ("a choice of commands", r"src/masklet/cli/items\.py", r'"picture"'),
    ("options of commands", r"src/masklet/cli/.*|docs/.*", r"--as picture|--pictures"),
    ("the cache of training images", r"src/masklet/synthetic/assets\.py", r'f"pictures-\{key\}'),
    ("anchors of older headings", r"docs/.*", r'<a id="[\w-]*picture[\w-]*"></a>'),
    ("an enumeration of PyAV", r"tests/media/test_videos\.py", r"frame\.PictureType"),
    ("fields of Label Studio's tasks", r".*/(test_)?label_studio\.py", r'"\$?picture"'),
)


def pages() -> Iterator[Path]:
    yield from (path for path in REPO.glob("*") if path.suffix in SUFFIXES)
    for place in PLACES:
        yield from (path for path in (REPO / place).rglob("*") if path.suffix in SUFFIXES)


def test_an_image_is_called_an_image() -> None:
    used, unexplained = set(), []
    for path in pages():
        name = path.relative_to(REPO).as_posix()
        if name in HISTORY:
            continue
        text = path.read_text(encoding="utf-8")
        for reason, files, pattern in EXCEPTIONS:
            if re.fullmatch(files, name):
                text, count = re.subn(pattern, "", text, flags=re.MULTILINE)
                used |= {reason} if count else set()
        for number, line in enumerate(text.splitlines(), 1):
            if re.search("picture", line, re.IGNORECASE):
                unexplained.append(f"{name}:{number}: {line.strip()[:120]}")
    assert not unexplained, "say image, the word of docs/glossary.md:\n" + "\n".join(unexplained)
    assert used == {reason for reason, _, _ in EXCEPTIONS}, "an exception that nothing needs any more"
