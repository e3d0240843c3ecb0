"""Images that were saved anew are found among those to validate on, and others are not."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from masklet.train.recipe import TrainingOptions
from masklet.train.validation_split import find_lookalikes
from media.made import write_video

SAVED = {
    "coarse.jpg": lambda scene: scene,
    "half.png": lambda scene: scene[::2, ::2],
    "large.webp": lambda scene: cv2.resize(scene, (272, 204), interpolation=cv2.INTER_CUBIC),
    "grey.png": lambda scene: scene.mean(axis=2).astype(np.uint8),
    "dark.png": lambda scene: scene // 2,
    "deep.png": lambda scene: cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 200,
}


def scene(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path, quality=40)
    return path


@pytest.mark.parametrize("name", SAVED)
def test_an_image_that_was_saved_anew_is_found(tmp_path: Path, name: str) -> None:
    anew = save(tmp_path / name, SAVED[name](scene(7)))
    images = [save(tmp_path / f"{seed}.png", scene(seed)) for seed in range(12)]
    found = find_lookalikes(images, [anew])
    assert set(found) == {7} and found[7][0] == 0 and found[7][1] > 0.85


def test_other_images_flat_ones_and_turned_ones_are_not_alike(tmp_path: Path) -> None:
    images = [save(tmp_path / f"{seed}.png", scene(seed)) for seed in range(12)]
    flat = [save(tmp_path / f"flat-{grey}.png", np.full((120, 160, 3), grey, np.uint8)) for grey in (9, 200)]
    upright = save(tmp_path / "upright.png", scene(0).swapaxes(0, 1).copy())
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    assert find_lookalikes([*images[6:], *flat, upright, broken], [*images[:6], *flat, broken]) == {}


def test_the_frame_in_the_middle_counts_for_a_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", [scene(seed) for seed in (1, 2, 3)])
    images = [save(tmp_path / f"{seed}.png", scene(seed)) for seed in (1, 2, 3)]
    assert set(find_lookalikes(images, [video])) == {1}


def test_training_names_what_looks_like_an_image_to_validate_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[20:60, 30:90] = 1
    for folder, seeds in (("train", (1, 2, 3)), ("held-back", (3, 4))):
        for seed in seeds:
            save(tmp_path / folder / "images" / f"{folder}-{seed}.jpg", scene(seed))
            save(tmp_path / folder / "masks" / f"{folder}-{seed}.png", mask)
    save(tmp_path / "held-back" / "images" / "held-back-3.jpg", scene(3) // 3 * 2)
    options = TrainingOptions(tmp_path / "train", validation=tmp_path / "held-back")
    with caplog.at_level(logging.WARNING):
        training, held_back = options.split
    assert (len(training), len(held_back)) == (3, 2)
    assert "1 of 3 training items look like a validation item" in caplog.text
    assert "train/train-3 like held-back/held-back-3" in caplog.text
