"""The whole loop on composed clips: a simulated person reviews, and each round's weights prove themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from masklet import checkpoint
from masklet.auto import resolve_grid
from masklet.datasets import find_items
from masklet.datasets.types import Clip
from masklet.engine.gates import write_limits
from masklet.engine.rounds import (
    Calibration,
    ClipLabeller,
    ClipResult,
    Round,
    describe_gates,
    process_clips,
)
from masklet.engine.step_results import StepResults
from masklet.evaluate.metrics import measure_agreement
from masklet.evaluate.protocols import CLICKS
from masklet.model import Sam2
from masklet.sessions.tracker import track
from masklet.simulated_user import next_click
from masklet.synthetic import director
from masklet.synthetic.cells import compose_cells
from masklet.synthetic.director import Shot, Stock
from masklet.synthetic.effects import make_grain
from masklet.train.loop import LAST, train
from masklet.train.parameters import Preset
from masklet.train.recipe import BatchSource, Recipe, TrainingOptions
from masklet.train.recipes.finetune import FineTuning
from masklet.train.sampling import Sampler
from masklet.train.state import STATE, TrainingState

World = Literal["cells", "things"]

CALIBRATION, VALIDATION, TEST, ROUNDS = 1, 2, 3, 10  # series of clips; a round's number is added to the last
THINGS = 4  # in a clip, at most; and up to two more
VISIBLE, WHOLE = 0.004, 0.6  # shares of the first frame between which a thing is an object to label
PACE = 0.15  # of the composer's things and cameras: calm clips
BASE_WEIGHT = 0.5  # of the batches, where there is base data
DISTINCT = 100  # stills or clips that a round trains on, each encoded once
SAVE_EVERY = 20  # training steps


def run_demo(
    out: Path, model: str, maker: ClipMaker, training: FineTune, size: DemoSize, report: Callable[[str], None]
) -> None:
    """Run the loop, and report line by line. The same call again goes on where it was stopped.

    Args:
        out: Takes the limits of the gates, the accepted masklets, and each round's weights.
        model: To start from.
        maker: Makes the clips of calibration, validation, test, and of each round: all different.
        training: How each round trains.
        size: How much of everything.
        report: Takes each line as soon as it is known.

    Raises:
        MaskletError: `out` holds a run with other settings.
    """
    settings = {"model": model, **maker.to_json(), **training.to_json(), **asdict(size)}
    settings.pop("rounds")  # more rounds may follow later
    results = StepResults(out / "steps", settings)
    loop = _Loop(out, size, maker, results, load_network(model))
    calibration = loop.calibrate()
    write_limits(out / "gates.json", calibration.gates)
    report(f"Calibration: {calibration.proposed} masklets proposed")
    for line in describe_gates(calibration.scores):
        report(line)
    weights: str | Path = model
    best = loop.choose_zoom(weights, report)
    scores = [loop.measure("test-start", weights, TEST)]
    report(f"J&F before: {best.mean():.3f} on validation clips, {_mean_and_error(scores[0])} on test clips")
    for number in range(1, size.rounds + 1):
        result = loop.run_round(number, calibration)
        for line in result.lines(number):
            report(line)
        choice = Choice("before", weights, {"before": best})
        if result.accepted:
            folder = out / f"round-{number}" / "training"
            trained = training.run(loop.accepted, weights, folder)
            choice = loop.choose_weights(number, weights, best, trained)
        report(choice.line())
        if choice.name != "before":
            weights, best = choice.weights, choice.scores[choice.name]
            loop.model = load_network(weights)
            scores.append(loop.measure(f"test-{number}", weights, TEST))
            report(f"  J&F on test clips: {_gain(scores[-2], scores[-1])}")
    if str(weights) != model:
        loop.save(weights, out / "model.safetensors")
    report(f"All rounds, J&F on test clips: {_gain(scores[0], scores[-1])}")
    if scores[-1].mean() <= scores[0].mean():
        report("The loop did not make the model better.")


def _mean_and_error(scores: np.ndarray) -> str:
    return f"{scores.mean():.3f} (standard error {standard_error(scores):.3f})"


def _gain(before: np.ndarray, after: np.ndarray) -> str:
    gains = after - before
    return (
        f"{before.mean():.3f} before, {after.mean():.3f} after: {gains.mean():+.3f} (standard error of the "
        f"gain {standard_error(gains):.3f}; better on {(gains > 0).sum()} of {len(gains)} clips)"
    )


@dataclass(frozen=True)
class DemoSize:
    """How much of everything.

    Attributes:
        clips: Of each round, of calibration and of validation; the test has twice as many.
        rounds: Rounds.
        max_objects: Masklets of a clip.
        points: On each side of the grid of proposals.
    """

    clips: int
    rounds: int
    max_objects: int
    points: int


@dataclass
class _Loop:
    """The steps of the loop, each with a result that is kept.

    Attributes:
        model: The network of the current round.
        zoom: Whether clicks are answered with zoom.
    """

    out: Path
    size: DemoSize
    maker: ClipMaker
    results: StepResults
    model: Sam2
    zoom: bool = False

    @property
    def accepted(self) -> Path:
        """The folder of the training data, of all rounds so far."""
        return self.out / "accepted"

    def _labeller(self) -> ClipLabeller:
        grid = replace(resolve_grid("fast", self.model.config), points_per_side=self.size.points)
        return ClipLabeller(self.model, grid, self.size.max_objects, self.zoom)

    def calibrate(self) -> Calibration:
        labeller, clips = self._labeller(), self.maker.clips(CALIBRATION, self.size.clips)
        rows = process_clips(self.results, "calibration", clips, lambda number, clip: labeller.measure(clip))
        return Calibration.from_clips(rows)

    def run_round(self, number: int, calibration: Calibration) -> Round:
        labeller, clips = self._labeller(), self.maker.clips(ROUNDS + number, self.size.clips)

        def label(index: int, clip: Clip) -> ClipResult:
            folder = self.accepted / f"round-{number}-clip-{index:03d}"
            return labeller.label(clip, calibration, folder)

        return Round.from_clips(process_clips(self.results, f"round-{number}", clips, label), calibration)

    def choose_zoom(self, weights: str | Path, report: Callable[[str], None]) -> np.ndarray:
        """Zoom from here on if the network tracks better with it; returns its J&F of each validation clip."""
        by_zoom = dict[bool, np.ndarray]()
        for zoom in (False, True):
            self.zoom = zoom
            by_zoom[zoom] = self.measure(f"validation-start-zoom-{int(zoom)}", weights, VALIDATION)
        without, with_zoom = by_zoom[False].mean(), by_zoom[True].mean()
        self.zoom = bool(with_zoom > without)
        report(
            f"J&F in validation: {without:.3f} without zoom, {with_zoom:.3f} with zoom; "
            f"from here on {'with' if self.zoom else 'without'} it"
        )
        return by_zoom[self.zoom]

    def save(self, weights: str | Path, path: Path) -> None:
        """Save weights as a network that zooms by default if this loop did."""
        source = checkpoint.load(weights, device="cpu")
        network = Sam2(replace(source.config, zoom=self.zoom))
        network.load_state_dict(source.state_dict())
        checkpoint.save(network, path)

    def measure(self, name: str, weights: str | Path, series: int) -> np.ndarray:
        """The J&F of each clip of a series."""
        count = 2 * self.size.clips if series == TEST else self.size.clips

        def compute() -> list[float]:
            model = load_network(weights)
            return measure_tracking(model, self.maker.clips(series, count), zoom=self.zoom).tolist()

        return np.array(self.results.get(name, compute))

    def choose_weights(self, number: int, before: str | Path, scores: np.ndarray, trained: Path) -> Choice:
        """The best of the weights before a round, those after it, and their mean, by held-back clips.

        Args:
            number: Of the round.
            before: The weights before the round.
            scores: Their J&F of each clip of validation.
            trained: The weights after it.
        """
        mean = average_weights(before, trained, trained.with_name("mean.safetensors"))
        candidates: dict[str, str | Path] = {"before": before, "mean": mean, "after": trained}
        by_name = {"before": scores}
        for name in ("mean", "after"):
            by_name[name] = self.measure(f"validation-{number}-{name}", candidates[name], VALIDATION)
        name = best_by_more_than_chance(by_name)
        return Choice(name, candidates[name], by_name)


@dataclass(frozen=True)
class ClipMaker:
    """Composed clips, in which everything that moves by itself is labelled.

    Attributes:
        world: What they show: "cells", or "things" as nano was trained on.
        size: Side of the frames in pixels.
        frames: Length of the clips.
        stock: Pictures to compose things from. Without any, bodies and backgrounds come from nothing.
    """

    world: World
    size: int
    frames: int
    stock: Stock = field(default_factory=lambda: Stock(()))

    def to_json(self) -> dict[str, Any]:
        pictures = sorted(picture.name for picture in self.stock.pictures)
        return {"world": self.world, "size": self.size, "frames": self.frames, "pictures": pictures}

    def clips(self, series: int, count: int) -> list[Clip]:
        """The first clips of a series; the same ones every time."""
        return [self._clip(np.random.default_rng([15, series, number])) for number in range(count)]

    def _clip(self, rng: np.random.Generator) -> Clip:
        while True:  # a few in a hundred show no object on the first frame
            clip = self._compose(rng)
            share = clip.masks[0].mean(axis=(1, 2))
            is_object = (share > VISIBLE) & (share < WHOLE)
            if is_object.any():
                return Clip(clip.images, clip.masks[:, is_object])

    def _compose(self, rng: np.random.Generator) -> Clip:
        if self.world == "cells":
            return compose_cells(rng, self.size, self.frames)
        shot = Shot(self.size, self.frames, THINGS, make_grain(self.size + 128), PACE)
        build = director.pasted if self.stock.pictures else director.procedural
        return build(rng, self.stock, shot).film(self.size)


@dataclass(frozen=True)
class FineTune:
    """How a round trains.

    Attributes:
        preset: The parts of the network to train; the trunk is frozen.
        steps: Optimizer steps.
        rate: The learning rate at the start; it ends at 0.
        base: Labelled data that half of the batches come from, so that the network forgets nothing.
    """

    preset: Preset
    steps: int
    rate: float
    base: Path | None = None

    def to_json(self) -> dict[str, Any]:
        base = None if self.base is None else str(self.base)
        return {"preset": self.preset, "steps": self.steps, "rate": self.rate, "base": base}

    def run(self, data: Path, weights: str | Path, out: Path) -> Path:
        """Train on accepted masklets, or go on with it; returns the weights.

        Args:
            data: A folder of labelled clips.
            weights: To start from.
            out: Takes the checkpoint and the weights.
        """
        if (out / LAST).is_file():
            return out / LAST
        state = TrainingState.begin(self._recipe(data, weights))
        if (out / STATE).is_file():
            state.resume(out / STATE)
        for _ in train(state, out, save_every=SAVE_EVERY):
            pass
        shutil.rmtree(out / "features", ignore_errors=True)
        return out / LAST

    def _recipe(self, data: Path, weights: str | Path) -> Recipe:
        frames = 4 if self.preset == "memory" else 1
        training = TrainingOptions(data, str(weights), self.preset, steps=self.steps, validation=data)
        recipe = FineTuning(frames=frames, distinct_clips=DISTINCT).recipe(training)
        (stage,) = recipe.stages
        sources = stage.sources
        if self.base is not None:
            stills = Sampler(find_items(self.base), stage.image_size, 1, 3, seed=5)
            sources = (*sources, BatchSource(stills.clip, 2, BASE_WEIGHT / (1 - BASE_WEIGHT)))
        stage = replace(stage, learning_rates=(self.rate, 0.0), sources=sources, corrections=CLICKS)
        return replace(recipe, stages=(stage,), validation=None)


@dataclass(frozen=True)
class Choice:
    """The weights that a round ships, and what each candidate reached in validation.

    Attributes:
        name: Of the best; the weights before the round are called "before".
        weights: Of the best.
        scores: J&F of each clip of validation, by name.
    """

    name: str
    weights: str | Path
    scores: Mapping[str, np.ndarray]

    def line(self) -> str:
        scores = ", ".join(f"{name} {values.mean():.3f}" for name, values in self.scores.items())
        stays = "the round did not help, and the weights before it stay"
        verdict = stays if self.name == "before" else f"the round ships {self.name}"
        return f"  J&F in validation: {scores}; {verdict}"


def best_by_more_than_chance(scores: Mapping[str, np.ndarray]) -> str:
    """The name with the best mean, if it is better than "before" by more than the standard error of the gain.

    Example:
        >>> before = np.array([0.4, 0.5, 0.6])
        >>> best_by_more_than_chance({"before": before, "after": before + (0.02, 0.03, 0.01)})
        'after'
        >>> best_by_more_than_chance({"before": before, "after": before + (0.1, -0.05, -0.02)})
        'before'
    """
    best = max(scores, key=lambda name: scores[name].mean())
    gains = scores[best] - scores["before"]
    return best if gains.mean() > standard_error(gains) else "before"


def standard_error(values: np.ndarray) -> float:
    """Of the mean; 0 for a single value."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def average_weights(first: str | Path, second: str | Path, out: Path) -> Path:
    """Write the even mean of two networks' weights."""
    model, other = (checkpoint.load(weights, device="cpu") for weights in (first, second))
    theirs = other.state_dict()
    mean = {
        name: (tensor + theirs[name]) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(mean)
    checkpoint.save(model, out)
    return out


def measure_tracking(model: Sam2, clips: Sequence[Clip], *, zoom: bool | None = None) -> np.ndarray:
    """The J&F of each clip: the mean over objects and frames after one click on the first frame."""
    scores = []
    for clip in clips:
        prompts = {row + 1: next_click(None, mask) for row, mask in enumerate(clip.masks[0])}
        tracked = (masks for masks in track(model, clip.images, {0: prompts}, zoom=zoom) if masks.frame)
        agreements = [
            measure_agreement(clip.masks[masks.frame][id - 1], mask).jf
            for masks in tracked
            for id, mask in masks.items()
        ]
        scores.append(float(np.mean(agreements)))
    return np.array(scores)


def load_network(weights: str | Path) -> Sam2:
    """A network as the commands run it on a CPU."""
    return checkpoint.load(weights, device="cpu", setting="balanced")
