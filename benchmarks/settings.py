"""What `balanced` and `fast` cost: nano on real clips, from the first frame's mask, beside `exact`.

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
from masklet.evaluate import layouts
from masklet.evaluate.semi_supervised import SemiSupervised
from masklet.evaluate.subjects import Following, Network
from masklet.media import Frames
from masklet.types import Masks, Prompt

SETTINGS: tuple[Setting, ...] = ("exact", "balanced", "fast")


@dataclass(frozen=True)
class Overheard(Network):
    """A model whose masks of the last clip are kept."""

    heard: list[np.ndarray] = field(default_factory=list)

    def video(self, frames: Frames) -> Following:
        self.heard.clear()
        return Listener(super().video(frames), self.heard)


@dataclass(frozen=True)
class Listener:
    """A clip that is followed, and what is said of it."""

    session: Following
    heard: list[np.ndarray]

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        return self.session.prompt(frame, id, prompt)

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        for masks in self.session.propagate(start):
            self.heard.append(np.stack([mask for _, mask in masks.items()]))
            yield masks


def main(clips: Path, model: str = "nano") -> None:
    """Print J&F by setting, and how far masks are from those of `exact`."""
    console = Console(highlight=False, soft_wrap=True)
    subjects = {name: Overheard(name, masklet.load(model, setting=name)) for name in SETTINGS}
    heads = [f"{name}, J&F" for name in SETTINGS] + [f"{name}, IoU with exact" for name in SETTINGS[1:]]
    console.print(f"| clip | {' | '.join(heads)} |")
    console.print("| --- " * (1 + len(heads)) + "|")
    means = []
    for clip in layouts.clips(clips):
        scores = [_score(subject, clip) for subject in subjects.values()]
        exact, *others = (subject.heard for subject in subjects.values())
        scores += [float(np.mean([_iou(*pair) for pair in zip(exact, each, strict=True)])) for each in others]
        means.append(scores)
        _show(console, clip.name, scores)
    _show(console, "mean", np.mean(means, axis=0).tolist())


def _score(subject: Overheard, clip: LabelledVideo) -> float:
    return float(np.mean([row.scores["J&F"] for row in SemiSupervised().run(subject, clip)]))


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else 1.0


def _show(console: Console, name: str, scores: list[float]) -> None:
    jf, ious = scores[: len(SETTINGS)], scores[len(SETTINGS) :]
    cells = [f"{100 * each:.1f}" for each in jf] + [f"{each:.3f}" for each in ious]
    console.print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    typer.run(main)
