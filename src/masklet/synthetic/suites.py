"""Three suites of clips on which memory rules differ, made from nothing: anyone gets the same.

lookalikes : twins whose paths cross
returns : things that are away for long, behind something or out of the frame, while a twin stays in view
cuts : a crowd, another place with some of it, and the crowd again
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
from masklet.synthetic.effects import Camera, make_grain
from masklet.synthetic.scenes import Backdrop, Scene
from masklet.synthetic.sprites import Layer, Sprite

SIDE = 256
CLIPS = 4  # in each suite
FRAMES = 48
AWAY = 20  # frames
SHOTS = 3  # of a clip with cuts
SUBJECTS = 5
STAGE = np.array([[0.2, 0.25], [0.75, 0.3], [0.5, 0.55], [0.25, 0.8], [0.8, 0.75]])  # where a crowd stands


def lookalikes(rng: Generator) -> Clip:
    """Twins walk around each other, and pass before each other twice."""
    twin = _random_sprite(rng)
    turn = np.linspace(0.0, 2 * np.pi, FRAMES) * rng.choice((-1, 1))
    reach, depth = rng.uniform(0.24, 0.3), rng.uniform(0.02, 0.06)
    aside = np.stack([reach * np.cos(turn), depth * np.sin(turn)], axis=1)
    size = rng.uniform(0.26, 0.34)
    layers = [_layer(twin, 0.5 + side * aside, size) for side in (1, -1)]
    return _film(rng, _backdrop(rng, FRAMES), layers, chosen=(0, 1))


def returns(rng: Generator) -> Clip:
    """One of two twins goes behind a wall, or out of the frame, and comes back."""
    twin, frames = _random_sprite(rng), FRAMES + AWAY
    size, level = rng.uniform(0.22, 0.28), rng.uniform(0.28, 0.34)
    out = 1.5 if rng.random() < 0.5 else 0.62
    seen = (frames - AWAY) // 2
    there = np.linspace(0.18, out, seen)
    x = np.concatenate([there, np.full(AWAY, out), there[::-1]])
    away = _layer(twin, np.stack([x, np.full(frames, level)], axis=1), size)
    stays = _layer(
        twin, np.stack([0.3 + 0.15 * np.sin(np.arange(frames) / 9), np.full(frames, 0.75)], 1), size
    )
    if out > 1:
        return _film(rng, _backdrop(rng, frames), [away, stays], chosen=(0, 1))
    side = round(0.5 * SIDE)
    wall = Sprite(_opaque(sprites.texture(rng, side, side))[None])
    before = _layer(wall, np.tile([out, level], (frames, 1)), 0.42)
    return _film(rng, _backdrop(rng, frames), [away, before, stays], chosen=(0, 2))


def cuts(rng: Generator) -> Clip:
    """Several objects, twins among them; another place with three of them; the first place and all again."""
    subjects = [_random_sprite(rng) for _ in range(SUBJECTS - 1)]
    subjects.append(subjects[0])
    shot = FRAMES // SHOTS
    first, other = _backdrop(rng, FRAMES), _backdrop(rng, shot)
    sways = [0.05 * motion.walk(rng, FRAMES, 2, 0.12) for _ in subjects]
    layers = [
        _layer(subject, at + sway, 0.24) for subject, at, sway in zip(subjects, STAGE, sways, strict=True)
    ]
    clip = _film(rng, first, layers, chosen=tuple(range(SUBJECTS)))
    moved = [
        _layer(subjects[row], STAGE[place] + sways[row][:shot], 0.3)
        for row, place in ((1, 3), (2, 1), (0, 4))
    ]
    other_clip = _film(rng, other, moved, chosen=(0, 1, 2))
    images, masks = clip.images.copy(), clip.masks.copy()
    images[shot : 2 * shot], masks[shot : 2 * shot] = other_clip.images, False
    masks[shot : 2 * shot, [1, 2, 0]] = other_clip.masks
    return Clip(images, masks)


SUITES: dict[str, Callable[[Generator], Clip]] = {"lookalikes": lookalikes, "returns": returns, "cuts": cuts}


def render(root: Path) -> dict[str, Path]:
    """Write all suites as NAME/frames and NAME/masks; by suite, its folder. What is there already stays."""
    places = {}
    for number, (name, make) in enumerate(SUITES.items()):
        places[name] = root / name
        for index in range(CLIPS):
            place = root / name / f"{name}-{index}"
            if not (place / "done").exists():
                _write(place, make(np.random.default_rng([number, index])))
    return places


def _write(place: Path, clip: Clip) -> None:
    frames, masks = make_folder(place / "frames"), make_folder(place / "masks")
    for frame, (image, objects) in enumerate(zip(clip.images, clip.masks, strict=True)):
        labels = np.zeros(image.shape[:2], dtype=np.uint8)
        for id, mask in enumerate(objects, start=1):
            labels[mask] = id
        jpeg = (cv2.IMWRITE_JPEG_QUALITY, 95)
        cv2.imwrite(str(frames / f"{frame:05d}.jpg"), image[..., ::-1], jpeg)
        cv2.imwrite(str(masks / f"{frame:05d}.png"), labels)
    (place / "done").touch()


def _random_sprite(rng: Generator) -> Sprite:
    """A body with an outline and a surface of its own, not a small one."""
    while True:
        sprite = sprites.procedural(rng, SIDE, FRAMES + AWAY, None)
        if sprite.extent > 0.4 * max(sprite.rgba.shape[1:3]):
            return sprite


def _layer(sprite: Sprite, positions: np.ndarray, size: float) -> Layer:
    """A sprite on its path, in parts of the frame; about as wide and high as `size`."""
    height, width = sprite.rgba.shape[1:3]
    scale, middle = size * SIDE / max(height, width), motion.shift(-width / 2, -height / 2)
    path = [motion.similarity(x * SIDE, y * SIDE, 0.0, scale) @ middle for x, y in positions]
    return Layer(sprite, np.stack(path), None, 0.0, 0.0)


def _backdrop(rng: Generator, frames: int) -> Backdrop:
    return Backdrop(sprites.texture(rng, SIDE, SIDE), (), np.tile(np.eye(3), (frames, 1, 1)), None, 0.0)


def _film(rng: Generator, backdrop: Backdrop, layers: Sequence[Layer], chosen: tuple[int, ...]) -> Clip:
    camera = Camera(rng, len(backdrop.path), SIDE, make_grain(SIDE))
    camera.steady = True  # else a long clip may end in white
    return Scene(backdrop, tuple(layers), chosen, camera).film(SIDE)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    return cv2.merge([pixels, np.full(pixels.shape[:2], 255, dtype=np.uint8)])
