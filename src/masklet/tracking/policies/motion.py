"""A box that moves steadily: the Kalman filter of DeepSORT (arXiv 1703.07402)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from masklet.boxes import Box

POSITION = 1 / 20  # standard deviations, of the height
VELOCITY = 1 / 160
ASPECT, ASPECT_VELOCITY = 1e-2, 1e-5

STEP = np.eye(8) + np.eye(8, k=4)  # each frame adds the velocity
OBSERVATION = np.eye(4, 8)  # the part of the state that a box shows


@dataclass(frozen=True)
class Motion:
    """The estimated state of a box: middle, aspect (width by height) and height, and how fast they change."""

    mean: Float[np.ndarray, " 8"]
    covariance: Float[np.ndarray, "8 8"]

    @classmethod
    def at(cls, box: Box) -> Motion:
        """The state after the first box."""
        measured = _measure(box)
        position, velocity = 2 * POSITION * measured[3], 10 * VELOCITY * measured[3]
        deviation = [position, position, ASPECT, position, velocity, velocity, ASPECT_VELOCITY, velocity]
        return cls(np.concatenate([measured, np.zeros(4)]), np.diag(np.square(deviation)))

    def predict(self) -> Motion:
        """The state one frame later."""
        position, velocity = POSITION * self.mean[3], VELOCITY * self.mean[3]
        deviation = [position, position, ASPECT, position, velocity, velocity, ASPECT_VELOCITY, velocity]
        return Motion(STEP @ self.mean, STEP @ self.covariance @ STEP.T + np.diag(np.square(deviation)))

    def update(self, box: Box) -> Motion:
        """The state, corrected by the box of its frame."""
        position = POSITION * self.mean[3]
        noise = np.diag(np.square([position, position, ASPECT, position]))
        spread = OBSERVATION @ self.covariance @ OBSERVATION.T + noise
        gain = np.linalg.solve(spread, OBSERVATION @ self.covariance).T
        mean = self.mean + gain @ (_measure(box) - OBSERVATION @ self.mean)
        return Motion(mean, self.covariance - gain @ spread @ gain.T)

    @property
    def box(self) -> Box:
        x, y, aspect, height = self.mean[:4].tolist()
        width = aspect * height
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _measure(box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / (y1 - y0), y1 - y0])
