"""Which proposed masklets can be trusted: measures without ground truth, a limit for each, and a report.

Knows nothing of Ray, of people, or of where masklets go.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from masklet import rle
from masklet.auto import Grid, generate_segments, resolve_grid
from masklet.auto.contrast import FEWEST_PIXELS, SIDE, grow, measure_contrast, ring_width, shrink, to_lab
from masklet.errors import MaskletError
from masklet.files import atomic_write, parse_json
from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.video import VideoSession
from masklet.simulated_user import mask_iou
from masklet.types import Masks, Prompt

OFFSET = 0.5  # logits by which the threshold moves to measure stability
GAP = 2  # pixels beside an outline whose flow is neither the object's nor its surroundings'
STILL = 0.5  # pixels a frame: surroundings move otherwise from this difference on
FEWEST_RIGHT = 4  # masklets that limits are calibrated on
RIGHT_PASSED = 0.9  # at least such a share of the right masklets passes each calibrated gate
LARGEST_LIMIT = 1e6  # of a gate: no measure comes near it
TOUCHES = 0.05  # of a side of the frame: a mask on less of it does not touch it


@dataclass(frozen=True)
class Measures:
    """What can be measured of a masklet without knowing the truth.

    Attributes:
        iou: The mean predicted IoU.
        score: The mean of the object score's distance from 0: how surely the object is there, or is not.
        stability: The mean IoU of the masks at a higher and a lower threshold.
        agreement: The mean IoU with the same object tracked back from its last mask.
        area_jump: The largest factor by which the area changes from a frame to the next.
        area: The mean share of the frame.
        sides: The mean number of sides of the frame that the mask touches.
        contrast: How colours inside the outline differ from those around it, from 0 to 1: the median over the
            frames of 1 - the overlap of their histograms.
        motion: The share of the surroundings that moves otherwise than the mask, from 0 to 1: the upper
            quartile over the frames.
    """

    iou: float
    score: float
    stability: float
    agreement: float
    area_jump: float
    area: float = 0.1
    sides: float = 0.0
    contrast: float = 1.0
    motion: float = 1.0


@dataclass(frozen=True)
class Masklet:
    """A proposed masklet.

    Attributes:
        video: The name of its video.
        id: Of its object, from 1 on.
        codes: The mask of every frame.
        measures: Of the whole masklet.
    """

    video: str
    id: int
    codes: tuple[rle.RLE, ...] = field(repr=False)
    measures: Measures

    def mask(self, frame: int) -> np.ndarray:
        return rle.decode(self.codes[frame])


@dataclass(frozen=True)
class Gate:
    """A limit on one measure.

    Attributes:
        name: As reports show it.
        limit: A masklet passes that has at least so much.
        measure: From measures to a number; more is better.
    """

    name: str
    limit: float
    measure: Callable[[Measures], float]

    def passes(self, measures: Measures) -> bool:
        return self.measure(measures) >= self.limit

    def shortfall(self, measures: Measures) -> float:
        """How far a masklet is below the limit, in parts of it; 0 where it passes."""
        return max(0.0, (self.limit - self.measure(measures)) / (abs(self.limit) or 1.0))


GATES = (
    Gate("predicted IoU", 0.75, lambda measures: measures.iou),
    Gate("object score", 4.0, lambda measures: measures.score),
    Gate("stability", 0.78, lambda measures: measures.stability),
    Gate("forward and backward agree", 0.8, lambda measures: measures.agreement),
    Gate("area is steady", 0.5, lambda measures: 1 / measures.area_jump),
    Gate("leaves room around it", 0.6, lambda measures: 1 - measures.area),
    Gate("touches two sides at most", 2.0, lambda measures: 4 - measures.sides),
    Gate("differs from its surroundings", 0.25, lambda measures: measures.contrast),
    Gate("moves against its surroundings", 0.1, lambda measures: measures.motion),
)


def pass_all(measures: Measures, gates: Sequence[Gate] = GATES) -> bool:
    return all(gate.passes(measures) for gate in gates)


def review_order(masklets: Sequence[Masklet], gates: Sequence[Gate] = GATES) -> list[Masklet]:
    """The masklets that do not pass every gate, the worst first."""
    doubtful = [masklet for masklet in masklets if not pass_all(masklet.measures, gates)]
    return sorted(doubtful, key=lambda masklet: -sum(gate.shortfall(masklet.measures) for gate in gates))


def calibrate_gates(
    measures: Sequence[Measures], are_right: Sequence[bool], gates: Sequence[Gate] = GATES
) -> tuple[Gate, ...]:
    """The gates, each with the highest limit that at least 90 % of the right masklets pass.

    Fewer than four right ones say too little, and the limits stay as they are.
    """
    right = [row for row, is_right in zip(measures, are_right, strict=True) if is_right]
    if len(right) < FEWEST_RIGHT:
        return tuple(gates)
    rank = len(right) - math.ceil(round(RIGHT_PASSED * len(right), 6))
    return tuple(replace(gate, limit=float(sorted(map(gate.measure, right))[rank])) for gate in gates)


def write_limits(path: Path, gates: Sequence[Gate]) -> None:
    """Write the limits of gates, by name."""
    with atomic_write(path) as part:
        part.write_text(json.dumps({gate.name: round(gate.limit, 4) for gate in gates}, indent=1) + "\n")


def read_limits(path: Path) -> tuple[Gate, ...]:
    """The gates with the limits that a file names; those that it does not name keep theirs.

    Raises:
        MaskletError: The file cannot be read, or names a gate that there is not.
    """
    try:
        limits = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise MaskletError(f"{path} cannot be read: {error}.") from error
    names = {gate.name for gate in GATES}
    if not isinstance(limits, dict) or not all(
        name in names and _is_limit(limit) for name, limit in limits.items()
    ):
        raise MaskletError(
            f"{path} must be a JSON object of limits, finite numbers. "
            f"The gates are: {', '.join(sorted(names))}."
        )
    return tuple(replace(gate, limit=float(limits.get(gate.name, gate.limit))) for gate in GATES)


def _is_limit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_LIMIT


def propose_masklets(
    model: Sam2, frames: Frames, grid: Grid | str = "fast", *, max_objects: int = 8
) -> list[Masklet]:
    """Find objects on the first frame, track them to the end and back, and measure how that went.

    Args:
        model: The network.
        frames: A short clip.
        grid: See `masklet.everything`.
        max_objects: The best so many are tracked.
    """
    grid = replace(resolve_grid(grid, model.config), min_contrast=0.0)  # which a gate measures over the clip
    segments = generate_segments(model, frames[0], grid).sorted("score")
    proposals = [segments[id] for id in segments.ids[:max_objects]]
    if not proposals:
        return []
    features = FeatureCache()
    forward = VideoSession(model, frames, features=features, zoom=False)
    for id, mask in enumerate(proposals, 1):
        forward.prompt(0, id, Prompt(mask=mask))
    tracked = list(forward.propagate())
    backward = VideoSession(model, frames, features=features, zoom=False)
    last = {id: frame for id in forward.ids if (frame := _last_visible(tracked, id)) is not None}
    for id, frame in last.items():
        backward.prompt(frame, id, Prompt(mask=tracked[frame][id]))
    start = max(last.values(), default=0)
    back = {masks.frame: masks for masks in backward.propagate(start, -1, reverse=True)} if last else {}
    surroundings = Surroundings(frames)
    return [
        Masklet(
            frames.name,
            id,
            tuple(rle.encode(masks[id]) for masks in tracked),
            _measure(tracked, back, id, surroundings),
        )
        for id in forward.ids
    ]


def _last_visible(tracked: Sequence[Masks], id: int) -> int | None:
    return next((masks.frame for masks in reversed(tracked) if masks[id].any()), None)


def _measure(
    tracked: Sequence[Masks], back: Mapping[int, Masks], id: int, surroundings: Surroundings
) -> Measures:
    rows = [masks.ids.index(id) for masks in tracked]
    pairs = list(zip(tracked, rows, strict=True))
    full_size = [masks[id] for masks in tracked]
    visible = [mask for mask in full_size if mask.any()]
    both = [
        mask_iou(masks[id], back[masks.frame][id])
        for masks in tracked
        if masks.frame in back and id in back[masks.frame]
    ]
    return Measures(
        iou=float(np.mean([float(masks.iou[row]) for masks, row in pairs])),
        score=float(np.mean([abs(float(masks.score[row])) for masks, row in pairs])),
        stability=float(np.mean([_stability(masks.low_res[row]) for masks, row in pairs[1:]] or [1.0])),
        agreement=float(np.mean(both or [0.0])),
        area_jump=max(_jumps([int(mask.sum()) for mask in full_size]), default=1.0),
        area=float(np.mean([mask.mean() for mask in visible] or [0.0])),
        sides=float(np.mean([_count_sides(mask) for mask in visible] or [0])),
        contrast=surroundings.contrast(full_size),
        motion=surroundings.motion(full_size),
    )


class Surroundings:
    """The colours and the optical flow of a clip, with which masks are compared to what is around them.

    Args:
        frames: The clip. Its frames are reduced to 384 pixels.
    """

    def __init__(self, frames: Frames) -> None:
        scale = min(1.0, SIDE / max(frames.size))
        height, width = frames.size
        self._size = max(1, round(width * scale)), max(1, round(height * scale))
        images = [cv2.resize(image, self._size, interpolation=cv2.INTER_AREA) for image in frames]
        self._colours = [to_lab(image) for image in images]
        greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # The stubs ask for an array in place of None, but that would be used as an initial flow.
        self._flows = [flow.calc(*pair, None) for pair in pairwise(greys)]  # type: ignore[call-overload]

    def contrast(self, masks: Sequence[np.ndarray]) -> float:
        """How colours inside the outlines differ from those around them; 0 where nothing can be measured."""
        values = []
        for image, mask in zip(self._colours, map(self._reduce, masks), strict=True):
            if (contrast := measure_contrast(image, mask)) is not None:
                values.append(contrast)
        return float(np.median(values)) if values else 0.0

    def motion(self, masks: Sequence[np.ndarray]) -> float:
        """The share of the surroundings that moves otherwise; 0 where nothing can be measured."""
        values = []
        for flow, mask in zip(self._flows, map(self._reduce, masks[:-1]), strict=True):
            core, ring = shrink(mask, GAP), grow(mask, GAP + ring_width(mask)) & ~grow(mask, GAP)
            if min(core.sum(), ring.sum()) >= FEWEST_PIXELS:
                own = np.median(flow[core], axis=0)
                spread = float(np.median(np.linalg.norm(flow[core] - own, axis=1)))
                differs = np.linalg.norm(flow[ring] - own, axis=1) > max(STILL, 2 * spread)
                values.append(float(differs.mean()))
        return float(np.percentile(values, 75)) if values else 0.0

    def _reduce(self, mask: np.ndarray) -> np.ndarray:
        return cv2.resize(mask.view(np.uint8), self._size, interpolation=cv2.INTER_NEAREST) > 0


def _count_sides(mask: np.ndarray) -> int:
    """The sides of the frame that a mask touches."""
    sides = mask[0], mask[-1], mask[:, 0], mask[:, -1]
    return sum(bool(side.mean() >= TOUCHES) for side in sides)


def _stability(logits: torch.Tensor) -> float:
    outer = int((logits > -OFFSET).sum())
    return int((logits > OFFSET).sum()) / outer if outer else 1.0


def _jumps(areas: Sequence[int]) -> Iterator[float]:
    visible = [area for area in areas if area]
    for before, after in pairwise(visible):
        yield max(before / after, after / before)


@dataclass(frozen=True)
class GateScore:
    """What a gate is worth where the truth is known.

    Attributes:
        name: The gate's, or "all gates".
        passed: The share of masklets that pass.
        precision: The share of these that are right; None where none pass.
        recall: The share of the right ones that pass; None where none are right.
    """

    name: str
    passed: float
    precision: float | None
    recall: float | None


def score_gates(
    measures: Sequence[Measures], are_right: Sequence[bool], gates: Sequence[Gate] = GATES
) -> list[GateScore]:
    """Precision and recall of each gate and of all together, over the measures of some masklets.

    Example:
        >>> good, bad = Measures(0.9, 5, 0.9, 0.9, 1.1), Measures(0.4, 5, 0.9, 0.9, 1.1)
        >>> first, *_, last = score_gates([good, bad], [True, False])
        >>> first.precision, first.recall, last.passed
        (1.0, 1.0, 0.5)
    """
    return _score(gates, [_passes(row, gates) for row in measures], are_right)


def score_gates_held_out(
    clips: Sequence[tuple[Sequence[Measures], Sequence[bool]]],
    gates: Sequence[Gate] = GATES,
) -> list[GateScore]:
    """Precision and recall of calibrated gates on masklets that did not set their limits.

    The masklets of each clip meet limits that `calibrate_gates` chose on all other clips. Whole clips are
    held out, since masklets of one clip are alike.

    Args:
        clips: Of each clip the measures of its masklets, and which of them are right. One clip alone has no
            others, and says nothing: then no masklet counts as measured.
        gates: To calibrate.
    """
    passed, right = list[list[bool]](), list[bool]()
    for number, (measures, are_right) in enumerate(clips):
        others = [*clips[:number], *clips[number + 1 :]]
        if others:
            rows = [row for clip, _ in others for row in clip]
            limits = calibrate_gates(rows, [value for _, clip in others for value in clip], gates)
            passed.extend(_passes(row, limits) for row in measures)
            right.extend(are_right)
    return _score(gates, passed, right)


def _passes(measures: Measures, gates: Sequence[Gate]) -> list[bool]:
    """Whether a masklet passes each gate, and all of them."""
    passed = [gate.passes(measures) for gate in gates]
    return [*passed, all(passed)]


def _score(
    gates: Sequence[Gate], passed: Sequence[Sequence[bool]], are_right: Sequence[bool]
) -> list[GateScore]:
    names = [*(gate.name for gate in gates), "all gates"]
    table = np.array(passed, dtype=bool).reshape(len(passed), len(names))
    right = np.array(are_right, dtype=bool)
    scores = []
    for name, passes in zip(names, table.T, strict=True):
        hits = int((passes & right).sum())
        scores.append(
            GateScore(
                name,
                float(passes.mean()) if len(passes) else 0.0,
                hits / int(passes.sum()) if passes.any() else None,
                hits / int(right.sum()) if right.any() else None,
            )
        )
    return scores
