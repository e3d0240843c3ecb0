"""Pictures for pre-training, from anywhere below a folder; each crop is a function of its number."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from masklet.errors import MediaError
from masklet.media import find_pictures, read_image
from masklet.train.options import MOST

log = logging.getLogger(__name__)

SMALLEST = 0.2  # of the picture's area; Hiera's and MAE's crops
STRETCH = 4 / 3  # most that a crop's sides may differ
ATTEMPTS = 20


def divide_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures to learn from, and the few held back, always the same: by the hash of their names."""
    found = find_pictures(folder / "**" / "*")
    if len(found) < 2:
        raise MediaError(f"{folder} must hold two pictures, one to learn from and one to measure on.")
    by_hash = sorted(found, key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).digest())
    count = min(MOST, math.ceil(len(found) / 20))
    return sorted(by_hash[count:]), by_hash[:count]


def squeezed(path: Path, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """A whole picture as a square."""
    return cv2.resize(read_image(path), (size, size), interpolation=cv2.INTER_AREA)


class Crops:
    """Draws a part of a picture, flipped half the time."""

    def __init__(self, files: Sequence[Path], size: int, seed: int) -> None:
        self.files, self.size, self.seed = files, size, seed

    def crop(self, number: int) -> UInt8[np.ndarray, "S S 3"]:
        """The crop of that number; the same one every time. What cannot be read is named and passed over."""
        rng = np.random.default_rng([self.seed, number])
        for _ in range(ATTEMPTS):
            path = self.files[int(rng.integers(len(self.files)))]
            try:
                return self._cut(read_image(path), rng)
            except MediaError as error:
                log.warning("%s is passed over: %s", path, error)
        raise MediaError(f"{ATTEMPTS} pictures in a row could not be read, the last {path}.")

    def _cut(self, image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        area = rng.uniform(SMALLEST, 1) * height * width
        stretch = math.exp(rng.uniform(-1, 1) * math.log(STRETCH) / 2)
        w = min(width, max(1, round(math.sqrt(area) * stretch)))
        h = min(height, max(1, round(math.sqrt(area) / stretch)))
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        part = cv2.resize(image[y : y + h, x : x + w], (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part
