"""Three suites of synthetic clips on which memory policies differ. The clips are the same on all machines.

lookalikes : two identical objects whose paths cross
returns : an object that is hidden or out of the frame for long, while an identical one is visible
cuts : several objects, another scene with some of them, and the first scene again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from masklet.datasets.types import Clip
from masklet.files import make_folder
from masklet.synthetic import motion, sprites
from masklet.synthetic.effects import CameraEffects, make_grain
from masklet.synthetic.scenes import ImageBackground, Scene
from masklet.synthetic.sprites import Layer, Sprite

SIDE = 256
CLIPS = 4  # number of clips in each suite
FRAMES = 48
AWAY = 20  # frames without the object
SHOTS = 3  # number of shots in a clip with cuts
SUBJECTS = 5
POSITIONS = np.array(
    [[0.2, 0.25], [0.75, 0.3], [0.5, 0.55], [0.25, 0.8], [0.8, 0.75]]
)  # of the subjects, as shares of the frame


def lookalikes(rng: Generator) -> Clip:
    """Two identical objects circle each other, so that their paths cross twice."""
    twin = _random_sprite(rng)
    turn = np.linspace(0.0, 2 * np.pi, FRAMES) * rng.choice((-1, 1))
    reach, depth = rng.uniform(0.24, 0.3), rng.uniform(0.02, 0.06)
    aside = np.stack([reach * np.cos(turn), depth * np.sin(turn)], axis=1)
    size = rng.uniform(0.26, 0.34)
    layers = [_make_layer(twin, 0.5 + side * aside, size) for side in (1, -1)]
    return _render(rng, _make_background(rng, FRAMES), layers, labelled=(0, 1))


def returns(rng: Generator) -> Clip:
    """One of two identical objects goes behind a wall, or out of the frame, and comes back."""
    twin, frames = _random_sprite(rng), FRAMES + AWAY
    size, level = rng.uniform(0.22, 0.28), rng.uniform(0.28, 0.34)
    out = 1.5 if rng.random() < 0.5 else 0.62
    seen = (frames - AWAY) // 2
    leaving = np.linspace(0.18, out, seen)
    x = np.concatenate([leaving, np.full(AWAY, out), leaving[::-1]])
    away = _make_layer(twin, np.stack([x, np.full(frames, level)], axis=1), size)
    stays = _make_layer(
        twin, np.stack([0.3 + 0.15 * np.sin(np.arange(frames) / 9), np.full(frames, 0.75)], 1), size
    )
    if out > 1:
        return _render(rng, _make_background(rng, frames), [away, stays], labelled=(0, 1))
    side = round(0.5 * SIDE)
    wall = Sprite(_opaque(sprites.make_texture(rng, side, side))[None])
    before = _make_layer(wall, np.tile([out, level], (frames, 1)), 0.42)
    return _render(rng, _make_background(rng, frames), [away, before, stays], labelled=(0, 2))


def cuts(rng: Generator) -> Clip:
    """Several objects, two of them identical; another scene with three of them; the first scene again."""
    subjects = [_random_sprite(rng) for _ in range(SUBJECTS - 1)]
    subjects.append(subjects[0])
    shot = FRAMES // SHOTS
    first, other = _make_background(rng, FRAMES), _make_background(rng, shot)
    sways = [0.05 * motion.random_walk(rng, FRAMES, 2, 0.12) for _ in subjects]
    layers = [
        _make_layer(subject, at + sway, 0.24)
        for subject, at, sway in zip(subjects, POSITIONS, sways, strict=True)
    ]
    clip = _render(rng, first, layers, labelled=tuple(range(SUBJECTS)))
    moved = [
        _make_layer(subjects[row], POSITIONS[place] + sways[row][:shot], 0.3)
        for row, place in ((1, 3), (2, 1), (0, 4))
    ]
    other_clip = _render(rng, other, moved, labelled=(0, 1, 2))
    images, masks = clip.images.copy(), clip.masks.copy()
    images[shot : 2 * shot], masks[shot : 2 * shot] = other_clip.images, False
    masks[shot : 2 * shot, [1, 2, 0]] = other_clip.masks
    return Clip(images, masks)


SUITES: dict[str, Callable[[Generator], Clip]] = {"lookalikes": lookalikes, "returns": returns, "cuts": cuts}


def render(root: Path) -> dict[str, Path]:
    """Write all suites, each clip as NAME/frames and NAME/masks. Existing clips are not rendered again.

    Returns:
        The folder of each suite, by name.
    """
    folders = {}
    for number, (name, make) in enumerate(SUITES.items()):
        folders[name] = root / name
        for index in range(CLIPS):
            folder = root / name / f"{name}-{index}"
            if not (folder / "done").exists():
                _write(folder, make(np.random.default_rng([number, index])))
    return folders


def _write(folder: Path, clip: Clip) -> None:
    frames, masks = make_folder(folder / "frames"), make_folder(folder / "masks")
    for frame, (image, objects) in enumerate(zip(clip.images, clip.masks, strict=True)):
        labels = np.zeros(image.shape[:2], dtype=np.uint8)
        for id, mask in enumerate(objects, start=1):
            labels[mask] = id
        jpeg = (cv2.IMWRITE_JPEG_QUALITY, 95)
        cv2.imwrite(str(frames / f"{frame:05d}.jpg"), image[..., ::-1], jpeg)
        cv2.imwrite(str(masks / f"{frame:05d}.png"), labels)
    (folder / "done").touch()


def _random_sprite(rng: Generator) -> Sprite:
    """A procedural sprite that fills enough of its image."""
    while True:
        sprite = sprites.make_procedural(rng, SIDE, FRAMES + AWAY, None)
        if sprite.extent > 0.4 * max(sprite.rgba.shape[1:3]):
            return sprite


def _make_layer(sprite: Sprite, positions: np.ndarray, size: float) -> Layer:
    """A sprite moved along a path; positions and size are shares of the frame."""
    height, width = sprite.rgba.shape[1:3]
    scale, middle = size * SIDE / max(height, width), motion.translation(-width / 2, -height / 2)
    path = [motion.similarity(x * SIDE, y * SIDE, 0.0, scale) @ middle for x, y in positions]
    return Layer(sprite, np.stack(path), None, 0.0, 0.0)


def _make_background(rng: Generator, frames: int) -> ImageBackground:
    return ImageBackground(
        sprites.make_texture(rng, SIDE, SIDE), (), np.tile(np.eye(3), (frames, 1, 1)), None, 0.0
    )


def _render(
    rng: Generator, background: ImageBackground, layers: Sequence[Layer], labelled: tuple[int, ...]
) -> Clip:
    camera = CameraEffects(rng, len(background.path), SIDE, make_grain(SIDE))
    camera.has_constant_light = True  # otherwise a long clip may become white
    return Scene(background, tuple(layers), labelled, camera).render(SIDE)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    return cv2.merge([pixels, np.full(pixels.shape[:2], 255, dtype=np.uint8)])
