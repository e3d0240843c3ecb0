"""What all parts of the demo scene share: its measures, its light, and a few ways to mix images.

Colours are linear light. An Image is float32 (h, w, 4): red, green, blue premultiplied by alpha. Lengths are
metres: x to the right, y up, z away from the camera.
"""

from __future__ import annotations

import numpy as np

W, H = 1280, 720  # the frame as it is rendered, twice the clip's size
FOCAL = 1150.0  # pixels
EYE = 8.0  # height of the camera above the lake
HORIZON, WATERLINE = 448.0, 476.0  # rows; the far shore lies 330 m away
MARGIN = 360  # of a panorama, beyond the left and the right edge of the frame

SUN = np.array([-0.80, 0.42, -0.43], np.float32)  # towards the sun
SUNLIGHT = np.array([1.90, 1.18, 0.66], np.float32)
SKYLIGHT = np.array([0.22, 0.32, 0.56], np.float32)
HAZE = np.array([0.42, 0.38, 0.46], np.float32)

Image = np.ndarray
Colour = tuple[float, ...]


def ramp(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at start, 1 at end, smooth between and constant outside; start may be the larger."""
    share = np.clip((value - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def blend(below: np.ndarray, above: np.ndarray | Colour, share: np.ndarray) -> np.ndarray:
    return below + (np.asarray(above, np.float32) - below) * share[..., None]


def cover(colour: np.ndarray | Colour, alpha: np.ndarray) -> Image:
    """An image of this colour where alpha is 1."""
    rgb = np.broadcast_to(np.asarray(colour, np.float32), (*alpha.shape, 3))
    return np.dstack([rgb * alpha[..., None], alpha]).astype(np.float32)


def over(above: Image, below: Image) -> Image:
    return above + below * (1 - above[..., 3:])


def hazy(image: Image, haze: float) -> Image:
    """The image behind a share of haze."""
    return np.dstack([image[..., :3] * (1 - haze) + HAZE * haze * image[..., 3:], image[..., 3]])
