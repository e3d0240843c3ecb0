"""The result of a protocol: the scores of each object, setting and step, with its worst frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from masklet import rle

WORST_FRAMES = 2  # stored with each result


@dataclass(frozen=True)
class WorstFrame:
    """A frame on which an answer was bad: the truth, the answer, and its score."""

    frame: int
    score: float
    truth: rle.RLE
    answer: rle.RLE


class WorstFrames:
    """Keeps the worst of the frames that are added."""

    def __init__(self) -> None:
        self.frames: tuple[WorstFrame, ...] = ()

    def add(self, frame: int, score: float, truth: np.ndarray, answer: np.ndarray) -> None:
        if len(self.frames) == WORST_FRAMES and score >= self.frames[-1].score:
            return
        worst = WorstFrame(frame, score, rle.encode(truth), rle.encode(answer))
        self.frames = tuple(sorted([*self.frames, worst], key=lambda worst: worst.score)[:WORST_FRAMES])


@dataclass(frozen=True)
class ObjectResult:
    """One object's scores under one setting.

    sample : the name of the clip or picture; pictures are named SET/FILE
    setting : the prompt, or the protocol
    step : clicks, or corrected frames, where the setting is a point on a curve
    scores : by name, in the order of the tables' columns
    """

    sample: str
    object: int
    setting: str
    step: int | None
    scores: Mapping[str, float]
    worst: tuple[WorstFrame, ...] = ()

    @property
    def group(self) -> str:
        """The clip, or the set of a picture."""
        return self.sample.split("/")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ObjectResult:
        return cls(**{**fields, "worst": tuple(WorstFrame(**worst) for worst in fields["worst"])})
