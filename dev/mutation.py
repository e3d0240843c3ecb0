"""Mutation testing on a sample: changes the code at random places, and checks whether tests fail.

python dev/mutation.py boxes 60 --seed 1      test 60 mutants of boxes.py and rle.py, and list survivors

Mutants are created in a copy of the last commit, never in this checkout. Each is tested in a fork of a
process that has already imported torch, so that a mutant only costs the time of its tests.
"""

from __future__ import annotations

import ast
import copy
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

REPO = Path(__file__).parents[1]
GROUPS = {
    "boxes": (["boxes.py", "rle.py"], ["tests/test_boxes.py", "tests/test_rle.py"]),
    "masks": (["masks.py", "label_maps.py"], ["tests/test_types.py", "tests/test_label_maps.py"]),
    "tracking": (
        ["tracking/bank.py", "tracking/step.py", "tracking/multi_hypothesis.py"],
        [
            "tests/tracking/test_bank.py",
            "tests/tracking/test_step.py",
            "tests/tracking/policies/test_sam2long.py",
            "tests/sessions/test_tracker.py",
        ],
    ),
    "sessions": (
        ["sessions/object_state.py", "sessions/events.py"],
        ["tests/sessions/test_object_state.py", "tests/sessions/test_saved.py"],
    ),
    "memory": (
        ["sessions/memory_store.py"],
        ["tests/sessions/test_undo.py", "tests/sessions/test_compaction.py"],
    ),
}
TIMEOUT = 300  # processor seconds for the tests of one mutant
PATIENCE = 3600  # wall-clock seconds, long enough for a busy machine
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    module: str
    line: int
    before: str
    after: str
    source: str


def main(
    group: Annotated[str, typer.Argument(help=", ".join(GROUPS))],
    sample: Annotated[int, typer.Argument(help="number of mutants")] = 60,
    seed: int = 0,
) -> None:
    """List the mutants of a group of modules that pass its tests."""
    modules, tests = GROUPS[group]
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "masklet"
        subprocess.run(["git", "clone", "--quiet", str(REPO), str(clone)], check=True)
        mutants = [mutant for module in modules for mutant in find_mutants(clone, module)]
        chosen = random.Random(seed).sample(mutants, min(sample, len(mutants)))
        if not _pass(clone, tests):
            raise typer.BadParameter(f"the tests of {group} fail without a change.")
        survivors = []
        for mutant in chosen:
            path = clone / "src" / "masklet" / mutant.module
            original = path.read_text()
            path.write_text(mutant.source)
            if _pass(clone, tests):
                survivors.append(mutant)
                typer.echo(f"{mutant.module}:{mutant.line}  {mutant.before}  ->  {mutant.after}")
            path.write_text(original)
    noticed = len(chosen) - len(survivors)
    typer.echo(f"{group}: {noticed} of {len(chosen)} mutants noticed ({len(mutants)} in all, seed {seed})")


def find_mutants(clone: Path, module: str) -> Iterator[Mutant]:
    """All mutants of a module: a changed operator, number, condition or truth value."""
    tree = ast.parse((clone / "src" / "masklet" / module).read_text())
    places = list(_places(tree))
    for index, node in enumerate(places):
        changed_tree = copy.deepcopy(tree)
        changed = list(_places(changed_tree))[index]
        _change(changed)
        texts = ast.unparse(node), ast.unparse(changed), ast.unparse(changed_tree)
        yield Mutant(module, getattr(node, "lineno", 0), *texts)


def _places(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that can be mutated, without annotations and decorators."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _places(child)
    is_number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    swapped = getattr(node, "op", None) or (getattr(node, "ops", None) or [None])[0]
    if is_number or isinstance(node, ast.If | ast.IfExp) or type(swapped) in SWAPS:
        yield node


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.Constant):
        is_truth = isinstance(node.value, bool)
        node.value = not node.value if is_truth else node.value + 1  # type: ignore[operator]
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[assignment]
    elif isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        node.op = SWAPS[type(node.op)]()  # type: ignore[attr-defined]


def _pass(clone: Path, tests: list[str]) -> bool:
    """Whether the tests pass in a fork of this process."""
    child = os.fork()
    if child == 0:
        os.chdir(clone)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
        signal.alarm(PATIENCE)
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(clone / "src"))
        import pytest

        options = ["-x", "-q", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:randomly"]
        os._exit(int(pytest.main([*options, *tests])))
    _, status = os.waitpid(child, 0)
    return status == 0


if __name__ == "__main__":
    typer.run(main)
