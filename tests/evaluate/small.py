"""Small benchmarks on disk, in the layouts of the public ones."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (24, 32)
GREY = np.full((*SIZE, 3), 90, dtype=np.uint8)


def write_frame(path: Path, image: np.ndarray = GREY) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_labels(path: Path, labels: np.ndarray) -> None:
    """A palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0] + [255] * 759)  # whole, or PIL cuts labels to two bits
    image.save(path)


def write_grey(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint8)).save(path)


def square(left: int, label: int = 1, top: int = 6, side: int = 8) -> np.ndarray:
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[top : top + side, left : left + side] = label
    return labels


def write_moving_square(root: Path, frames: int = 6, step: int = 2) -> None:
    """A bright textured square that moves over noise, as NAME/frames and NAME/masks."""
    noise = np.random.default_rng(0).integers(0, 100, (*SIZE, 3), dtype=np.uint8)
    texture = np.random.default_rng(1).integers(150, 255, (64, 3), dtype=np.uint8)
    for frame in range(frames):
        labels = square(4 + step * frame)
        image = noise.copy()
        image[labels > 0] = texture
        write_frame(root / "moving" / "frames" / f"{frame:05d}.png", image)
        write_labels(root / "moving" / "masks" / f"{frame:05d}.png", labels)
