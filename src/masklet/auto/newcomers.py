"""Who is new on a key frame: what the grid finds where nothing is followed yet."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from masklet.auto.generator import generate
from masklet.auto.grid import Grid
from masklet.auto.segments import Segments
from masklet.model import Sam2
from masklet.types import FrameFeatures, Masks, Prompt

SAME = 0.5  # IoU from which on two masks are taken for one object
TAKEN = 0.5  # share of a mask that others may cover
LEAST = 1 / 1000  # of the frame: what is smaller cannot be followed
BACKDROP = 0.5  # of the frame: what is larger comes last, since it would cover what stands before it


def newcomers(
    model: Sam2,
    image: UInt8[np.ndarray, "H W 3"],
    features: FrameFeatures,
    grid: Grid,
    followed: Masks | None,
    room: int,
) -> list[Prompt]:
    """At most `room` masks of what is not followed, the largest and surest first.

    features : of the image, which the tracker looks at too
    followed : where the followed objects are; on the frame before, which is near enough
    """
    size = image.shape[0], image.shape[1]
    covered = np.zeros(size, dtype=bool)
    for _, mask in followed.items() if followed is not None else ():
        covered |= mask
    segments = generate(model, image, grid, asked=~covered, features=features)
    chosen: list[Prompt] = []
    for row in _worth(segments):
        mask = segments[segments.ids[row]]
        if len(chosen) < room and (mask & covered).sum() < TAKEN * mask.sum():
            chosen.append(Prompt(mask=mask))
            covered |= mask
    return chosen


def _worth(segments: Segments) -> list[int]:
    """Rows, the largest and surest first, backdrops last; specks left out."""
    shares = segments.areas / (segments.size[0] * segments.size[1])
    worth = shares * segments.iou.cpu().numpy() - (shares > BACKDROP)
    return [row for row in np.argsort(-worth, kind="stable").tolist() if shares[row] >= LEAST]


def visible(masks: Masks) -> Bool[np.ndarray, " n"]:
    """Which objects have a mask."""
    if not len(masks):
        return np.zeros(0, dtype=bool)
    return (masks.low_res.flatten(1).amax(dim=1) > 0).cpu().numpy()


def doubles(masks: Masks) -> list[int]:
    """Ids of objects whose mask is that of an object before them."""
    if len(masks) < 2:
        return []
    same = overlaps(masks.low_res > 0) >= SAME
    return [id for row, id in enumerate(masks.ids) if same[row, :row].any()]


def overlaps(masks: Bool[Tensor, "n h w"]) -> Float[Tensor, "n n"]:
    """IoU of every two masks; 0 of two empty ones."""
    flat = masks.flatten(1).float()
    shared, area = flat @ flat.T, flat.sum(dim=1)
    return shared / (area[:, None] + area[None] - shared).clamp(min=1)
