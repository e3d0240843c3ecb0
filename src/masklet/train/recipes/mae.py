"""Pre-training of a trunk by masked auto-encoding."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from masklet.errors import MediaError
from masklet.media import find_images, read_image
from masklet.splits import hold_back
from masklet.train.pretraining import PretrainingRecipe, Square
from masklet.train.recipe import TrainingOptions
from masklet.train.validation_split import MAX_VALIDATION_ITEMS

log = logging.getLogger(__name__)

VALIDATION_IMAGES = 16  # number of images in the report, on which the loss is measured
VALIDATION_FRACTION = 0.05
SMALLEST_CROP = 0.2  # minimum area of a crop, as in Hiera and MAE
ASPECT = 4 / 3  # the largest ratio of a crop's sides
ATTEMPTS = 20


def recipe(options: TrainingOptions) -> PretrainingRecipe:
    r"""Pre-train a trunk on unlabelled images; interactive training then starts from it.

    masklet train mae IMAGES --model new-tiny --size 224 --out runs/mae --precision bf16 --workers 8
    masklet train mae IMAGES --out runs/mae                               for nano-hiera, on a CPU
    masklet train finetune LABELLED --model runs/mae/model.safetensors --preset everything --rate 1e-3 \
        --out runs/mine

    IMAGES is a folder; every image in it or below is taken. `--size` is the side of the crops, a
    multiple of a window of the trunk's last stage: 128 pixels for nano-hiera, 224 for tiny, small and
    base-plus, 256 for large. With a trained model as `--model` its trunk is trained further. On eight
    GPUs: torchrun --nproc-per-node 8 -m masklet train mae ...

    Cost: for nano-hiera at 128 pixels 2 to 3 s a step of 64 images on one core of a server CPU; run for 280
    steps of 128, not to its end, nor at other sizes. Expected score: none of its own; the report shows the
    reconstructions (validation loss 0.93 after those steps; predicting each unit's mean gives 1). Hiera's
    authors took 400 epochs of ImageNet, in batches of 4096.

    Crops of at least a fifth of an image, half of them flipped; six units in ten are hidden.
    """
    config, start = options.resolve_model("new-nano-hiera")
    size = options.image_size or 32 * config.windows[3]
    images, validation = split_images(options.data)
    steps = options.steps or 20_000
    return PretrainingRecipe(
        replace(config, image_size=size),
        Crops(images, size, seed=1).crop,
        images=64,
        validation=[read_square(path, size) for path in validation[:VALIDATION_IMAGES]],
        steps=steps,
        learning_rate=options.learning_rate or 4e-4,
        start=start,
        warmup=max(1, min(500, steps // 20)),
        every=max(1, min(500, steps // 10)),
    )


def split_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """The training images, and a few validation images, selected by the hash of their names."""
    paths = find_images(folder / "**" / "*")
    if len(paths) < 2:
        raise MediaError(f"{folder} must contain at least two images, for training and validation.")
    return hold_back(
        sorted(paths), lambda path: str(path.relative_to(folder)), VALIDATION_FRACTION, MAX_VALIDATION_ITEMS
    )


def read_square(path: Path, size: int) -> Square:
    """A whole image, resized to a square."""
    return cv2.resize(read_image(path), (size, size), interpolation=cv2.INTER_AREA)


class Crops:
    """Draws crops of images, half of them mirrored."""

    def __init__(self, paths: Sequence[Path], size: int, seed: int) -> None:
        self.paths, self.size, self.seed = paths, size, seed

    def crop(self, number: int) -> Square:
        """The crop with this number, always the same. Images that cannot be read are logged and skipped."""
        rng = np.random.default_rng([self.seed, number])
        for _ in range(ATTEMPTS):
            path = self.paths[int(rng.integers(len(self.paths)))]
            try:
                return self._cut(read_image(path), rng)
            except MediaError as error:
                log.warning("skipped %s: %s", path, error)
        raise MediaError(f"{ATTEMPTS} images in a row could not be read, the last {path}.")

    def _cut(self, image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        area = rng.uniform(SMALLEST_CROP, 1) * height * width
        aspect = math.exp(rng.uniform(-1, 1) * math.log(ASPECT) / 2)
        w = min(width, max(1, round(math.sqrt(area) * aspect)))
        h = min(height, max(1, round(math.sqrt(area) / aspect)))
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        part = cv2.resize(image[y : y + h, x : x + w], (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part
