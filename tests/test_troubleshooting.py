"""Every sentence of the troubleshooting page is one that masklet says."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPO = Path(__file__).parents[1]
PAGE = (REPO / "docs" / "troubleshooting.md").read_text("utf-8")
SENTENCE = re.compile(r"\*\*`(.+?)`\*\*", re.DOTALL)


def stated_sentences() -> list[str]:
    return [re.sub(r"\s+", " ", sentence) for sentence in SENTENCE.findall(PAGE)]


@cache
def texts_in_code() -> frozenset[str]:
    """Every text of the source; what is filled in when it runs is `...`."""
    paths = (REPO / "src" / "masklet").rglob("*.py")
    return frozenset(text for path in paths for text in texts_of(ast.parse(path.read_text("utf-8"))))


def texts_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            yield "".join(str(part) for part in parts)


def is_said(sentence: str) -> bool:
    """Whether a text of the code begins with a sentence of which `...` and quoted names are left open."""
    pattern = ".+?".join(re.escape(part) for part in re.split(r"'?\.\.\.'?", sentence))
    return any(re.match(pattern, text, re.DOTALL) for text in texts_in_code())


def test_the_page_has_many_sentences() -> None:
    assert len(stated_sentences()) > 40


def test_every_sentence_is_in_the_code() -> None:
    assert [sentence for sentence in stated_sentences() if not is_said(sentence)] == []


def test_another_sentence_is_noticed() -> None:
    assert not is_said("there is no modle ...")
    assert is_said("there is no model .... Known names: ...")
