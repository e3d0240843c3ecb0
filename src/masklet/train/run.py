"""Running a recipe: by name or by file, from the start or from where it was stopped."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from masklet import checkpoint
from masklet.errors import MaskletError
from masklet.train.loop import BEST, LAST, SAVE_EVERY, Row, train
from masklet.train.mae.course import Pretrained, Pretraining, pretrain
from masklet.train.mae.network import HIDDEN
from masklet.train.options import Order
from masklet.train.recipe import Recipe
from masklet.train.report import PICTURED, Shown, predictions, write_report
from masklet.train.run_log import Journal
from masklet.train.state import STATE, Run

RECIPES = Path(__file__).parent / "recipes"


def find_recipe(name: str) -> Callable[[Order], Recipe | Pretraining]:
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


@dataclass(frozen=True)
class Course:
    """A run of one kind or the other in its folder, and what a person is told and shown of it.

    learn : to the end, in the folder
    shown : what the network makes of held-back pictures by now
    """

    name: str
    out: Path
    run: Run | Pretrained
    learn: Callable[..., Iterator[Row]]
    about: str
    shown: Callable[[], Iterable[Shown]]

    @classmethod
    def begin(cls, name: str, order: Order, out: Path) -> Course:
        """Begin a recipe, by its name or that of a Python file; go on if `out` holds a checkpoint of it."""
        if beside := int(os.environ.get("LOCAL_WORLD_SIZE", "0")):  # torchrun leaves each process one thread
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // beside))
        recipe = find_recipe(name)(order)
        if isinstance(recipe, Pretraining):
            course = cls._pretraining(name, out, recipe)
        else:
            course = cls._training(name, out, recipe)
        if (out / STATE).exists():
            course.run.resume(out / STATE)
        return course

    @classmethod
    def _training(cls, name: str, out: Path, recipe: Recipe) -> Course:
        run = Run.begin(recipe)
        about = f"{_began(recipe.start)}; what learned: {recipe.preset}."
        # A short run is saved as often as it is measured.
        every = SAVE_EVERY if recipe.exam is None else min(SAVE_EVERY, recipe.exam.every)
        learn = partial(train, run, save_every=every)
        return cls(name, out, run, learn, about, lambda: predictions(recipe, run.averaged()))

    @classmethod
    def _pretraining(cls, name: str, out: Path, recipe: Pretraining) -> Course:
        run = Pretrained.begin(recipe)
        about = (
            f"{_began(recipe.start)}; the trunk learned to paint what was hidden, {HIDDEN:.0%} of a picture."
        )
        learn = partial(pretrain, run, save_every=min(SAVE_EVERY, recipe.every))
        return cls(name, out, run, learn, about, lambda: _painted(run))

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return os.environ.get("RANK", "0") == "0"

    def rows(self, *, precision: str = "no", workers: int = 0, original: bool = False) -> Iterator[Row]:
        """Train to the end: a row for every step and every measurement. Leaves a report and the weights.

        original : also write the weights in the layout of the original package, as model.pt
        """
        journal = Journal(self.out) if self.main else None
        for row in self.learn(self.out, precision=precision, workers=workers):
            if journal is not None:
                journal.write(row)
                if "loss" not in row:
                    journal.show(int(row["step"]), (each.strip for each in self.shown()))
            yield row
        if journal is None:
            return
        journal.close()
        write_report(self.out, self.name, self.about, self.shown())
        if original:
            made = self.out / BEST if (self.out / BEST).is_file() else self.out / LAST
            checkpoint.save(checkpoint.load(made, device="cpu"), self.out / "model.pt", layout="original")


def _began(start: str | None) -> str:
    return f"Started from {start}" if start else "Started from nothing"


def _painted(run: Pretrained) -> Iterator[Shown]:
    for whole, seen, painted in run.painted(PICTURED):
        yield Shown.of({"picture": whole, "what the trunk saw": seen, "painted": painted})
