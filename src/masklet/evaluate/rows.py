"""What protocols yield: a row of scores for each object, setting and step, with its worst frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from masklet import rle

SHOTS = 2  # pictures kept of each row


@dataclass(frozen=True)
class Shot:
    """A frame worth looking at: the truth, the answer, and how well they agree."""

    frame: int
    score: float
    truth: rle.RLE
    answer: rle.RLE


class Album:
    """The worst frames of those it is shown."""

    def __init__(self) -> None:
        self.shots: tuple[Shot, ...] = ()

    def show(self, frame: int, score: float, truth: np.ndarray, answer: np.ndarray) -> None:
        if len(self.shots) == SHOTS and score >= self.shots[-1].score:
            return
        shot = Shot(frame, score, rle.encode(truth), rle.encode(answer))
        self.shots = tuple(sorted([*self.shots, shot], key=lambda shot: shot.score)[:SHOTS])


@dataclass(frozen=True)
class Row:
    """One object's scores under one setting.

    item : the clip's or the picture's name; pictures are named SET/FILE
    setting : what was prompted, or whose rules held
    step : clicks given, or frames interacted with, where the setting is a point on a curve
    scores : by name, in the order in which tables show them
    """

    item: str
    object: int
    setting: str
    step: int | None
    scores: Mapping[str, float]
    shots: tuple[Shot, ...] = ()

    @property
    def group(self) -> str:
        """The clip, or the set that a picture is from."""
        return self.item.split("/")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Row:
        return cls(**{**said, "shots": tuple(Shot(**shot) for shot in said["shots"])})
