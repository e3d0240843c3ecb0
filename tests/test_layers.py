"""Imports run one way. The arrows of docs/architecture.md, and every import in src/masklet held against them.

Files are read, never run, so imports inside functions and under TYPE_CHECKING count like all others.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "masklet"

BASE = {
    "arrays",
    "types",
    "masks",
    "image_candidates",
    "boxes",
    "drawing",
    "results",
    "caches",
    "components",
    "config",
    "errors",
    "files",
    "label_maps",
    "prompts",
    "zoom",
    "rle",
    "run_folder",
    "splits",
}
ARROWS = {  # room: the rooms it stands on; it may import these, and what they stand on
    "base": set(),
    "nn": {"base"},
    "backends": {"nn"},
    "model": {"backends"},
    "checkpoint": {"model"},
    "transforms": {"nn"},
    "tracking": {"model", "transforms"},
    "postprocess": {"base"},
    "simulated_user": {"base"},
    "media": {"base"},
    "datasets": {"media"},
    "synthetic": {"datasets"},
    "sessions": {"tracking", "postprocess", "media"},
    "auto": {"sessions"},
    "train": {"checkpoint", "tracking", "simulated_user", "synthetic"},
    "evaluate": {"checkpoint", "auto", "simulated_user", "synthetic"},
    "onnx": {"base"},
    "export": {"checkpoint", "tracking", "onnx"},
    "studio": {"checkpoint", "auto"},
    "jobs": {"checkpoint", "auto"},
    "integrations": {"checkpoint", "auto"},
    "masklet": {"checkpoint", "auto", "onnx"},  # __init__.py: the public names
    "engine": {"train", "evaluate", "studio"},
    "cli": {"masklet", "engine", "export", "jobs", "integrations"},
}


def room_of(module: str) -> str:
    """The room of a dotted name such as `masklet.nn.layers`; `masklet` itself is the public face."""
    first = module.split(".")[1] if "." in module else "masklet"
    if first in BASE:
        return "base"
    return "cli" if first == "__main__" else first


def reachable(room: str) -> set[str]:
    """The room itself and all that it stands on."""
    return {room}.union(*(reachable(below) for below in ARROWS[room]))


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names of masklet's modules that a file imports.

    package : the package that the file lies in, for relative imports
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = origin(node, package)
            named = [alias.name for alias in node.names]
            names = [f"{module}.{name}" if is_room(module, name) else module for name in named]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "masklet")


def origin(node: ast.ImportFrom, package: str) -> str:
    """The dotted name after `from`, with the dots of a relative import spelled out."""
    if not node.level:
        return node.module or ""
    start = package.split(".")
    start = start[: len(start) + 1 - node.level]
    return ".".join([*start, node.module] if node.module else start)


def is_room(module: str, name: str) -> bool:
    """Whether `from masklet import name` names a room, and not something in the public face."""
    return module == "masklet" and (name in ARROWS or name in BASE)


def broken_arrows(source: str, module: str, package: str) -> list[str]:
    """One sentence for each import in the source of `module` that runs against the arrows."""
    room = room_of(module)
    if room not in ARROWS:
        return [f"{module} has no row: add one to Allowed imports in docs/architecture.md and to ARROWS"]
    allowed = reachable(room)
    return [
        f"{module} imports {name}, but {room} may not import {room_of(name)}"
        for name in imported(source, package)
        if room_of(name) not in allowed
    ]


def module_name(path: Path) -> tuple[str, str]:
    """A file's dotted name and the package it lies in."""
    parts = ("masklet", *path.relative_to(SOURCE).with_suffix("").parts)
    package = ".".join(parts[:-1])
    return (package if parts[-1] == "__init__" else ".".join(parts)), package


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    module, package = module_name(path)
    assert broken_arrows(path.read_text(encoding="utf-8"), module, package) == []


def test_rooms_form_no_circle() -> None:
    TopologicalSorter(ARROWS).prepare()


def test_siblings_do_not_see_each_other() -> None:
    siblings = {"train", "evaluate", "export", "studio", "jobs", "integrations"}
    for room in siblings:
        assert reachable(room) & siblings == {room}
    assert "sessions" not in reachable("train")
    assert set(ARROWS) == reachable("cli")


@pytest.mark.parametrize(
    "module, source",
    [
        ("masklet.nn.layers", "import masklet.model"),
        ("masklet.nn.layers", "from masklet.model import Sam2"),
        ("masklet.nn.layers", "from ..model import Sam2"),
        ("masklet.nn.layers", "from .. import model"),
        ("masklet.nn.layers", "from masklet import model"),
        ("masklet.nn.layers", "import torch, masklet.tracking.bank as memory"),
        ("masklet.model", "def load():\n    from masklet.checkpoint import load\n    return load"),
        ("masklet.tracking.bank", "if TYPE_CHECKING:\n    from masklet.sessions.tracker import Tracker"),
        ("masklet.media.readers.videos", "from masklet.sessions.tracker import Tracker"),
        ("masklet.train.loop", "from masklet.sessions import Tracker"),
        ("masklet.train.loop", "from masklet.evaluate import measures"),
        ("masklet.types", "from masklet.transforms import resize"),
        ("masklet.transforms", "from masklet.tracking.bank import MemoryBank"),
        ("masklet.sessions.image", "from masklet import Prompt"),
        ("masklet.sessions.image", "import masklet"),
        ("masklet.studio.server", "from masklet.cli import main"),
        ("masklet.util", ""),
    ],
)
def test_an_arrow_drawn_the_other_way_is_found(module: str, source: str) -> None:
    assert len(broken_arrows(source, module, module.rpartition(".")[0])) == 1


@pytest.mark.parametrize(
    "module, source",
    [
        ("masklet.types", "from masklet import rle\nfrom masklet.errors import PromptError"),
        ("masklet.nn.image_encoder", "from .trunks import Hiera\nfrom ..config import Sam2Config"),
        ("masklet.checkpoint", "from masklet.nn import layers"),
        ("masklet.sessions.video", "from masklet.media import frames\nfrom masklet.types import Prompt"),
        ("masklet.cli.track", "def track():\n    from masklet import Prompt, train, jobs"),
        ("masklet.tracking.bank", "import masklet_other"),
    ],
)
def test_an_arrow_drawn_the_right_way_is_left_alone(module: str, source: str) -> None:
    assert broken_arrows(source, module, module.rpartition(".")[0]) == []
