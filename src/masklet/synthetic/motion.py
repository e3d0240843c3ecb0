"""Random motion: smooth paths, placements as 3 x 3 matrices, elastic deformations. Lengths are in pixels."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float
from numpy.random import Generator

INERTIA = 0.85  # share of a step that the next step keeps


def random_walk(rng: Generator, frames: int, size: int, speed: float) -> Float[np.ndarray, "t k"]:
    """A smooth random path that starts at zero.

    Args:
        speed: Typical length of a step, per coordinate.
    """
    steps = np.zeros((frames, size))
    step = rng.standard_normal(size)
    for frame in range(1, frames):
        steps[frame] = step * speed
        step = INERTIA * step + (1 - INERTIA**2) ** 0.5 * rng.standard_normal(size)
    return steps.cumsum(axis=0)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def similarity(
    x: float, y: float, angle: float = 0.0, scale: float = 1.0, stretch: float = 1.0
) -> Float[np.ndarray, "3 3"]:
    """The matrix that rotates and scales about the origin, then moves to (x, y). `stretch` widens it."""
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    return np.array([[cos * stretch, -sin / stretch, x], [sin * stretch, cos / stretch, y], [0.0, 0.0, 1.0]])


def translation(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def camera_motion(rng: Generator, frames: int, size: int, speed: float = 1.0) -> Float[np.ndarray, "t 3 3"]:
    """A random camera path: the effect of pan, roll, zoom and shake on the view, from none to strong.

    Args:
        speed: A factor of the usual speed.
    """
    pan = 0.0 if rng.random() < 0.2 else log_uniform(rng, 0.001, 0.05) * speed * size
    shake = log_uniform(rng, 0.001, 0.012) * speed * size if rng.random() < 0.4 else 0.0
    path = random_walk(rng, frames, 2, pan) + shake * rng.standard_normal((frames, 2))
    path *= min(1.0, 0.5 * size / max(1.0, np.ptp(path, axis=0).max()))
    roll = random_walk(rng, frames, 1, 0.02 * rng.random() ** 2)[
        :, 0
    ] + 0.2 * shake / size * rng.standard_normal(frames)
    zoom = np.exp(random_walk(rng, frames, 1, 0.03 * rng.random() ** 2)[:, 0])
    half = size / 2
    return np.stack(
        [
            similarity(half + x, half + y, angle, scale) @ translation(-half, -half)
            for (x, y), angle, scale in zip(path, roll, zoom, strict=True)
        ]
    )


def velocity(
    path: Float[np.ndarray, "t 3 3"], frame: int, point: tuple[float, float]
) -> Float[np.ndarray, " 2"]:
    """The velocity (x, y) of a point, in pixels of the view per frame.

    Args:
        path: Placements by frame.
        point: (x, y) before placement.
    """
    before, after = max(0, frame - 1), min(len(path) - 1, frame + 1)
    return ((path[after] - path[before]) @ (*point, 1.0))[:2] / max(1, after - before)


class Elastic:
    """A smooth deformation over time, interpolated from sines at the nodes of a coarse grid."""

    def __init__(self, rng: Generator, frames: int, amplitude: float, cells: int = 4) -> None:
        shape = (cells, cells, 2)
        phase, frequency = (
            rng.uniform(0, 2 * np.pi, shape),
            rng.uniform(0.1, 0.7) * rng.uniform(0.6, 1.4, shape),
        )
        size = amplitude * rng.standard_normal(shape)
        time = np.arange(frames)[:, None, None, None]
        self.nodes = (size * np.sin(phase + frequency * time)).astype(np.float32)

    def reach(self, frame: int) -> float:
        """The largest displacement on a frame, in pixels."""
        return float(np.abs(self.nodes[frame]).max())

    def field(self, frame: int, width: int, height: int) -> Float[np.ndarray, "h w 2"]:
        return cv2.resize(self.nodes[frame], (width, height), interpolation=cv2.INTER_CUBIC)


def remap_grid(
    matrix: np.ndarray, box: tuple[int, int, int, int], field: np.ndarray | None
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The source coordinates of each pixel of `box`, for cv2.remap.

    Args:
        matrix: Source to view.
        field: (h, w, 2), displacements that are added to the view's pixels first.
    """
    x0, y0, x1, y1 = box
    (a, b, c), (d, e, f), _ = np.linalg.inv(matrix).astype(np.float32)
    xs = np.arange(x0, x1, dtype=np.float32)[None]
    ys = np.arange(y0, y1, dtype=np.float32)[:, None]
    if field is None:
        return a * xs + (b * ys + c), d * xs + (e * ys + f)
    xs, ys = xs + field[..., 0], ys + field[..., 1]
    return a * xs + b * ys + c, d * xs + e * ys + f
