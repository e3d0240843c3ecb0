"""Packages that cannot be installed beside masklet's own pins, and masks to send to them and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from masklet.datasets import find_items
from masklet.media import open_frames, writers
from masklet.types import Masks

SIZE, LENGTH = (40, 60), 3


def install(folder: Path, *packages: str) -> Path:
    """The Python of a new environment that has the packages; the test is skipped where there is none."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=300)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input"]
        subprocess.run([*pip, *packages], check=True, capture_output=True, timeout=600)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{' and '.join(packages)} cannot be installed here: {error}")
    return folder / "bin" / "python"


def objects(frame: int) -> dict[str, np.ndarray]:
    """A dog with a hole, and a ball."""
    dog, ball = np.zeros(SIZE, dtype=bool), np.zeros(SIZE, dtype=bool)
    dog[5 + frame : 20 + frame, 5:25] = True
    dog[8:10, 8:10] = False
    ball[22:30, 30 + frame : 50] = True
    return {"dog": dog, "ball": ball}


def export(folder: Path) -> Path:
    """Images, and masklet's exports of them as COCO and CVAT for images."""
    (folder / "images").mkdir()
    for frame in range(LENGTH):
        pixels = np.full((*SIZE, 3), 40 * frame, dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / "images" / f"{frame:05d}.png")
    frames = open_frames(folder / "images")
    with writers(["coco", "cvat-images"], folder, frames, {1: "dog", 2: "ball"}) as files:
        for frame, image in enumerate(frames):
            arrays = dict(enumerate(objects(frame).values(), 1))
            files.write(image, Masks.from_arrays(frame, arrays, SIZE))
    return folder


def check_masks(printed: str, back: Path, least: float) -> None:
    """Check that another package read the exported masks exactly, and what it wrote of them.

    Args:
        printed: Its output, of which the last line has each image's masks by label, as JSON.
        back: The data set that it wrote.
        least: IoU of each mask there.
    """
    read = json.loads(printed.splitlines()[-1])
    assert len(read) == LENGTH
    for frame in range(LENGTH):
        for name, mask in objects(frame).items():
            np.testing.assert_array_equal(np.array(read[f"{frame:05d}"][name]) > 0, mask)

    items = {Path(item.name).stem: item.open() for item in find_items(back)}
    assert len(items) == LENGTH
    for frame in range(LENGTH):
        image = items[f"{frame:05d}"]
        masks = image.masks(0, image.objects(0))
        assert len(masks) == 2
        for mask in objects(frame).values():
            assert max((mask & other).sum() / (mask | other).sum() for other in masks) > least
