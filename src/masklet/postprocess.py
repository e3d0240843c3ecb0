"""Tidies masks on request: fills holes, removes islands and overlaps. OpenCV finds components, for every
device.

Areas are in pixels of the given mask. Nothing here is on by default: benchmarks measure the model's own
masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from masklet.errors import OptionError
from masklet.masks import EDGE, match_mask
from masklet.types import Masks

Array = TypeVar("Array", np.ndarray, Tensor)  # results have the type and device of the input


def tidy(
    masks: Masks, *, holes: int = 0, islands: int = 0, largest: bool = False, exclusive: bool = False
) -> Masks:
    """Masks without small holes, small islands or overlaps. Their low-res logits, and so the hints, do not
    change.

    Args:
        holes: The largest hole to fill, in pixels; 0 for none.
        islands: The largest island to drop, in pixels; 0 for none.
        largest: Keep one component of each mask.
        exclusive: Assign each pixel to one mask.
    """
    inside = masks.logits > 0
    tidied = keep_largest(inside) if largest else drop_islands(inside, islands)
    tidied = fill_holes(tidied, holes)
    if exclusive:
        tidied = non_overlap(match_mask(masks.logits, tidied)) > 0
    return masks.replace_masks(tidied.cpu().numpy())


def fill_holes(masks: Array, area: int) -> Array:
    """Fill holes of up to `area` pixels. A region that touches the edge of the frame is not a hole.

    Args:
        masks: bool (..., H, W).
    """
    return _map_masks(masks, lambda mask: _fill(mask, area)) if area > 0 else masks


def drop_islands(masks: Array, area: int) -> Array:
    """Remove components of at most `area` pixels; the largest component of a mask is kept, however small.

    Args:
        masks: bool (..., H, W).
    """
    return _map_masks(masks, lambda mask: _drop_components(mask, area)) if area > 0 else masks


def keep_largest(masks: Array) -> Array:
    """Keep the largest component of each mask.

    Args:
        masks: bool (..., H, W).
    """
    return _map_masks(masks, lambda mask: _drop_components(mask, mask.size))


def non_overlap(logits: Array) -> Array:
    """Assign each pixel to the highest logit, or the first of equal ones; the other logits there become
    negative.

    Args:
        logits: Float (n, H, W).
    """
    if isinstance(logits, np.ndarray):
        return non_overlap(torch.from_numpy(logits)).numpy()
    if len(logits) < 2:
        return logits
    highest = logits == logits.amax(dim=0)
    wins = highest & (highest.cumsum(dim=0) == 1)
    return torch.where(wins, logits, logits.clamp(max=-EDGE))


def _map_masks(masks: Array, change: Callable[[np.ndarray], np.ndarray]) -> Array:
    if isinstance(masks, Tensor):
        return torch.from_numpy(_map_masks(masks.cpu().numpy(), change)).to(masks.device)
    if masks.dtype != bool:
        raise OptionError(f"masks must be bool (..., H, W). Got {masks.dtype}: for logits, pass logits > 0.")
    changed = [change(mask) for mask in masks.reshape(-1, *masks.shape[-2:])]
    return np.array(changed, dtype=bool).reshape(masks.shape)


def _fill(mask: np.ndarray, area: int) -> np.ndarray:
    _, components, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    left, top, width, height, areas = stats.T
    enclosed = (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    holes = enclosed & (areas <= area)
    holes[0] = False  # the mask itself
    return mask | holes[components]


def _drop_components(mask: np.ndarray, area: int) -> np.ndarray:
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    stay = areas > area
    stay[1 + areas[1:].argmax()] = True
    stay[0] = False  # outside the mask
    return stay[components]
