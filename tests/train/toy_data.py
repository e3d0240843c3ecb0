"""A toy run: coloured discs on noise, a network of a few thousand parameters, steps in milliseconds."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from masklet.config import toy
from masklet.datasets.types import Clip
from masklet.train.recipe import BatchSource, ClipSource, Recipe, Stage, ValidationSet

SIZE = 64


def discs(frames: int, objects: int = 1, size: int = SIZE) -> ClipSource:
    """Clips of bright discs that drift over dark noise."""

    def clip(number: int) -> Clip:
        rng = np.random.default_rng([number % 2**63, frames])
        images = rng.integers(0, 60, (frames, size, size, 3), dtype=np.uint8)
        masks = np.zeros((frames, objects, size, size), dtype=bool)
        y, x = np.mgrid[:size, :size]
        for index in range(objects):
            centre, speed = rng.uniform(0.25, 0.75, 2) * size, rng.uniform(-2, 2, 2)
            radius = rng.uniform(6, 14)
            colour = rng.integers(120, 255, 3)
            for t in range(frames):
                disc = np.hypot(x - centre[0] - t * speed[0], y - centre[1] - t * speed[1]) < radius
                images[t][disc] = colour
                masks[t, :index] &= ~disc
                masks[t, index] = disc
        return Clip(images, masks)

    return clip


def stage(name: str, steps: int, *shares: BatchSource, size: int = SIZE) -> Stage:
    shares = shares or (BatchSource(discs(1, size=size), 2, 0.5), BatchSource(discs(3, size=size), 1, 0.5))
    return Stage(name, size, steps, (1e-3, 1e-4), shares, loss_size=32, corrections=2)


def recipe(steps: int = 6, **changes: Any) -> Recipe:
    return Recipe(toy(), (stage("only", steps),), warmup=1, **changes)


def validation(every: int = 3, stills: int = 2, clips: int = 1) -> ValidationSet:
    return ValidationSet(
        tuple(map(discs(1, 2), range(stills))), tuple(map(discs(3), range(clips))), every=every
    )


def write_coco(folder: Path, count: int) -> None:
    """Write a COCO data set of images with one disc."""
    folder.mkdir()
    images, annotations = [], []
    for number in range(count):
        clip = discs(1)(number)
        name = f"{number:03}.png"
        cv2.imwrite(str(folder / name), clip.images[0][..., ::-1])
        images.append({"id": number, "file_name": name, "width": 64, "height": 64})
        outlines, _ = cv2.findContours(
            clip.masks[0, 0].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        outline = [outlines[0].reshape(-1).tolist()]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "segmentation": outline})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
    (folder / "instances.json").write_text(json.dumps(content))
