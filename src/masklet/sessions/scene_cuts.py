"""Detects scene cuts in a video by comparing thumbnails of two frames."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from masklet.media import Frames

THUMBNAIL_SIDE = 32
COLOUR_BINS = 4  # bins for each channel
COLOUR_CHANGE = 0.2  # fraction of pixels with changed colour above which there may be a cut
BRIGHTNESS_CORRELATION = 0.6  # correlation of two thumbnails below which there may be a cut


class Scenes:
    """Finds scene cuts by comparing neighbouring frames. Thumbnails of compared frames are kept."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._thumbnails: dict[int, np.ndarray] = {}

    def read(self, frame: int) -> np.ndarray:
        """Decode a frame, and keep its thumbnail, so that it is not decoded again."""
        image = self._frames[frame]
        if frame not in self._thumbnails:
            self._thumbnails[frame] = thumbnail(image)
        return image

    def begins(self, frame: int) -> bool:
        """Whether a scene begins on a frame other than the video's first."""
        if not 0 < frame < len(self._frames):
            return False
        for number in (frame - 1, frame):
            if number not in self._thumbnails:
                self.read(number)
        return is_cut(self._thumbnails[frame - 1], self._thumbnails[frame])


def thumbnail(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """The thumbnail by which scenes are compared."""
    return np.asarray(cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA))


def is_cut(before: UInt8[np.ndarray, "s s 3"], after: UInt8[np.ndarray, "s s 3"]) -> bool:
    """Whether another scene begins between two neighbouring frames, given as thumbnails.

    Two things must change: the colours, which are stable when the camera moves, and the spatial pattern of
    brightness, which is stable when the light changes.
    """
    changed = np.abs(_colour_histogram(before) - _colour_histogram(after)).sum() / 2
    return bool(changed > COLOUR_CHANGE and _correlate_brightness(before, after) < BRIGHTNESS_CORRELATION)


def _colour_histogram(image: np.ndarray) -> np.ndarray:
    """The fraction of pixels in each colour bin."""
    bins = image.reshape(-1, 3).astype(np.int64) * COLOUR_BINS // 256
    counts = np.bincount(bins @ (COLOUR_BINS**2, COLOUR_BINS, 1), minlength=COLOUR_BINS**3)
    shares: np.ndarray = counts / counts.sum()
    return shares


def _correlate_brightness(before: np.ndarray, after: np.ndarray) -> float:
    """Correlation of brightness, -1 to 1."""
    light_before, light_after = (image.mean(axis=2) for image in (before, after))
    light_before, light_after = light_before - light_before.mean(), light_after - light_after.mean()
    scale = np.sqrt((light_before**2).sum() * (light_after**2).sum())
    return float((light_before * light_after).sum() / scale) if scale else 1.0
