"""docs/architecture.md draws what is there: the arrows that are enforced, files and tests that exist."""

import ast
import re
from pathlib import Path

from test_layers import ARROWS, BASE, SOURCE

REPO = Path(__file__).parents[1]
PAGE = (REPO / "docs" / "architecture.md").read_text("utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_arrows_are_those_that_are_enforced() -> None:
    drawn = {}
    for room, below in re.findall(r"^\| (.+?) \| (.+?) \|$", section("Arrows"), re.MULTILINE)[2:]:
        name = "base" if room.startswith("base") else room.split("`")[1]
        drawn[name] = set(re.findall(r"`(\w+)`", below)) | ({"base"} if below == "base" else set())
    assert drawn == ARROWS


def test_every_room_is_drawn() -> None:
    rooms = section("Rooms")
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    drawn = set(re.findall(r"^      (\w+)(?:\.py|/)", rooms, re.MULTILINE))
    assert there - drawn <= {"__main__", "__init__"}
    assert drawn - there <= {"weights"}
    assert set(ARROWS) - BASE - {"base", "masklet"} <= there


def test_every_file_that_is_named_is_there() -> None:
    names = set(re.findall(r"\b(\w+\.py)\b", section("Rooms"))) - {"auto.py"}
    assert names <= {path.name for path in SOURCE.rglob("*.py")}


def test_every_law_names_a_test() -> None:
    rows = re.findall(
        r"^\| .+? \| (`tests/.+) \|$", section("Laws, and the tests that hold them"), re.MULTILINE
    )
    assert len(rows) > 10
    for row in rows:
        path, *names = re.findall(r"`([^`]+)`", row)
        assert (REPO / path).exists(), path
        if names and names[0].startswith("test_"):
            tree = ast.parse((REPO / path).read_text("utf-8"))
            assert names[0] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_no_file_is_longer_than_an_idea() -> None:
    sources = [path for path in SOURCE.rglob("*") if path.suffix in {".py", ".js", ".css", ".h", ".cpp"}]
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines()) for path in sources}
    assert len(lengths) > 250
    assert {name: length for name, length in lengths.items() if length > 500} == {}
