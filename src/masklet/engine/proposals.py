"""Proposals of the data engine: masklets that a model finds and tracks, and their measures.

This module needs no ground truth, and does not depend on where masklets are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np
import torch

from masklet import rle
from masklet.auto import Grid, generate_segments, resolve_grid
from masklet.auto.contrast import FEWEST_PIXELS, SIDE, grow, measure_contrast, ring_width, shrink, to_lab
from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.video import VideoSession
from masklet.simulated_user import mask_iou
from masklet.types import Masks, Prompt

OFFSET = 0.5  # shift of the threshold in logits to measure stability
GAP = 2  # pixels beside an outline whose flow is neither the object's nor its surroundings'
STILL = 0.5  # pixels per frame: from this difference on, surroundings move differently
TOUCHES = 0.05  # fraction of a frame's side that a mask must cover to touch it


@dataclass(frozen=True)
class Measures:
    """Measures of a masklet without ground truth.

    Attributes:
        iou: The mean predicted IoU.
        score: The mean absolute object score: how certain the object's presence or absence is.
        stability: The mean IoU of the masks at a higher and a lower threshold.
        agreement: The mean IoU with the same object tracked back from its last mask.
        area_jump: The largest factor by which the area changes from a frame to the next.
        area: The mean fraction of the frame.
        sides: The mean number of sides of the frame that the mask touches.
        contrast: How colours inside the outline differ from those around it, from 0 to 1: the median over the
            frames of 1 - the overlap of their histograms.
        motion: The fraction of the surroundings that moves differently from the mask, from 0 to 1: the upper
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
        id: The object's id, from 1.
        codes: The mask of every frame.
        measures: The measures of the whole masklet.
    """

    video: str
    id: int
    codes: tuple[rle.RLE, ...] = field(repr=False)
    measures: Measures

    def mask(self, frame: int) -> np.ndarray:
        return rle.decode(self.codes[frame])


def propose_masklets(
    model: Sam2, frames: Frames, grid: Grid | str = "fast", *, max_objects: int = 8
) -> list[Masklet]:
    """Find objects on the first frame, track them to the end and back, and measure the masklets.

    Args:
        model: The network.
        frames: A short clip.
        grid: See `masklet.everything`.
        max_objects: Track at most this many objects, the best first.
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
        # The stubs need an array instead of None, but it would be used as the initial flow.
        self._flows = [flow.calc(*pair, None) for pair in pairwise(greys)]  # type: ignore[call-overload]

    def contrast(self, masks: Sequence[np.ndarray]) -> float:
        """The contrast of colours inside the outlines with those around them; 0 if it cannot be measured."""
        values = []
        for image, mask in zip(self._colours, map(self._reduce, masks), strict=True):
            if (contrast := measure_contrast(image, mask)) is not None:
                values.append(contrast)
        return float(np.median(values)) if values else 0.0

    def motion(self, masks: Sequence[np.ndarray]) -> float:
        """The fraction of the surroundings that moves differently; 0 if nothing can be measured."""
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
