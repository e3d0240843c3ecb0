"""Runs a recipe in a folder, by name or file, from the start or from the last checkpoint."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from masklet import checkpoint
from masklet.checkpoint.locations import find_given
from masklet.errors import MaskletError
from masklet.files import remove_unfinished, sha256
from masklet.run_folder import Manifest, Run, check_folder, read_settings_file
from masklet.train.batches import FEATURES
from masklet.train.loop import BEST, LAST, SAVE_EVERY, LogRow, train
from masklet.train.masked_autoencoder import HIDDEN
from masklet.train.pretraining import PretrainingRecipe, PretrainingState, pretrain
from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes import RECIPES
from masklet.train.report import IMAGES, ImageStrip, RunLog, predictions, write_report
from masklet.train.state import STATE, TrainingState

log = logging.getLogger(__name__)

LABEL_HEAD = 2**20  # bytes of each file of labels, by which a change is noticed
EARLIER_MANIFEST = "training.json"  # in place of run.json, in folders of earlier versions


def find_recipe(name: str) -> Callable[[TrainingOptions], Recipe | PretrainingRecipe]:
    """A recipe by its name, or the function `recipe` of a Python file."""
    if name in RECIPES:
        module, function = RECIPES[name]
        return getattr(importlib.import_module(f"masklet.train.recipes.{module}"), function)
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        raise MaskletError(
            f"there is no recipe {name}. Choose from {', '.join(RECIPES)}, or give the path of a Python file."
        )
    spec = importlib.util.spec_from_file_location(f"masklet_recipe_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # dataclasses in the file look up their module
    spec.loader.exec_module(loaded)
    if not hasattr(loaded, "recipe"):
        raise MaskletError(f"{path} is not a recipe: it defines no function `recipe(options)`.")
    return loaded.recipe


@dataclass(frozen=True)
class TrainingRun:
    """A run, of either kind, in its folder.

    Attributes:
        train_to_end: The loop, given the folder.
        about: A description for the report: what is trained, from which weights.
        command: The command that started or resumed the run, for the report.
        images: The network's current answers on validation images.
    """

    name: str
    out: Path
    state: TrainingState | PretrainingState
    train_to_end: Callable[..., Iterator[LogRow]]
    about: str
    command: str
    images: Callable[[], Iterable[ImageStrip]]

    @classmethod
    def begin(cls, name: str, options: TrainingOptions, out: Path, command: str = "") -> TrainingRun:
        """Start a recipe, by name or Python file, or resume it if `out` has its checkpoint."""
        # torchrun gives each process one thread.
        if processes := int(os.environ.get("LOCAL_WORLD_SIZE", "0")):
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
        recipe = find_recipe(name)(options)
        description, circumstances = (
            _describe_run(name, options, recipe),
            _circumstances(name, options, recipe),
        )
        check_folder(
            out,
            description,
            before=lambda: read_settings_file(out / EARLIER_MANIFEST, description, (STATE, FEATURES)),
            advice=f"choose another folder. To start from its weights, pass them with --model {out / BEST}.",
        )
        if isinstance(recipe, PretrainingRecipe):
            run = cls._pretraining(name, out, recipe, command)
        else:
            run = cls._training(name, out, recipe, command)
        if run.is_main_process:
            remove_unfinished(out)  # from a killed run
            if (out / STATE).exists():
                _warn_of_changes(out, circumstances)
            described = replace(description, settings={**description.settings, **circumstances})
            Manifest.protect(described, (STATE, FEATURES)).write(out)
        if (out / STATE).exists():
            run.state.resume(out / STATE)
        return run

    @classmethod
    def _training(cls, name: str, out: Path, recipe: Recipe, command: str) -> TrainingRun:
        state = TrainingState.begin(recipe)
        about = f"{_describe_start(recipe.start)}; trained: {recipe.preset}."
        # A short run is saved at every validation.
        every = SAVE_EVERY if recipe.validation is None else min(SAVE_EVERY, recipe.validation.every)
        loop = partial(train, state, save_every=every)
        return cls(name, out, state, loop, about, command, lambda: predictions(recipe, state.averaged()))

    @classmethod
    def _pretraining(cls, name: str, out: Path, recipe: PretrainingRecipe, command: str) -> TrainingRun:
        state = PretrainingState.begin(recipe)
        about = (
            f"{_describe_start(recipe.start)}; the trunk reconstructs the hidden {HIDDEN:.0%} of an image."
        )
        loop = partial(pretrain, state, save_every=min(SAVE_EVERY, recipe.every))
        return cls(name, out, state, loop, about, command, lambda: _reconstructions(state))

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes."""
        return os.environ.get("RANK", "0") == "0"

    def rows(self, *, precision: str = "no", workers: int = 0, original: bool = False) -> Iterator[LogRow]:
        """Train to the end, and yield a row for every step and every validation. Writes report and weights.

        Args:
            original: Also write the weights in the layout of the original package, as model.pt.
        """
        run_log = RunLog(self.out) if self.is_main_process else None
        for row in self.train_to_end(self.out, precision=precision, workers=workers):
            if run_log is not None:
                run_log.write(row)
                if "loss" not in row:
                    run_log.write_images(int(row["step"]), (strip.strip for strip in self.images()))
            yield row
        if run_log is None:
            return
        run_log.close()
        write_report(self.out, self.name, self.about, self.command, self.images())
        if original:
            weights = self.out / BEST if (self.out / BEST).is_file() else self.out / LAST
            checkpoint.save(checkpoint.load(weights, device="cpu"), self.out / "model.pt", layout="original")


def _describe_run(name: str, options: TrainingOptions, recipe: Recipe | PretrainingRecipe) -> Run:
    """The settings that may not change within a run. A run may continue with more steps, or on another
    machine."""
    start = recipe.start
    file = None if start is None else find_given(start)
    settings: dict[str, str | int | float | None] = {
        "recipe": name,
        "weights": start if file is None else sha256(file),
    }
    if isinstance(recipe, Recipe):
        settings |= {
            "preset": recipe.preset,
            "size": recipe.config.image_size,
            "learning rate": recipe.stages[0].learning_rates[0],
        }
    if "split" in vars(options):  # the recipe has read it
        names = [sorted(item.name for item in items) for items in options.split]
        settings["data"] = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return Run("train", "", settings, {})


def _circumstances(
    name: str, options: TrainingOptions, recipe: Recipe | PretrainingRecipe
) -> dict[str, str | int]:
    """The inputs that change a resumed run's results if they are changed."""
    batches = recipe.accumulate if isinstance(recipe, Recipe) else 1
    found: dict[str, str | int] = {"batches a step": batches * int(os.environ.get("WORLD_SIZE", "1"))}
    if name not in RECIPES:
        found["recipe file"] = sha256(name)
    if "split" in vars(options):
        labels = sorted({item.labels for items in options.split for item in items if item.labels is not None})
        found["labels"] = _digest_labels(labels)
    return found


def _digest_labels(places: Iterable[Path]) -> str:
    """Of label files, or folders of such: their names, sizes and beginnings, since there may be gigabytes."""
    digest = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                digest.update(f"{file.name} {file.stat().st_size} ".encode(errors="surrogateescape"))
                with file.open("rb") as stream:
                    digest.update(stream.read(LABEL_HEAD))
    return digest.hexdigest()


def _warn_of_changes(out: Path, circumstances: Mapping[str, str | int]) -> None:
    earlier = Manifest.read(out)
    before = earlier.run.settings if earlier is not None else {}
    changed = [name for name, value in circumstances.items() if before.get(name, value) != value]
    if changed:
        log.warning(
            "%s was trained with other %s, and continues with the current ones. To train again, choose "
            "another folder.",
            out,
            " and ".join(changed),
        )


def _describe_start(start: str | None) -> str:
    return f"Started from {start}" if start else "Started from random weights"


def _reconstructions(state: PretrainingState) -> Iterator[ImageStrip]:
    for image, visible, reconstruction in state.reconstruct(IMAGES):
        yield ImageStrip.of(
            {"image": image, "visible to the trunk": visible, "reconstruction": reconstruction}
        )
