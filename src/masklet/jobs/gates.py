"""Which proposed masklets can be trusted: five measures without ground truth, a limit for each, and a report.

Knows nothing of Ray, of people, or of where masklets go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from masklet import rle
from masklet.auto import Grid, generate_segments, resolve_grid
from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.video import VideoSession
from masklet.types import Masks, Prompt

OFFSET = 0.5  # logits by which the threshold moves to measure stability


@dataclass(frozen=True)
class Measures:
    """What can be measured of a masklet without knowing the truth.

    Attributes:
        iou: The mean predicted IoU.
        score: The mean of the object score's distance from 0: how surely the object is there, or is not.
        stability: The mean IoU of the masks at a higher and a lower threshold.
        agreement: The mean IoU with the same object tracked back from its last mask.
        area_jump: The largest factor by which the area changes from a frame to the next.
    """

    iou: float
    score: float
    stability: float
    agreement: float
    area_jump: float


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
        return max(0.0, (self.limit - self.measure(measures)) / abs(self.limit))


GATES = (
    Gate("predicted IoU", 0.7, lambda measures: measures.iou),
    Gate("object score", 2.0, lambda measures: measures.score),
    Gate("stability", 0.8, lambda measures: measures.stability),
    Gate("forward and backward agree", 0.75, lambda measures: measures.agreement),
    Gate("area is steady", 0.5, lambda measures: 1 / measures.area_jump),
)


def pass_all(measures: Measures, gates: Sequence[Gate] = GATES) -> bool:
    return all(gate.passes(measures) for gate in gates)


def review_order(masklets: Sequence[Masklet], gates: Sequence[Gate] = GATES) -> list[Masklet]:
    """The masklets that do not pass every gate, the worst first."""
    doubtful = [masklet for masklet in masklets if not pass_all(masklet.measures, gates)]
    return sorted(doubtful, key=lambda masklet: -sum(gate.shortfall(masklet.measures) for gate in gates))


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
    segments = generate_segments(model, frames[0], resolve_grid(grid, model.config)).sorted("score")
    found = [segments[id] for id in segments.ids[:max_objects]]
    if not found:
        return []
    features = FeatureCache()
    forward = VideoSession(model, frames, features=features, zoom=False)
    for id, mask in enumerate(found, 1):
        forward.prompt(0, id, Prompt(mask=mask))
    tracked = list(forward.propagate())
    backward = VideoSession(model, frames, features=features, zoom=False)
    last = {id: frame for id in forward.ids if (frame := _last_visible(tracked, id)) is not None}
    for id, frame in last.items():
        backward.prompt(frame, id, Prompt(mask=tracked[frame][id]))
    start = max(last.values(), default=0)
    back = {masks.frame: masks for masks in backward.propagate(start, -1, reverse=True)} if last else {}
    return [
        Masklet(
            frames.name,
            id,
            tuple(rle.encode(masks[id]) for masks in tracked),
            _measure(tracked, back, id),
        )
        for id in forward.ids
    ]


def _last_visible(tracked: Sequence[Masks], id: int) -> int | None:
    return next((masks.frame for masks in reversed(tracked) if masks[id].any()), None)


def _measure(tracked: Sequence[Masks], back: Mapping[int, Masks], id: int) -> Measures:
    rows = [masks.ids.index(id) for masks in tracked]
    pairs = list(zip(tracked, rows, strict=True))
    areas = [int(masks[id].sum()) for masks in tracked]
    both = [
        _iou(masks[id], back[masks.frame][id])
        for masks in tracked
        if masks.frame in back and id in back[masks.frame]
    ]
    return Measures(
        iou=float(np.mean([float(masks.iou[row]) for masks, row in pairs])),
        score=float(np.mean([abs(float(masks.score[row])) for masks, row in pairs])),
        stability=float(np.mean([_stability(masks.low_res[row]) for masks, row in pairs[1:]] or [1.0])),
        agreement=float(np.mean(both or [0.0])),
        area_jump=max(_jumps(areas), default=1.0),
    )


def _stability(logits: torch.Tensor) -> float:
    outer = int((logits > -OFFSET).sum())
    return int((logits > OFFSET).sum()) / outer if outer else 1.0


def _jumps(areas: Sequence[int]) -> Iterator[float]:
    visible = [area for area in areas if area]
    for before, after in pairwise(visible):
        yield max(before / after, after / before)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


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
    masklets: Sequence[Masklet], are_right: Sequence[bool], gates: Sequence[Gate] = GATES
) -> list[GateScore]:
    """Precision and recall of each gate and of all together.

    Example:
        >>> good, bad = Measures(0.9, 5, 0.9, 0.9, 1.1), Measures(0.4, 5, 0.9, 0.9, 1.1)
        >>> masklets = [Masklet("a", 1, (), good), Masklet("a", 2, (), bad)]
        >>> first, *_, last = score_gates(masklets, [True, False])
        >>> first.precision, first.recall, last.passed
        (1.0, 1.0, 0.5)
    """
    rules: list[tuple[str, Callable[[Measures], bool]]] = [(gate.name, gate.passes) for gate in gates]
    rules.append(("all gates", lambda measures: pass_all(measures, gates)))
    right = np.array(are_right, dtype=bool)
    scores = []
    for name, rule in rules:
        passes = np.array([rule(masklet.measures) for masklet in masklets], dtype=bool)
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
