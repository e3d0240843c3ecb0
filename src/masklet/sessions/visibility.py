"""Lost and found: is each object still in the picture, and is it still the same scene?

It reads answers and images, and knows neither the network nor how objects are followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from masklet.types import Masks

State = Literal["seen", "doubtful", "lost"]
Kind = Literal["appeared", "doubtful", "sure", "lost", "found"]

SIDE = 32  # of the picture that stands for a frame
BINS = 4  # of its colours, a channel
RECOLOURED = 0.2  # share of pixels that have another colour
UNLIKE = 0.6  # correlation of two pictures below which they show other things


@dataclass(frozen=True)
class Event:
    """Something happened to an object.

    frame : on which it became clear
    since : from which on it was so; `lost` and `found` wait until they have lasted
    """

    frame: int
    id: int
    kind: Kind
    since: int


@dataclass
class _Sight:
    """What is known of one object: its state, and how long it has looked otherwise."""

    state: State
    since: int = 0
    run: int = 0  # frames in a row that speak for being lost, or for being found


@dataclass
class VisibilityMonitor:
    """Tells when objects appear, become doubtful, are sure again, are lost, and are found.

    An object that is seen becomes doubtful on the first frame without it: its score is at most `low`, or its
    mask is empty. It is sure again at a score of `high`, and lost when it is missing `patience` frames in a
    row. A lost one is found when its score is `high` as many frames in a row. Between `low` and `high`
    nothing changes, so a score that trembles about one of them tells no tales.

    low, high : object scores, logits
    patience : frames
    """

    low: float = 0.0
    high: float = 1.0
    patience: int = 3
    _sights: dict[int, _Sight] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low must not be above high. Got low={self.low} and high={self.high}.")
        if self.patience < 1:
            raise ValueError(f"patience must be at least one frame. Got {self.patience}.")

    @property
    def states(self) -> dict[int, State]:
        """By object id: seen, doubtful or lost."""
        return {id: sight.state for id, sight in self._sights.items()}

    def step(self, masks: Masks) -> list[Event]:
        """Take the next frame's answers, in the direction of travel; reads them back from the device."""
        if not masks.ids:
            return []
        shown = masks.low_res.flatten(1).amax(dim=1) > 0
        scores = torch.where(shown, masks.score, -torch.inf).tolist()
        told = (self._told(masks.frame, id, score) for id, score in zip(masks.ids, scores, strict=True))
        return [event for event in told if event is not None]

    def forget(self, *ids: int) -> None:
        """Objects that are no longer followed; should they come again, they appear anew."""
        for id in ids:
            self._sights.pop(id, None)

    def _told(self, frame: int, id: int, score: float) -> Event | None:
        missing, sure = score <= self.low, score >= self.high
        sight = self._sights.get(id)
        if sight is None:
            self._sights[id] = sight = _Sight("doubtful" if missing else "seen", frame, int(missing))
            return Event(frame, id, "doubtful" if missing else "appeared", frame)
        if not (sure if sight.state == "lost" else missing):
            sight.run = 0
            return self._turned(sight, frame, id, "sure") if sure and sight.state == "doubtful" else None
        if sight.run == 0:
            sight.since = frame
        sight.run += 1
        if sight.run >= self.patience:
            return self._turned(sight, frame, id, "found" if sight.state == "lost" else "lost")
        return self._turned(sight, frame, id, "doubtful") if sight.state == "seen" else None

    def _turned(self, sight: _Sight, frame: int, id: int, kind: Kind) -> Event:
        states: dict[Kind, State] = {"doubtful": "doubtful", "lost": "lost", "sure": "seen", "found": "seen"}
        sight.state = states[kind]
        if kind != "doubtful":  # doubt goes on to be counted
            sight.run = 0
        return Event(frame, id, kind, frame if kind == "sure" else sight.since)


def events(found: Iterable[Masks]) -> Iterator[Event]:
    """All that happens in a run of answers, by the rules of `Watch`."""
    watch = VisibilityMonitor()
    for masks in found:
        yield from watch.step(masks)


def thumbnail(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """The small picture that stands for a frame when scenes are compared."""
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def is_cut(before: UInt8[np.ndarray, "s s 3"], after: UInt8[np.ndarray, "s s 3"]) -> bool:
    """Whether another scene begins between two neighbouring frames, given as thumbnails.

    Both must be new: the colours, which a camera's motion leaves alone, and where light and dark lie, which
    a change of light leaves alone.
    """
    recoloured = np.abs(_histogram(before) - _histogram(after)).sum() / 2
    return bool(recoloured > RECOLOURED and _likeness(before, after) < UNLIKE)


def _histogram(picture: np.ndarray) -> np.ndarray:
    bins = picture.reshape(-1, 3).astype(np.int64) * BINS // 256
    counted = np.bincount(bins @ (BINS**2, BINS, 1), minlength=BINS**3)
    shares: np.ndarray = counted / counted.sum()
    return shares


def _likeness(before: np.ndarray, after: np.ndarray) -> float:
    """Correlation of brightness, -1 to 1."""
    light = [picture.mean(axis=2) for picture in (before, after)]
    one, other = (each - each.mean() for each in light)
    size = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / size) if size else 1.0
