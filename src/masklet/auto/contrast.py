"""The contrast of a mask: how colours inside an outline differ from those around it. It is high for objects
and low for patches of a wall."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from masklet import rle

SIDE = 384  # pixels: images are reduced to this for their colours
RING = 0.2  # width of the band on either side of an outline, in sides of a square of the mask's area
FEWEST_PIXELS = 20  # minimum pixels of a band


def to_lab(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB image in L*a*b*, reduced to 384 pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(reduced, cv2.COLOR_RGB2LAB), dtype=np.uint8)


def measure_contrast(colors: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> float | None:
    """1 - the overlap of the histograms on both sides of an outline; None if a side has too few pixels.

    Args:
        colors: See `to_lab`.
        mask: Of the same size.
    """
    width = ring_width(mask)
    inside, outside = mask & ~shrink(mask, width), grow(mask, width) & ~mask
    if min(inside.sum(), outside.sum()) < FEWEST_PIXELS:
        return None
    overlap = np.sqrt(_histogram(colors[inside]) * _histogram(colors[outside])).sum()
    return float(1 - overlap)


def measure_contrasts(image: UInt8[np.ndarray, "H W 3"], codes: Sequence[rle.RLE]) -> Float[np.ndarray, " n"]:
    """The contrast of each mask, in the image's own range of lightness; 1 if it cannot be measured.

    Args:
        image: RGB.
        codes: Masks of the whole image, of any size.
    """
    colors = _stretch_lightness(to_lab(image))
    size = colors.shape[1], colors.shape[0]
    masks = (rle.decode(code).view(np.uint8) for code in codes)
    reduced = (cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks)
    values = [measure_contrast(colors, mask) for mask in reduced]
    return np.array([1.0 if value is None else value for value in values])


def _stretch_lightness(colors: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Otherwise everything in a dim or hazy image, such as cells, would have one colour."""
    low, high = np.percentile(colors[..., 0], (1, 99))
    stretched = (colors[..., 0] - low) * (255 / max(1.0, high - low))
    return np.dstack([stretched.clip(0, 255).astype(np.uint8), colors[..., 1:]])


def ring_width(mask: Bool[np.ndarray, "h w"]) -> int:
    """The width of the bands along an outline, in pixels."""
    return max(3, round(RING * float(mask.sum()) ** 0.5))


def grow(mask: Bool[np.ndarray, "h w"], pixels: int) -> Bool[np.ndarray, "h w"]:
    return cv2.dilate(mask.view(np.uint8), _disk(pixels)) > 0


def shrink(mask: Bool[np.ndarray, "h w"], pixels: int) -> Bool[np.ndarray, "h w"]:
    """Without the pixels near the outline. The image's border is not an outline."""
    return cv2.erode(mask.view(np.uint8), _disk(pixels), borderValue=1) > 0


def _disk(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _histogram(colors: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, " kinds"]:
    """The fractions of pixels in 8 x 8 x 8 colour bins."""
    kinds = (colors // 32).astype(np.int64) @ (64, 8, 1)
    return np.bincount(kinds, minlength=512) / len(colors)
