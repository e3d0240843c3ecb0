"""Clips of cells under a microscope: grey, noisy, low in contrast. Each cell with its nucleus is one object.

Nano was not trained on such images, so these clips show the gain of fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator

from masklet.datasets.types import Clip
from masklet.synthetic import motion
from masklet.synthetic.sprites import make_blob, make_clouds

FEWEST, MOST = 3, 7  # minimum and maximum number of cells in a clip
SIDE = 128  # side of an outline in pixels, before it is scaled

Map = Float[np.ndarray, "s s"]


def compose_cells(rng: Generator, size: int, frames: int) -> Clip:
    """Compose a clip of cells that move, turn and change their shape. Later cells cover earlier ones.

    Args:
        rng: The source of randomness.
        size: Side of the frames in pixels.
        frames: Length of the clip.
    """
    medium = _Medium.draw(rng, size, frames)
    cells = [_Cell.draw(rng, size, frames) for _ in range(int(rng.integers(FEWEST, MOST + 1)))]
    noise = rng.uniform(4, 14)
    images, masks = [], []
    for frame in range(frames):
        image, visible = medium.draw_frame(frame), list[Bool[np.ndarray, "s s"]]()
        for cell in cells:
            image, mask = cell.paint(image, medium, frame)
            visible = [*(behind & ~mask for behind in visible), mask]
        images.append(_expose(rng, image, medium.defocus, noise))
        masks.append(np.stack(visible))
    return Clip(np.stack(images), np.stack(masks))


def _expose(rng: Generator, image: Map, defocus: float, noise: float) -> UInt8[np.ndarray, "s s 3"]:
    """Defocus and noise, as 8 bits in three equal channels."""
    blurred = cv2.GaussianBlur(image, (0, 0), defocus)
    noisy = blurred + np.float32(noise) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@dataclass(frozen=True, eq=False)
class _Medium:
    """The background of the cells: uneven light, and grain that drifts with the microscope's stage.

    Attributes:
        light: Grey levels without grain, also inside cells.
        grain: Differences from these grey levels.
        drift: (t, 2), displacement of the grain in pixels.
        defocus: Standard deviation in pixels.
    """

    light: Map
    grain: Map
    drift: Float[np.ndarray, "t 2"]
    defocus: float

    @classmethod
    def draw(cls, rng: Generator, size: int, frames: int) -> _Medium:
        level, spread = rng.uniform(95, 150), rng.uniform(20, 50)
        light = (level + spread * (make_clouds(rng, size, size) - 0.5)).astype(np.float32)
        grain = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), 1.5)
        drift = motion.random_walk(rng, frames, 2, 0.002 * size)
        return cls(light, grain * np.float32(rng.uniform(9, 27)), drift, rng.uniform(0.6, 1.4) * size / 256)

    def draw_frame(self, frame: int) -> Map:
        matrix = motion.translation(*self.drift[frame])[:2]
        size = (self.light.shape[1], self.light.shape[0])
        moved = cv2.warpAffine(self.light + self.grain, matrix, size, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(moved, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Cell:
    """A cell: a body of low contrast with the medium, a rim, a halo, and a nucleus of higher contrast.

    Attributes:
        body, nucleus: Outlines, 0 to 255.
        body_path, nucleus_path: Outline to view, for each frame.
        deformation: The change of its shape over time.
        texture: Grey levels of its plasma, around 0.
        nucleus_level, rim, halo: Grey levels.
    """

    body: UInt8[np.ndarray, "h w"]
    nucleus: UInt8[np.ndarray, "h w"]
    body_path: Float[np.ndarray, "t 3 3"]
    nucleus_path: Float[np.ndarray, "t 3 3"]
    deformation: motion.Elastic
    texture: Map
    nucleus_level: float
    rim: float
    halo: float

    @classmethod
    def draw(cls, rng: Generator, size: int, frames: int) -> _Cell:
        side = motion.log_uniform(rng, 0.14, 0.34) * size
        positions = rng.uniform(0.12, 0.88, 2) * size
        positions = positions + motion.random_walk(
            rng, frames, 2, motion.log_uniform(rng, 0.002, 0.012) * size
        )
        angle = rng.uniform(0, 2 * np.pi) + motion.random_walk(rng, frames, 1, 0.04)[:, 0]
        return cls(
            make_blob(rng, SIDE),
            make_blob(rng, SIDE),
            _place(positions, angle, side),
            _place(positions + rng.uniform(-0.12, 0.12, 2) * side, angle, rng.uniform(0.3, 0.45) * side),
            motion.Elastic(rng, frames, rng.uniform(0.025, 0.05) * side),
            (rng.uniform(-16, 10) + 18 * (make_clouds(rng, size, size) - 0.5)).astype(np.float32),
            rng.uniform(-60, -30) if rng.random() < 0.7 else rng.uniform(25, 50),
            rng.uniform(10, 40),
            rng.uniform(0, 25),
        )

    def paint(self, image: Map, medium: _Medium, frame: int) -> tuple[Map, Bool[np.ndarray, "s s"]]:
        """Draw the cell into an image, and return it with the cell's mask."""
        body = self._shape(self.body, self.body_path[frame], medium, frame)
        nucleus = self._shape(self.nucleus, self.nucleus_path[frame], medium, frame) * body
        width = max(1.5, len(image) / 160)
        soft = cv2.GaussianBlur(body, (0, 0), width)
        glow = np.clip(cv2.GaussianBlur(body, (0, 0), 2.5 * width) - body, 0, 1)
        inside = medium.light + self.texture + self.nucleus_level * cv2.GaussianBlur(nucleus, (0, 0), 0.8)
        painted = image * (1 - body) + inside * body
        painted += self.halo * glow * (1 - body) - self.rim * 4 * soft * (1 - soft)
        return painted.astype(np.float32), body > 0.5

    def _shape(self, outline: np.ndarray, path: np.ndarray, medium: _Medium, frame: int) -> Map:
        """An outline as it appears on a frame, 0 to 1."""
        size = len(medium.light)
        matrix = motion.translation(*medium.drift[frame]) @ path
        maps = motion.remap_grid(matrix, (0, 0, size, size), self.deformation.field(frame, size, size))
        return cv2.remap(outline, *maps, cv2.INTER_LINEAR).astype(np.float32) / 255


def _place(positions: np.ndarray, angle: np.ndarray, side: float) -> Float[np.ndarray, "t 3 3"]:
    """The placement of an outline on each frame.

    Args:
        positions: (t, 2), its centre.
        angle: (t,) radians.
        side: Its size in pixels.
    """
    middle = motion.translation(-SIDE / 2, -SIDE / 2)
    rows = zip(positions, angle, strict=True)
    return np.stack([motion.similarity(x, y, turn, side / SIDE) @ middle for (x, y), turn in rows])
