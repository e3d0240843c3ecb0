"""Measures of agreement between masks: J (region), F (boundary), identity switches, and the frames that are
scored.

This module does not depend on models or files.

The definitions are those of davis2017-evaluation and of SA-V's evaluator, to the last pixel;
`docs/evaluation.md` describes how this was checked. Scores are from 0 to 1. Masks are bool (H, W), and
undecided pixels are cleared in both masks beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from masklet.errors import MediaError, MissingExtra
from masklet.simulated_user import mask_iou

TOLERANCE = 0.008  # maximum distance of matching boundaries, as a fraction of the image's diagonal

SAME_OBJECT_J = 0.5  # J from which an answer is on an object
RETURN_FRAMES = 10  # number of annotated frames within which a returning object must be found

HOTA_THRESHOLDS = np.arange(1, 20) / 20  # thresholds of IoU
EPSILON = 1e-12

ScoredFrames = Literal["inner", "all"]


@dataclass(frozen=True)
class Agreement:
    """J and F of a mask, or their means over several masks."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2

    @staticmethod
    def mean(agreements: Iterable[Agreement]) -> Agreement:
        """The means of J and of F; ValueError if there is nothing to average."""
        pairs = [(agreement.j, agreement.f) for agreement in agreements]
        if not pairs:
            raise ValueError("there is nothing to average")
        j, f = np.mean(pairs, axis=0)
        return Agreement(float(j), float(f))


def measure_agreement(truth: np.ndarray, mask: np.ndarray) -> Agreement:
    """J and F of one mask."""
    return Agreement(jaccard(truth, mask), boundary_f(truth, mask))


def jaccard(truth: np.ndarray, mask: np.ndarray) -> float:
    """J, the intersection over the union; 1 if both masks are empty, 0 if one of them is."""
    _check_sizes(truth, mask)
    return mask_iou(truth, mask)


def boundary_f(truth: np.ndarray, mask: np.ndarray) -> float:
    """F, the harmonic mean of boundary precision and boundary recall.

    A boundary pixel matches when the other boundary passes within TOLERANCE of the image's diagonal, rounded
    up to whole pixels. Matches are counted for each side separately, not paired one to one. F is 1 if both
    boundaries are empty and 0 if one of them is; a mask that fills the whole image has no boundary.
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

    One pixel wide, half a pixel towards the origin. The frame's border is not a boundary.
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def _near(edge: np.ndarray, radius: int) -> np.ndarray:
    """Pixels within a radius of an edge: dilation by a disk, at a cost that does not depend on the radius."""
    distance = cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squared distances are whole numbers, so one half separates "within" from "beyond" despite rounding.
    return distance * distance < radius * radius + 0.5


def _window(occupied: np.ndarray) -> tuple[slice, slice]:
    """The region of possible boundaries: they reach one pixel above and to the left of the masks."""
    x, y, width, height = cv2.boundingRect(occupied.view(np.uint8))
    return slice(max(y - 1, 0), y + height), slice(max(x - 1, 0), x + width)


def _check_sizes(truth: np.ndarray, mask: np.ndarray) -> None:
    if truth.shape != mask.shape:
        raise MediaError(
            f"a mask must have the size of its ground truth, (H, W) = {truth.shape}. Got {mask.shape}: "
            "was it written at another resolution?"
        )


def scored_frames(annotated: Sequence[int], which: ScoredFrames) -> list[int]:
    """The annotated frames that are scored.

    Args:
        annotated: The frames with ground truth.
        which: "inner" is all but the first and the last of them, the rule of DAVIS 2016 and 2017 and of SA-V;
            "all" is all of them.
    """
    frames = sorted(annotated)
    return frames[1:-1] if which == "inner" else frames


@dataclass
class ObjectScore:
    """One object's agreement over a clip; its scored frames are added in order.

    As in SA-V's evaluator, an object is scored from the first frame on which the truth or the answer has it:
    the empty frames before would all score 1.
    """

    frames: dict[int, Agreement] = field(default_factory=dict)
    exists: bool = False  # whether the object is in the truth on a scored frame

    def add(self, frame: int, truth: np.ndarray, mask: np.ndarray) -> Agreement | None:
        """Score a frame; None if it is not scored."""
        visible = bool(truth.any())
        self.exists |= visible
        if not (self.frames or visible or mask.any()):
            return None
        self.frames[frame] = measure_agreement(truth, mask)
        return self.frames[frame]

    def mean(self) -> Agreement | None:
        """The mean over scored frames; None if the truth never has the object on a scored frame."""
        return Agreement.mean(self.frames.values()) if self.exists else None


@dataclass
class IdentityScore:
    """Whether an answer stays on its object: how often it switches to another, and whether it comes back.

    The annotated frames of a clip are added in order.

    Attributes:
        on: The object that the answer is on, or was on last.
        returns, refound: How often the object came back after a frame without it, and was found in time.
        waiting: Frames left to find the object after its last return; None if there is nothing to find.
    """

    id: int
    on: int | None = None
    switches: int = 0
    returns: int = 0
    refound: int = 0
    visible_before: bool | None = None  # on the previous frame; None before the object first appears
    waiting: int | None = None

    def add(self, truths: Mapping[int, np.ndarray], answer: np.ndarray) -> None:
        """Add the next annotated frame.

        Args:
            truths: Every object's mask, by id.
        """
        self._count_switch(truths, answer)
        visible = self.id in truths and bool(truths[self.id].any())
        if visible and self.visible_before is False:
            self.returns, self.waiting = self.returns + 1, RETURN_FRAMES
        if visible and self.waiting is not None:
            hit = jaccard(truths[self.id], answer) >= SAME_OBJECT_J
            self.refound += hit
            self.waiting = None if hit or self.waiting == 1 else self.waiting - 1
        if visible:
            self.visible_before = True
        else:
            self.waiting = None
            self.visible_before = None if self.visible_before is None else False

    def _count_switch(self, truths: Mapping[int, np.ndarray], answer: np.ndarray) -> None:
        overlaps = {id: jaccard(truth, answer) for id, truth in truths.items() if truth.any()}
        nearest = max(overlaps, key=overlaps.__getitem__, default=self.id)
        if overlaps.get(nearest, 0.0) >= SAME_OBJECT_J:
            # An answer that starts on the wrong object counts as a switch.
            self.switches += nearest != (self.id if self.on is None else self.on)
            self.on = nearest

    @property
    def scores(self) -> dict[str, float]:
        """`switches`, and the fraction of returns that were `re-found`, if there were any."""
        scores = {"switches": float(self.switches)}
        return scores | ({"re-found": self.refound / self.returns} if self.returns else {})


class TrackScore:
    """HOTA and IDF1 of all masklets of a clip (arXiv 2009.07736, 1609.01775), frame by frame.

    They measure whether every object has a mask and whether it keeps its id. Overlap is the IoU of masks.
    Tracked objects without annotation lower the score, so the truth should label everything.

    Example:
        >>> score, mask = TrackScore(), np.ones((4, 4), dtype=bool)
        >>> for id in (1, 2):  # the object changes its id
        ...     score.add({7: mask}, {id: mask})
        >>> {name: round(value, 3) for name, value in score.scores().items()}
        {'HOTA': 0.707, 'DetA': 1.0, 'AssA': 0.5, 'IDF1': 0.5}
    """

    def __init__(self) -> None:
        self._frames: list[tuple[list[int], list[int], np.ndarray]] = []
        self._rows: tuple[dict[int, int], dict[int, int]] = {}, {}  # numbers of true and answered ids

    def add(self, truths: Mapping[int, np.ndarray], answers: Mapping[int, np.ndarray]) -> None:
        """Add the next annotated frame: its true masks and the answered ones, by id."""
        true_rows, true_masks = _visible(self._rows[0], truths)
        rows, shown = _visible(self._rows[1], answers)
        overlaps = np.array([[jaccard(truth, mask) for mask in shown] for truth in true_masks])
        self._frames.append((true_rows, rows, overlaps.reshape(len(true_rows), len(rows))))

    def scores(self) -> dict[str, float]:
        """HOTA with its two parts, which are means over 19 thresholds of IoU, and IDF1 at an IoU of 0.5."""
        counts, alike = self._count()
        matches = np.zeros((len(HOTA_THRESHOLDS), *alike.shape))
        for true_rows, rows, overlaps in self._frames:
            place = np.ix_(true_rows, rows)
            # Pairs that match over the whole clip come first, then those that overlap more here.
            for i, j in zip(*_assign(alike[place] * overlaps), strict=True):
                matches[:, true_rows[i], rows[j]] += overlaps[i, j] >= HOTA_THRESHOLDS - EPSILON
        hits = matches.sum(axis=(1, 2))
        together = counts[0][:, None] + counts[1][None, :]
        associated = matches / np.maximum(1, together - matches)
        detection = hits / np.maximum(1, counts[0].sum() + counts[1].sum() - hits)
        association = (matches * associated).sum(axis=(1, 2)) / np.maximum(1, hits)
        return {
            "HOTA": float(np.sqrt(detection * association).mean()),
            "DetA": float(detection.mean()),
            "AssA": float(association.mean()),
            "IDF1": self._idf1(counts),
        }

    def _count(self) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """The number of frames of each id, and the similarity of each pair of ids over the clip, from 0 to
        1."""
        counts = np.zeros(len(self._rows[0])), np.zeros(len(self._rows[1]))
        shared = np.zeros((len(counts[0]), len(counts[1])))
        for true_rows, rows, overlaps in self._frames:
            counts[0][true_rows] += 1
            counts[1][rows] += 1
            either = overlaps.sum(axis=0)[None, :] + overlaps.sum(axis=1)[:, None] - overlaps
            shared[np.ix_(true_rows, rows)] += np.divide(
                overlaps, either, out=np.zeros_like(overlaps), where=either > EPSILON
            )
        return counts, shared / np.maximum(EPSILON, counts[0][:, None] + counts[1][None, :] - shared)

    def _idf1(self, counts: tuple[np.ndarray, np.ndarray]) -> float:
        """The fraction of masks with the correct id, if each object gets its best matching id."""
        shared = np.zeros((len(counts[0]), len(counts[1])))
        for true_rows, rows, overlaps in self._frames:
            shared[np.ix_(true_rows, rows)] += overlaps >= SAME_OBJECT_J
        hits = shared[_assign(shared)].sum()
        return float(2 * hits / max(1.0, counts[0].sum() + counts[1].sum()))


def _visible(rows: dict[int, int], masks: Mapping[int, np.ndarray]) -> tuple[list[int], list[np.ndarray]]:
    """The masks that are not empty, and the rows of their ids; a new id gets the next row."""
    visible = {id: mask for id, mask in masks.items() if mask.any()}
    return [rows.setdefault(id, len(rows)) for id in visible], list(visible.values())


def _assign(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of rows and columns, one to one, with the largest sum."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise MissingExtra("evaluate", "scipy") from error
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return rows, columns
