"""Of masks that show the same thing, the better one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from masklet import rle


def distinct(
    kind: Literal["mask", "box"], codes: Sequence[rle.RLE], boxes: Float[np.ndarray, "n 4"], threshold: float
) -> list[int]:
    """Rows that overlap no kept row before them by more than the threshold; the best should come first."""
    return apart(rle.overlaps(codes, codes) if kind == "mask" else box_overlaps(boxes), threshold)


def apart(overlaps: Float[np.ndarray, "n n"], threshold: float) -> list[int]:
    """Rows that overlap no kept row before them by more than the threshold.

    overlaps : IoU of every two
    """
    kept: list[int] = []
    for row, others in enumerate(overlaps):
        if not (others[kept] > threshold).any():
            kept.append(row)
    return kept


def box_overlaps(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n n"]:
    """IoU of every two boxes; NaN of two without area."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    with np.errstate(invalid="ignore"):
        overlaps: np.ndarray = shared / (areas[:, None] + areas[None] - shared)
    return overlaps
