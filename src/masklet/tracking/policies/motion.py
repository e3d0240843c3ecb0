"""A box that moves steadily: the Kalman filter of DeepSORT (arXiv 1703.07402), and boxes around masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Box = tuple[float, float, float, float]  # x0, y0, x1, y1

POSITION = 1 / 20  # standard deviations, of the height
VELOCITY = 1 / 160
ASPECT, ASPECT_VELOCITY = 1e-2, 1e-5

STEP = np.eye(8) + np.eye(8, k=4)  # each frame adds the velocity
SEEN = np.eye(4, 8)  # what a box tells of the state


@dataclass(frozen=True)
class Motion:
    """What is believed of a box: middle, aspect (width by height) and height, and how fast they change."""

    mean: Float[np.ndarray, " 8"]
    covariance: Float[np.ndarray, "8 8"]

    @classmethod
    def at(cls, box: Box) -> Motion:
        """A box that was seen once, and may move."""
        seen = _measured(box)
        position, velocity = 2 * POSITION * seen[3], 10 * VELOCITY * seen[3]
        deviation = [position, position, ASPECT, position, velocity, velocity, ASPECT_VELOCITY, velocity]
        return cls(np.concatenate([seen, np.zeros(4)]), np.diag(np.square(deviation)))

    def predicted(self) -> Motion:
        """A frame later."""
        position, velocity = POSITION * self.mean[3], VELOCITY * self.mean[3]
        deviation = [position, position, ASPECT, position, velocity, velocity, ASPECT_VELOCITY, velocity]
        return Motion(STEP @ self.mean, STEP @ self.covariance @ STEP.T + np.diag(np.square(deviation)))

    def updated(self, box: Box) -> Motion:
        """Corrected by what was seen."""
        position = POSITION * self.mean[3]
        noise = np.diag(np.square([position, position, ASPECT, position]))
        spread = SEEN @ self.covariance @ SEEN.T + noise
        gain = np.linalg.solve(spread, SEEN @ self.covariance).T
        mean = self.mean + gain @ (_measured(box) - SEEN @ self.mean)
        return Motion(mean, self.covariance - gain @ spread @ gain.T)

    @property
    def box(self) -> Box:
        x, y, aspect, height = self.mean[:4].tolist()
        width = aspect * height
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _measured(box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / (y1 - y0), y1 - y0])


def has_area(box: Box) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def box_iou(one: Box, other: Box) -> float:
    """0 where one of them has no area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (both - width * height)


def tight_boxes(logits: Float[Tensor, "m h w"]) -> Float[Tensor, "m 4"]:
    """Boxes around what is above 0, far sides exclusive; zeros where nothing is. They stay on the device."""
    inside = logits > 0
    sides = []
    for along in (1, 2):  # columns, then rows
        shown = inside.any(dim=along).int()
        first = shown.argmax(dim=1)
        last = shown.shape[1] - shown.flip(1).argmax(dim=1)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    boxes = torch.stack([x0, y0, x1, y1], dim=1)
    return torch.where(inside.flatten(1).any(dim=1)[:, None], boxes, 0).to(logits.dtype)
