"""Running a recipe: by name or by file, from the start or from where it was stopped."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from masklet.errors import MaskletError, MediaError
from masklet.train.images import Picture, held_back, load_pictures
from masklet.train.loop import Run, append, train
from masklet.train.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"


def find_recipe(name: str) -> Callable[[list[Picture]], Recipe]:
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
        raise MaskletError(f"{path} is not a recipe: it defines no function `recipe(pictures)`.")
    return module.recipe


def run_recipe(name: str, sets: Path, out: Path) -> Iterator[dict[str, float]]:
    """Train by a recipe, going on from the last checkpoint in `out` if there is one; a row for every step.

    sets : a folder of image sets, each with an instances.json beside its pictures
    """
    folders = sorted(path.parent for path in sets.glob("*/instances.json"))
    if not folders:
        raise MediaError(f"{sets} holds no image set, that is a folder with an instances.json in it.")
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0")
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    pictures = [each for each in load_pictures(folders, Path(".cache")) if not held_back(each.name)]
    run = Run.begin(find_recipe(name)(pictures))
    if (out / "state.pt").exists():
        run.resume(out / "state.pt")
    for row in train(run, out):
        if rank == "0":
            append(out / "log.jsonl", row | {"time": round(time.time(), 1)})
        yield row
