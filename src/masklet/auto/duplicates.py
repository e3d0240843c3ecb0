"""Of masks that show the same thing, the better one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from masklet import rle
from masklet.boxes import pairwise_iou


def distinct(
    kind: Literal["mask", "box"], codes: Sequence[rle.RLE], boxes: Float[np.ndarray, "n 4"], threshold: float
) -> list[int]:
    """Rows that overlap no kept row before them by more than the threshold; the best should come first."""
    return apart(rle.overlaps(codes, codes) if kind == "mask" else pairwise_iou(boxes, boxes), threshold)


def apart(overlaps: Float[np.ndarray, "n n"], threshold: float) -> list[int]:
    """Rows that overlap no kept row before them by more than the threshold.

    overlaps : IoU of every two
    """
    kept: list[int] = []
    for row, others in enumerate(overlaps):
        if not (others[kept] > threshold).any():
            kept.append(row)
    return kept
