"""The whole loop on composed clips: a simulated person reviews, and each round's weights prove themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from masklet import checkpoint
from masklet.auto import resolve_grid
from masklet.datasets import find_items
from masklet.datasets.types import Clip
from masklet.engine.gates import write_limits
from masklet.engine.rounds import calibrate, describe_gates, run_round
from masklet.evaluate.metrics import measure_agreement
from masklet.evaluate.protocols import CLICKS
from masklet.model import Sam2
from masklet.sessions.tracker import track
from masklet.simulated_user import next_click
from masklet.synthetic import director
from masklet.synthetic.director import Shot, Stock
from masklet.synthetic.effects import make_grain
from masklet.train.loop import LAST, train
from masklet.train.parameters import Preset
from masklet.train.recipe import BatchSource, TrainingOptions
from masklet.train.recipes.finetune import FineTuning
from masklet.train.sampling import Sampler
from masklet.train.state import TrainingState

THINGS = 4  # in a clip, at most; and up to two more
VISIBLE, WHOLE = 0.004, 0.6  # shares of the first frame between which a thing is an object to label
PACE = 0.15  # of the composer's things and cameras: calm clips
BASE_WEIGHT = 0.5  # of the batches, where there is base data
RATE = 5e-5  # learning rate at the start; it ends at 0


def run_demo(
    out: Path,
    model: str,
    maker: ClipMaker,
    training: FineTune,
    *,
    clips: int,
    rounds: int,
    max_objects: int,
    points: int,
    report: Callable[[str], None],
) -> None:
    """Run the loop, and report line by line.

    Args:
        out: Takes the limits of the gates, the accepted masklets, and each round's weights.
        model: To start from.
        maker: Makes the clips of calibration, validation, test, and of each round: all different.
        training: How each round trains.
        clips: Of each round, of calibration and of validation; the test has twice as many.
        rounds: Rounds.
        max_objects: Masklets of a clip.
        points: On each side of the grid of proposals.
        report: Takes each line as soon as it is known.
    """
    calibration_clips, validation, test = (
        maker.clips(1, clips),
        maker.clips(2, clips),
        maker.clips(3, 2 * clips),
    )
    network, weights = load_network(model), cast("str | Path", model)
    grid = replace(resolve_grid("fast", network.config), points_per_side=points)
    calibration = calibrate(network, calibration_clips, grid, max_objects)
    write_limits(out / "gates.json", calibration.gates)
    report(f"Calibration: {calibration.proposed} masklets proposed")
    for line in describe_gates(calibration.scores):
        report(line)
    best, scores = measure_tracking(network, validation), [float(measure_tracking(network, test).mean())]
    for number in range(1, rounds + 1):
        folder = out / f"round-{number}"
        series = maker.clips(10 + number, clips)
        result = run_round(network, series, grid, max_objects, calibration, out / "accepted", number)
        for line in result.lines(number):
            report(line)
        choice = Choice("before", weights, {"before": best})
        if result.accepted:
            trained = training.run(out / "accepted", weights, folder / "training")
            choice = choose_weights(weights, best, trained, validation)
        report(choice.line())
        is_new = choice.name != "before"
        weights, best, network = choice.weights, choice.scores[choice.name], load_network(choice.weights)
        scores.append(float(measure_tracking(network, test).mean()) if is_new else scores[-1])
        gain = scores[-1] - scores[-2]
        report(f"  J&F on test clips: {scores[-2]:.3f} before, {scores[-1]:.3f} after ({gain:+.3f})")
    if str(weights) != model:
        checkpoint.save(checkpoint.load(weights, device="cpu"), out / "model.safetensors")
    report("J&F of the test clips: " + ", then ".join(f"{score:.3f}" for score in scores))
    if scores[-1] <= scores[0]:
        report("The loop did not make the model better.")


@dataclass(frozen=True)
class ClipMaker:
    """Composed clips, in which everything that moves by itself is labelled.

    Attributes:
        stock: Pictures to compose from. Without any, bodies and backgrounds come from nothing.
        shot: Size and length of the clips.
    """

    stock: Stock
    shot: Shot

    @classmethod
    def of(cls, stock: Stock, size: int, frames: int) -> ClipMaker:
        return cls(stock, Shot(size, frames, THINGS, make_grain(size + 128), PACE))

    def clips(self, series: int, count: int) -> list[Clip]:
        """The first clips of a series; the same ones every time."""
        return [self._clip(np.random.default_rng([15, series, number])) for number in range(count)]

    def _clip(self, rng: np.random.Generator) -> Clip:
        compose = director.pasted if self.stock.pictures else director.procedural
        while True:  # a few in a hundred show no object on the first frame
            clip = compose(rng, self.stock, self.shot).film(self.shot.size)
            share = clip.masks[0].mean(axis=(1, 2))
            is_object = (share > VISIBLE) & (share < WHOLE)
            if is_object.any():
                return Clip(clip.images, clip.masks[:, is_object])


@dataclass(frozen=True)
class FineTune:
    """How a round trains.

    Attributes:
        preset: The parts of the network to train; the trunk is frozen.
        steps: Optimizer steps.
        base: Labelled data that half of the batches come from, so that the network forgets nothing.
    """

    preset: Preset
    steps: int
    base: Path | None = None

    def run(self, data: Path, weights: str | Path, out: Path) -> Path:
        """Train on accepted masklets; returns the weights."""
        frames = 4 if self.preset == "memory" else 1
        training = TrainingOptions(data, str(weights), self.preset, steps=self.steps, validation=data)
        recipe = FineTuning(frames=frames, distinct_clips=200).recipe(training)
        (stage,) = recipe.stages
        sources = stage.sources
        if self.base is not None:
            stills = Sampler(find_items(self.base), stage.image_size, 1, 3, seed=5)
            sources = (*sources, BatchSource(stills.clip, 2, BASE_WEIGHT / (1 - BASE_WEIGHT)))
        stage = replace(stage, learning_rates=(RATE, 0.0), sources=sources, corrections=CLICKS)
        state = TrainingState.begin(replace(recipe, stages=(stage,), validation=None))
        for _ in train(state, out):
            pass
        return out / LAST


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


def choose_weights(before: str | Path, scores: np.ndarray, trained: Path, clips: Sequence[Clip]) -> Choice:
    """The best of the weights before a round, those after it, and their mean, by held-back clips.

    Args:
        before: The weights before the round.
        scores: Their J&F of each clip.
        trained: The weights after it.
        clips: Neither trained on nor reported on.
    """
    mean = average_weights(before, trained, trained.with_name("mean.safetensors"))
    candidates: dict[str, str | Path] = {"before": before, "mean": mean, "after": trained}
    by_name = {"before": scores}
    for name in ("mean", "after"):
        by_name[name] = measure_tracking(load_network(candidates[name]), clips)
    name = best_by_more_than_chance(by_name)
    return Choice(name, candidates[name], by_name)


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
    error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return best if gains.mean() > error else "before"


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


def measure_tracking(model: Sam2, clips: Sequence[Clip]) -> np.ndarray:
    """The J&F of each clip: the mean over objects and frames after one click on the first frame."""
    scores = []
    for clip in clips:
        prompts = {row + 1: next_click(None, mask) for row, mask in enumerate(clip.masks[0])}
        tracked = (masks for masks in track(model, clip.images, {0: prompts}) if masks.frame)
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
