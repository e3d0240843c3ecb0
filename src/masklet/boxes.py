"""Boxes (x0, y0, x1, y1) in pixels, x1 and y1 exclusive: boxes of masks, areas and overlaps."""

from __future__ import annotations

import numpy as np

Box = tuple[float, float, float, float]


def box_area(box: Box) -> float:
    """The area in pixels, 0 if a side has no length.

    >>> box_area((0, 0, 4, 3)), box_area((4, 0, 0, 3))
    (12, 0)
    """
    x0, y0, x1, y1 = box
    return max(x1 - x0, 0) * max(y1 - y0, 0)


def intersect_boxes(one: Box, other: Box) -> Box:
    """The intersection of two boxes; a box without area if they do not overlap."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def unite_boxes(one: Box, other: Box) -> Box:
    """The smallest box around two boxes."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def clip_box(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box that is in a frame; None if no part is.

    Args:
        box: In pixels of the frame.
        size: (H, W) of the frame.

    >>> clip_box((-5, 2, 30, 8), (10, 20)), clip_box((20, 0, 30, 8), (10, 20))
    ((0, 2, 20, 8), None)
    """
    height, width = size
    x0, y0, x1, y1 = inside = intersect_boxes(box, (0, 0, width, height))
    return inside if x0 < x1 and y0 < y1 else None


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union; 0 if one of the boxes has no area.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    shared = box_area(intersect_boxes(one, other))
    return shared / (box_area(one) + box_area(other) - shared) if shared > 0 else 0.0


def pairwise_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The IoU of each box with each of the others, (n, m); 0 if one of the two has no area.

    Args:
        boxes: (n, 4).
        others: (m, 4).
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas, other_areas = ((array[:, 2:] - array[:, :2]).clip(min=0).prod(axis=1) for array in (boxes, others))
    united = areas[:, None] + other_areas[None] - shared
    return np.divide(shared, united, out=np.zeros(shared.shape), where=shared > 0)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box around a mask, bool (H, W); None if the mask is empty."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1) if len(xs) else None
