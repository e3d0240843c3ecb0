"""Masks for people to look at: painted over the picture, as a video or as one picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image
from masklet.media.writers.encoder import Coding, VideoWriter
from masklet.media.writers.palette import color
from masklet.media.writers.writer import Writer
from masklet.types import Masks

FILL = 0.4  # of a mask's area is its colour; the rest is the picture
SHADE = 0.45  # darkness along the outlines, which sets them off against any background

_SHIFT = 4  # OpenCV draws at 1 / 2**4 of a pixel


def overlay(image: Image, masks: Masks) -> Image:
    """The picture with its masks painted in, each in its object's colour and with an outline."""
    painted = image.copy()
    seen = masks.boxes[masks.boxes.any(axis=1)]
    if not len(seen):
        return painted
    width = max(1, round(min(masks.size) / 280))
    part = _around(seen, 2 * width + 2)
    painted[part] = _painted(painted[part], {id: mask[part] for id, mask in masks.items()}, width)
    return painted


def _around(boxes: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns in which all of the boxes lie, with room for their outlines."""
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0).astype(int), boxes[:, 2:].max(axis=0).astype(int)
    return slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)


def _painted(image: Image, masks: dict[int, np.ndarray], width: int) -> Image:
    painted = np.ascontiguousarray(image)
    for id, mask in masks.items():
        tinted = cv2.addWeighted(painted, 1 - FILL, np.full_like(painted, color(id)), FILL, 0)
        cv2.copyTo(tinted, mask.astype(np.uint8), painted)
    outlines = {id: _outlines(mask) for id, mask in masks.items()}
    shaded = painted.copy()
    for lines in outlines.values():
        cv2.polylines(shaded, lines, True, (0, 0, 0), width + 2, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(painted, 1 - SHADE, shaded, SHADE, 0, dst=painted)
    for id, lines in outlines.items():
        bright = [channel + (255 - channel) // 4 for channel in color(id)]
        cv2.polylines(painted, lines, True, bright, width, cv2.LINE_AA, _SHIFT)
    return painted


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Contours without the stairs of their pixels, in OpenCV's fractions of a pixel."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.round(_smooth(contour) * 2**_SHIFT).astype(np.int32) for contour in contours]


def _smooth(contour: np.ndarray, reach: int = 2) -> np.ndarray:
    """Each point's mean with its neighbours; a contour too short for that stays as it is."""
    if len(contour) < 6 * reach:
        return contour
    return np.mean([np.roll(contour, shift, axis=0) for shift in range(-reach, reach + 1)], axis=0)


class OverlayPng(Writer):
    """One picture; should there be several frames, the last."""

    def __init__(self, path: StrPath) -> None:
        make_folder(Path(path).parent)
        self._path = path

    def write(self, image: Image, masks: Masks) -> None:
        with atomic_write(self._path) as part:
            PIL.Image.fromarray(overlay(image, masks)).save(part, format="PNG")


class OverlayVideo(VideoWriter):
    """H.264 in MP4, which every player shows."""

    coding = Coding(
        container="mp4",
        codec="libx264",
        pixels="yuv420p",
        tuning={"crf": "20", "preset": "veryfast"},
        options={"movflags": "faststart"},
    )

    def picture(self, image: Image, masks: Masks) -> Image:
        return overlay(image, masks)
