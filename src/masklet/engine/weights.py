"""The weights of a round: trained on accepted masklets, measured, and kept only if they are better."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from masklet import checkpoint
from masklet.datasets import find_items
from masklet.datasets.types import Clip
from masklet.evaluate.metrics import measure_agreement
from masklet.evaluate.protocols import CLICKS
from masklet.model import Sam2
from masklet.sessions.tracker import track
from masklet.simulated_user import next_click
from masklet.train.batches import FEATURES
from masklet.train.loop import LAST, train
from masklet.train.parameters import Preset
from masklet.train.recipe import BatchSource, Recipe, TrainingOptions
from masklet.train.recipes.finetune import FineTuning
from masklet.train.sampling import ClipSampler
from masklet.train.state import STATE, TrainingState

BASE_WEIGHT = 0.5  # fraction of batches with base data
DISTINCT = 100  # stills or clips for training a round, each encoded once
SAVE_EVERY = 20  # training steps


@dataclass(frozen=True)
class RoundTraining:
    """The training settings of a round.

    Attributes:
        preset: The parts of the network to train; the trunk is frozen.
        steps: Optimizer steps.
        rate: The learning rate at the start; it ends at 0.
        base: Labelled data for half of the batches, so that the network does not forget.
    """

    preset: Preset
    steps: int
    rate: float
    base: Path | None = None

    def to_json(self) -> dict[str, Any]:
        base = None if self.base is None else str(self.base)
        return {"preset": self.preset, "steps": self.steps, "rate": self.rate, "base": base}

    def run(self, data: Path, weights: str | Path, out: Path) -> Path:
        """Train on accepted masklets, or resume; returns the weights.

        Args:
            data: A folder of labelled clips.
            weights: The weights to start from.
            out: The folder for the checkpoint and the weights.
        """
        if (out / LAST).is_file():
            return out / LAST
        state = TrainingState.begin(self._recipe(data, weights))
        if (out / STATE).is_file():
            state.resume(out / STATE)
        for _ in train(state, out, save_every=SAVE_EVERY):
            pass
        shutil.rmtree(out / FEATURES, ignore_errors=True)
        return out / LAST

    def _recipe(self, data: Path, weights: str | Path) -> Recipe:
        frames = 4 if self.preset == "memory" else 1
        training = TrainingOptions(data, str(weights), self.preset, steps=self.steps, is_validated=False)
        recipe = FineTuning(frames=frames, distinct_clips=DISTINCT).recipe(training)
        (stage,) = recipe.stages
        sources = stage.sources
        if self.base is not None:
            stills = ClipSampler(find_items(self.base), stage.image_size, 1, 3, seed=5)
            sources = (*sources, BatchSource(stills.clip, 2, BASE_WEIGHT / (1 - BASE_WEIGHT)))
        stage = replace(stage, learning_rates=(self.rate, 0.0), sources=sources, corrections=CLICKS)
        return replace(recipe, stages=(stage,), validation=None)


@dataclass(frozen=True)
class WeightChoice:
    """The weights that a round selects, and each candidate's scores in validation.

    Attributes:
        name: The name of the best; the weights before the round are called "before".
        weights: The best weights.
        scores: J&F for each validation clip, by name.
    """

    name: str
    weights: str | Path
    scores: Mapping[str, np.ndarray]

    def line(self) -> str:
        scores = ", ".join(f"{name} {values.mean():.3f}" for name, values in self.scores.items())
        stays = "the round did not help; the earlier weights are kept"
        verdict = stays if self.name == "before" else f"the round selects {self.name}"
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
    """The standard error of the mean; 0 for a single value."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def average_weights(first: str | Path, second: str | Path, out: Path) -> Path:
    """Write the mean of two networks' weights."""
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
    """A network as run by the commands on a CPU."""
    return checkpoint.load(weights, device="cpu", setting="balanced")
