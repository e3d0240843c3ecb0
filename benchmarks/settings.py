"""Measures the loss of accuracy of `balanced` and `fast`: nano on real clips, from first-frame masks.

    python -m benchmarks.settings CLIPS

CLIPS is a folder of NAME/frames beside NAME/masks, or DAVIS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import typer
from rich.console import Console

import masklet
from masklet.backends import Setting
from masklet.datasets import LabelledVideo
from masklet.evaluate.predictors import ModelPredictor, VideoPredictor
from masklet.evaluate.protocols import SemiSupervised
from masklet.evaluate.samples import find_clips
from masklet.media import Frames
from masklet.types import Masks, Prompt

SETTINGS: tuple[Setting, ...] = ("exact", "balanced", "fast")


@dataclass(frozen=True)
class RecordingPredictor(ModelPredictor):
    """A predictor that records its masks of the last clip."""

    recorded: list[np.ndarray] = field(default_factory=list)

    def video(self, frames: Frames) -> VideoPredictor:
        self.recorded.clear()
        return RecordingVideo(super().video(frames), self.recorded)


@dataclass(frozen=True)
class RecordingVideo:
    """A session on a clip that records its masks."""

    session: VideoPredictor
    recorded: list[np.ndarray]

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        return self.session.prompt(frame, id, prompt)

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        for masks in self.session.propagate(start):
            self.recorded.append(np.stack([mask for _, mask in masks.items()]))
            yield masks


def main(clips: Path, model: str = "nano") -> None:
    """Print J&F by setting, and the difference of masks from those of `exact`."""
    console = Console(highlight=False, soft_wrap=True)
    predictors = {name: RecordingPredictor(name, masklet.load(model, setting=name)) for name in SETTINGS}
    heads = [f"{name}, J&F" for name in SETTINGS] + [f"{name}, IoU with exact" for name in SETTINGS[1:]]
    console.print(f"| clip | {' | '.join(heads)} |")
    console.print("| --- " * (1 + len(heads)) + "|")
    means = []
    for clip in find_clips(clips):
        scores = [_score(predictor, clip) for predictor in predictors.values()]
        exact, *others = (predictor.recorded for predictor in predictors.values())
        scores += [
            float(np.mean([_iou(*pair) for pair in zip(exact, masks, strict=True)])) for masks in others
        ]
        means.append(scores)
        _show(console, clip.name, scores)
    _show(console, "mean", np.mean(means, axis=0).tolist())


def _score(predictor: RecordingPredictor, clip: LabelledVideo) -> float:
    return float(np.mean([result.scores["J&F"] for result in SemiSupervised().run(predictor, clip)]))


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else 1.0


def _show(console: Console, name: str, scores: list[float]) -> None:
    jf, ious = scores[: len(SETTINGS)], scores[len(SETTINGS) :]
    cells = [f"{100 * score:.1f}" for score in jf] + [f"{iou:.3f}" for iou in ious]
    console.print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    typer.run(main)
