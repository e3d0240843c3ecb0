"""Converts CVAT's shapes to prompts, and masks to CVAT's shapes. CVAT need not be installed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from masklet.boxes import Box, tight_box
from masklet.drawing import outlines
from masklet.errors import MediaError, PromptError
from masklet.masks import Masks
from masklet.rle import decode_rows, encode_rows, from_polygons
from masklet.types import Prompt

OBJECT = 1  # the id of a tracker's only object
MASK, POLYGON, RECTANGLE = "mask", "polygon", "rectangle"
SHAPES = (MASK, POLYGON, RECTANGLE)


def to_prompt(type: str, points: Sequence[float], size: tuple[int, ...]) -> Prompt:
    """Convert a shape of CVAT to a prompt.

    Args:
        type: "mask", "polygon" or "rectangle".
        points: CVAT's points: run lengths of a mask, or pixels.
        size: (H, W) of the frame.

    Raises:
        PromptError: The shape covers no pixel of the frame, or has another type.
    """
    height, width = size
    if not np.isfinite(points).all():
        raise PromptError(f"a {type}'s points must be finite numbers.")
    if type == RECTANGLE and len(points) == 4:
        return Prompt(box=to_box(points))
    if type == MASK:
        mask = decode_mask(points, (height, width))
    elif type == POLYGON:
        mask = from_polygons([list(points)], (height, width))
    else:
        raise PromptError(
            f"only masks, polygons and rectangles of four numbers can be tracked. Got {type!r} of "
            f"{len(points)} numbers."
        )
    if not mask.any():
        raise PromptError(f"the {type} covers no pixel of the frame.")
    return Prompt(mask=mask)


def to_box(corners: Sequence[float]) -> Box:
    """The box between two opposite corners x, y, x, y, in any order."""
    x0, y0, x1, y1 = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def to_points(type: str, masks: Masks) -> list[float] | None:
    """Convert a mask to a shape of CVAT; None if it is empty. A polygon is its largest outline."""
    mask = masks[OBJECT]
    if not mask.any():
        return None
    if type == RECTANGLE:
        return [float(side) for side in masks.boxes[0]]
    if type == MASK:
        return encode_mask(mask)
    largest = max((polygon[0] for polygon in outlines(mask)), key=lambda ring: _area(ring))
    return [float(value) for value in largest.reshape(-1)]


def encode_mask(mask: Bool[np.ndarray, "H W"]) -> list[float]:
    """Encode a non-empty mask as CVAT's points: run lengths along the rows of its box, then the box."""
    box = tight_box(mask)
    assert box is not None, "the mask is not empty"
    x0, y0, x1, y1 = box
    return [float(value) for value in (*encode_rows(mask[y0:y1, x0:x1]), x0, y0, x1 - 1, y1 - 1)]


def decode_mask(points: Sequence[float], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Decode CVAT's points to a mask of `size` (H, W).

    Raises:
        PromptError: The numbers are not runs that fill a box within the frame.
    """
    *runs, x0, y0, x1, y1 = (int(value) for value in points) if len(points) >= 5 else (0, 0, 0, -1, -1)
    try:
        return decode_rows(runs, (x0, y0), (y1 - y0 + 1, x1 - x0 + 1), size)
    except MediaError as error:
        raise PromptError(
            f"a mask's points must be runs that fill its box, and the box's corners: {error}."
        ) from None


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
