"""A colour for every object id: DAVIS's for label maps, brighter ones of the same hues for the eye."""

from __future__ import annotations

import colorsys

import numpy as np

Color = tuple[int, int, int]  # RGB

# The hues of DAVIS's first six colours, and orange for its grey.
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


def davis_palette() -> np.ndarray:
    """uint8 (256, 3). An id's bits are dealt to red, green and blue in turn, the lowest as the brightest.

    >>> davis_palette()[:4].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    ids = np.arange(256)[:, None]
    channels = np.arange(3)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette |= ((ids >> (3 * bit + channels) & 1) << (7 - bit)).astype(np.uint8)
    return palette


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
