"""How well masks agree: J (region), F (boundary), and which frames count. Knows nothing of models or files.

The definitions are those of davis2017-evaluation and of SA-V's evaluator, to the last pixel;
`docs/evaluation.md` says how that was checked. Scores lie between 0 and 1. Masks are bool (H, W); pixels that
a data set leaves undecided are cleared in both masks before they come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from masklet.errors import MediaError

TOLERANCE = 0.008  # of the image's diagonal: how far apart two boundaries may lie and still match

Frames = Literal["inner", "all"]


@dataclass(frozen=True)
class Agreement:
    """J and F of one mask, or their means over many."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2

    @staticmethod
    def mean(agreements: Iterable[Agreement]) -> Agreement:
        """J and F averaged each by itself; ValueError when there is nothing to average."""
        pairs = [(each.j, each.f) for each in agreements]
        if not pairs:
            raise ValueError("there is nothing to average")
        j, f = np.mean(pairs, axis=0)
        return Agreement(float(j), float(f))


def agree(truth: np.ndarray, mask: np.ndarray) -> Agreement:
    """J and F of one mask."""
    return Agreement(jaccard(truth, mask), boundary_f(truth, mask))


def jaccard(truth: np.ndarray, mask: np.ndarray) -> float:
    """J, the intersection over the union; 1 when both masks are empty, 0 when one of them is."""
    _check_sizes(truth, mask)
    union = np.count_nonzero(truth | mask)
    return float(np.count_nonzero(truth & mask) / union) if union else 1.0


def boundary_f(truth: np.ndarray, mask: np.ndarray) -> float:
    """F, the harmonic mean of boundary precision and boundary recall.

    A boundary pixel matches when the other boundary passes within TOLERANCE of the image's diagonal, rounded
    up to whole pixels. Matches are counted on each side by itself, not paired one to one. F is 1 when both
    boundaries are empty and 0 when one of them is; a mask that fills the whole image has no boundary.
    """
    _check_sizes(truth, mask)
    radius = int(np.ceil(TOLERANCE * np.hypot(*truth.shape)))
    window = _window(truth | mask)
    true_edge, edge = boundary(truth)[window], boundary(mask)[window]
    if not true_edge.any() or not edge.any():
        return float(true_edge.any() == edge.any())
    precision = np.count_nonzero(edge & _near(true_edge, radius)) / np.count_nonzero(edge)
    recall = np.count_nonzero(true_edge & _near(edge, radius)) / np.count_nonzero(true_edge)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the pixel to the right, below, or below to the right.

    One pixel wide, half a pixel towards the origin. The frame's own border is no boundary.
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def _near(edge: np.ndarray, radius: int) -> np.ndarray:
    """Pixels within a radius of an edge: dilation by a disk, at a cost that does not grow with it."""
    distance = cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squared distances are whole numbers, so half of one tells "within" from "beyond" whatever the rounding.
    return distance * distance < radius * radius + 0.5


def _window(occupied: np.ndarray) -> tuple[slice, slice]:
    """Where boundaries can lie: they reach one pixel above and to the left of the masks."""
    x, y, width, height = cv2.boundingRect(occupied.view(np.uint8))
    return slice(max(y - 1, 0), y + height), slice(max(x - 1, 0), x + width)


def _check_sizes(truth: np.ndarray, mask: np.ndarray) -> None:
    if truth.shape != mask.shape:
        raise MediaError(
            f"a mask must have the size of its ground truth, (H, W) = {truth.shape}. Got {mask.shape}: "
            "was it written at another resolution?"
        )


def scored_frames(annotated: Sequence[int], which: Frames) -> list[int]:
    """The annotated frames that count.

    inner : all but the first and the last annotated frame, the rule of DAVIS 2016 and 2017 and of SA-V
    all : every annotated frame
    """
    frames = sorted(annotated)
    return frames[1:-1] if which == "inner" else frames


@dataclass
class Tally:
    """One object's agreement over a clip; its scored frames are added in order.

    As in SA-V's evaluator the object counts from the first frame on which the truth or the answer shows it:
    the frames before would be full marks for nothing.
    """

    frames: dict[int, Agreement] = field(default_factory=dict)
    exists: bool = False  # the truth has shown it

    def add(self, frame: int, truth: np.ndarray, mask: np.ndarray) -> Agreement | None:
        """Score a frame; None when it does not count."""
        shown = bool(truth.any())
        self.exists |= shown
        if not (self.frames or shown or mask.any()):
            return None
        self.frames[frame] = agree(truth, mask)
        return self.frames[frame]

    def mean(self) -> Agreement | None:
        """Over the frames that count; None when the truth never showed the object on a scored frame."""
        return Agreement.mean(self.frames.values()) if self.exists else None
