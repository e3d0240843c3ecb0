"""Running a recipe: by name or by file, from the start or from where it was stopped."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from masklet import checkpoint
from masklet.errors import MaskletError
from masklet.train.journal import Journal
from masklet.train.loop import BEST, LAST, Row, train
from masklet.train.order import Order
from masklet.train.recipe import Recipe
from masklet.train.report import write_report
from masklet.train.state import STATE, Run

RECIPES = Path(__file__).parent / "recipes"


def find_recipe(name: str) -> Callable[[Order], Recipe]:
    """The `recipe` function of a recipe that has a name, or of a Python file."""
    path = Path(name) if name.endswith(".py") else RECIPES / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("[a-z]*.py")))
        raise MaskletError(
            f"there is no recipe {name}. Known are {known}; or give the path of a Python file."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "recipe"):
        raise MaskletError(f"{path} is not a recipe: it defines no function `recipe(order)`.")
    return module.recipe


def run_recipe(
    name: str,
    order: Order,
    out: Path,
    *,
    precision: str = "no",
    workers: int = 0,
    original: bool = False,
) -> Iterator[Row]:
    """Train by a recipe, going on from the last checkpoint in `out` if there is one.

    Yields a row for every step and every measurement, and leaves a report and the weights in `out`.

    original : also write the weights in the layout of the original package, as model.pt
    """
    processes, main = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    recipe = find_recipe(name)(order)
    run = Run.begin(recipe)
    if (out / STATE).exists():
        run.resume(out / STATE)
    journal = Journal(out) if main else None
    for row in train(run, out, precision=precision, workers=workers):
        if journal is not None:
            journal.write(row)
        yield row
    if journal is None:
        return
    journal.close()
    if recipe.exam is not None:
        write_report(out, name, recipe, run.averaged())
    if original:
        made = out / BEST if (out / BEST).is_file() else out / LAST
        checkpoint.save(checkpoint.load(made, device="cpu"), out / "model.pt", layout="original")
