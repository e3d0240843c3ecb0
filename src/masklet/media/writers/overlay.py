"""Masks for people to look at: painted over the picture, as a video or as one picture."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from jaxtyping import Bool

from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image
from masklet.media.writers.video import H264, VideoWriter
from masklet.media.writers.writer import Writer
from masklet.types import Masks

Color = tuple[int, int, int]  # RGB

FILL = 0.4  # of a mask's area is its colour; the rest is the picture
SHADE = 0.45  # darkness along the outlines, which sets them off against any background

# The hues of DAVIS's first six colours, brighter, and orange for its grey.
_FIRST: tuple[Color, ...] = (
    (255, 78, 88),
    (74, 222, 128),
    (255, 205, 56),
    (72, 145, 255),
    (226, 96, 240),
    (38, 208, 230),
    (255, 146, 64),
)
_GOLDEN = (5**0.5 - 1) / 2

_SHIFT = 4  # OpenCV draws at 1 / 2**4 of a pixel


def color(id: int) -> Color:
    """The colour to show an object in; neighbouring ids look different.

    >>> color(1), color(2)
    ((255, 78, 88), (74, 222, 128))
    """
    if 1 <= id <= len(_FIRST):
        return _FIRST[id - 1]
    hue = id * _GOLDEN % 1  # golden steps never come back close to a recent hue
    lightness, saturation = (0.62, 0.85) if id % 2 else (0.72, 0.65)
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation))
    return red, green, blue


def overlay(image: Image, masks: Masks) -> Image:
    """The picture with its masks painted in, each in its object's colour and with an outline."""
    boxes = masks.boxes[masks.boxes.any(axis=1)]
    if not len(boxes):
        return image.copy()
    width = max(1, round(min(masks.size) / 280))
    window = _window(boxes, 2 * width + 2)
    painted = image.copy()
    colored = [(mask[window], color(id)) for id, mask in masks.items()]
    painted[window] = paint_masks(painted[window], colored, outline=width)
    return painted


def paint_masks(
    image: Image, masks: Iterable[tuple[Bool[np.ndarray, "H W"], Color]], *, fill: float = FILL, outline: int
) -> Image:
    """Paint masks over a picture: the only painter of masks in masklet.

    Args:
        image: The picture.
        masks: Each with its colour; later ones lie on top.
        fill: Share of the colour inside a mask, 0 to 1.
        outline: Width of the outlines in pixels; 0 for none.
    """
    masks, painted = list(masks), np.ascontiguousarray(image).copy()
    for mask, rgb in masks:
        tinted = cv2.addWeighted(painted, 1 - fill, np.full_like(painted, rgb), fill, 0)
        cv2.copyTo(tinted, mask.astype(np.uint8), painted)
    if not outline:
        return painted
    contours = [(_smooth_contours(mask), rgb) for mask, rgb in masks]
    shaded = painted.copy()
    for lines, _ in contours:
        cv2.polylines(shaded, lines, True, (0, 0, 0), outline + 2, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(painted, 1 - SHADE, shaded, SHADE, 0, dst=painted)
    for lines, rgb in contours:
        bright = [channel + (255 - channel) // 4 for channel in rgb]
        cv2.polylines(painted, lines, True, bright, outline, cv2.LINE_AA, _SHIFT)
    return painted


def _window(boxes: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns in which all of the boxes lie, with room for their outlines."""
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0).astype(int), boxes[:, 2:].max(axis=0).astype(int)
    return slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)


def _smooth_contours(mask: np.ndarray) -> list[np.ndarray]:
    """Contours without the stairs of their pixels, in OpenCV's fractions of a pixel."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.round(_smooth(contour) * 2**_SHIFT).astype(np.int32) for contour in contours]


def _smooth(contour: np.ndarray, reach: int = 2) -> np.ndarray:
    """The mean of each point and its neighbours; a contour too short for that stays as it is."""
    if len(contour) < 6 * reach:
        return contour
    return np.mean([np.roll(contour, shift, axis=0) for shift in range(-reach, reach + 1)], axis=0)


class OverlayPng(Writer):
    """One picture; of several frames, the last."""

    def __init__(self, path: StrPath) -> None:
        make_folder(Path(path).parent)
        self._path = path

    def write(self, image: Image, masks: Masks) -> None:
        with atomic_write(self._path) as part:
            PIL.Image.fromarray(overlay(image, masks)).save(part, format="PNG")


class OverlayVideo(VideoWriter):
    """H.264 in MP4, which every player shows. Frames beyond H.264's largest size are scaled down."""

    coding = H264

    def picture(self, image: Image, masks: Masks) -> Image:
        return overlay(image, masks)
