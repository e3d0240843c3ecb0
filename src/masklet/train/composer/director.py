"""Who appears in a scene and how they move: three kinds of scenes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from masklet.train.composer import motion, textures
from masklet.train.composer.effects import Camera
from masklet.train.composer.scenes import Backdrop, Scene
from masklet.train.composer.sprites import Layer, Sprite, cutout
from masklet.train.composer.sprites import procedural as body
from masklet.train.images import Picture

CUTOUT = 0.015  # of its picture; smaller instances are too coarse to be pasted large


class Stock:
    """The pictures, and which of their instances make good cut-outs: large, and not cut off by the picture's
    edge."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures
        self.whole = [(number, good) for number, each in enumerate(pictures) if (good := _uncut(each))]

    def picture(self, rng: Generator) -> Picture:
        return self.pictures[rng.integers(len(self.pictures))]

    def instance(self, rng: Generator) -> tuple[Picture, int]:
        picture = self.picture(rng)
        return picture, int(rng.integers(len(picture)))

    def cutout(self, rng: Generator) -> tuple[Picture, int]:
        if not self.whole:
            return self.instance(rng)
        number, good = self.whole[rng.integers(len(self.whole))]
        return self.pictures[number], good[rng.integers(len(good))]


def _uncut(picture: Picture) -> list[int]:
    height, width = picture.pixels.shape[:2]
    return [
        index
        for index, (x0, y0, x1, y1) in enumerate(picture.boxes)
        if x0 > 1
        and y0 > 1
        and x1 < width - 1
        and y1 < height - 1
        and (x1 - x0) * (y1 - y0) > 2 * CUTOUT * height * width
    ]


def moved(rng: Generator, stock: Stock, size: int, frames: int, objects: int, grain: np.ndarray) -> Scene:
    """A real picture moved whole, its instances as objects; often something passes in front."""
    picture, index = stock.instance(rng)
    camera = motion.camera(rng, frames, size)
    others = [other for other in range(len(picture)) if other != index]
    kept = [index, *rng.permutation(others)[: objects - 1].tolist()]
    backdrop = _backdrop(rng, picture, kept, camera, size, around=index)
    layers: list[Layer] = []
    if rng.random() < 0.5:
        layers.append(_layer(rng, _thing(rng, stock, size, frames), camera, size, speed=0.05))
    return Scene(backdrop, tuple(layers), (), Camera(rng, frames, size, grain))


def pasted(rng: Generator, stock: Stock, size: int, frames: int, objects: int, grain: np.ndarray) -> Scene:
    """Cut-outs over a real picture, each on its own way, with look-alikes and things passing in front."""
    camera = motion.camera(rng, frames, size)
    backdrop = _backdrop(rng, stock.picture(rng), [], camera, size)
    return _populate(rng, stock, backdrop, camera, size, objects, grain)


def procedural(
    rng: Generator, stock: Stock, size: int, frames: int, objects: int, grain: np.ndarray
) -> Scene:
    """Bodies and a background from nothing (bodies borrow surfaces from photographs, where there are any)."""
    camera = motion.camera(rng, frames, size)
    surface = textures.texture(rng, size, size)
    backdrop = Backdrop(surface, (), camera, _sway(rng, frames, 0.02 * size), _shutter(rng))
    return _populate(rng, Stock(()), backdrop, camera, size, objects, grain)


def _populate(
    rng: Generator,
    stock: Stock,
    backdrop: Backdrop,
    camera: np.ndarray,
    size: int,
    objects: int,
    grain: np.ndarray,
) -> Scene:
    frames = len(camera)
    sprites = [_thing(rng, stock, size, frames) for _ in range(int(rng.integers(1, objects + 1)))]
    if rng.random() < 0.4:
        sprites.append(sprites[0])  # a look-alike
    if rng.random() < 0.3:
        sprites.append(_thing(rng, stock, size, frames))
    order = rng.permutation(len(sprites))
    layers = tuple(_layer(rng, sprites[each], camera, size, speed=0.04) for each in order)
    return Scene(backdrop, layers, tuple(range(len(layers))), Camera(rng, frames, size, grain))


def _thing(rng: Generator, stock: Stock, size: int, frames: int) -> Sprite:
    if not len(stock.pictures):
        return body(rng, size, frames, None)
    if rng.random() < 0.15:
        return body(rng, size, frames, stock.picture(rng))
    return cutout(rng, *stock.cutout(rng), size)


def _layer(rng: Generator, sprite: Sprite, camera: np.ndarray, size: int, speed: float) -> Layer:
    """Send a sprite on its way: wandering, turning, growing, now and then out of the frame and back."""
    frames = len(camera)
    height, width = sprite.rgba.shape[1:3]
    side = motion.log_uniform(rng, 0.1, 0.5) * size
    scale = min(side / max(1.0, sprite.extent), 1.6)
    pace = 0.0 if rng.random() < 0.1 else motion.log_uniform(rng, 0.003, 3 * speed) * size
    centre = rng.uniform(0.12, 0.88, 2) * size + motion.walk(rng, frames, 2, pace)
    if frames > 2 and rng.random() < 0.12:
        centre += _excursion(rng, frames, size)
    angle = rng.normal(0, 0.3) + motion.walk(rng, frames, 1, 0.15 * rng.random() ** 2)[:, 0]
    growth = np.exp(motion.walk(rng, frames, 1, 0.08 * rng.random() ** 2)[:, 0])
    stretch = motion.log_uniform(rng, 0.8, 1.25)
    path = np.stack(
        [
            view
            @ motion.similarity(x, y, turn, scale * grown, stretch)
            @ motion.shift(-width / 2, -height / 2)
            for view, (x, y), turn, grown in zip(camera, centre, angle, growth, strict=True)
        ]
    )
    shadow = rng.uniform(0.2, 0.6) if rng.random() < 0.3 else 0.0
    return Layer(sprite, path, _sway(rng, frames, 0.06 * side), _shutter(rng), shadow)


def _excursion(rng: Generator, frames: int, size: int) -> np.ndarray:
    """Out of the frame and back: (frames, 2), zero at both ends."""
    turn = rng.uniform(0, 2 * np.pi)
    away = np.sin(np.linspace(0, np.pi, frames)) ** rng.uniform(0.5, 1.5) * 1.2 * size
    return away[:, None] * (np.cos(turn), np.sin(turn))


def _sway(rng: Generator, frames: int, amplitude: float) -> motion.Elastic | None:
    return (
        None
        if rng.random() < 0.25
        else motion.Elastic(rng, frames, amplitude * rng.random(), int(rng.integers(3, 6)))
    )


def _shutter(rng: Generator) -> float:
    return float(rng.uniform(0.2, 0.7)) if rng.random() < 0.3 else 0.0


def _backdrop(
    rng: Generator,
    picture: Picture,
    kept: Sequence[int],
    camera: np.ndarray,
    size: int,
    around: int | None = None,
) -> Backdrop:
    """Frame a picture, squeezed to the square, so that the camera stays within it.

    Beyond its edge a picture is mirrored, and an object's mirror image would be another object without a mask.

    around : an instance that is in view on the first frame
    """
    height, width = picture.pixels.shape[:2]
    low, high = _seen(camera, size)
    zoom = motion.log_uniform(rng, 0.55, 1.0) * np.exp(rng.normal(0, 0.1, 2))
    if around is not None:
        x0, y0, x1, y1 = picture.boxes[around]
        zoom = np.maximum(zoom, 1.1 * np.array([(x1 - x0) / width, (y1 - y0) / height]))
    window = np.minimum(np.clip(zoom, 0.4, 1.0), size / (high - low)) * (width, height)
    per_pixel = window / size  # of the view, in pixels of the picture
    room = (width, height) - (high - low) * per_pixel
    corner = rng.random(2) * room
    mirror = rng.random() < 0.5
    if around is not None:
        middle = np.array([width - (x0 + x1) / 2 if mirror else (x0 + x1) / 2, (y0 + y1) / 2])
        corner = np.clip(middle - (rng.uniform(0.25, 0.75, 2) * size - low) * per_pixel, 0, room)
    framing = np.diag([*(1 / per_pixel), 1.0]) @ motion.shift(*(low * per_pixel - corner))
    pixels, masks = picture.pixels, tuple(picture.mask(each).view(np.uint8) * 255 for each in kept)
    if per_pixel.min() > 1.33:  # fewer pixels than the source has would alias
        shape = round(width / per_pixel.min()), round(height / per_pixel.min())
        pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        masks = tuple(cv2.resize(mask, shape, interpolation=cv2.INTER_AREA) for mask in masks)
        framing = framing @ np.diag([width / shape[0], height / shape[1], 1.0])
    if mirror:
        pixels, masks = pixels[:, ::-1], tuple(mask[:, ::-1] for mask in masks)
    return Backdrop(pixels, masks, camera @ framing, _sway(rng, len(camera), 0.02 * size), _shutter(rng))


def _seen(camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The bounds (low, high) of all that a camera ever sees, in the view of one that stands still."""
    margin = 0.03 * size  # the backdrop sways
    reach = np.array([[-margin, size + margin] * 2, [-margin] * 2 + [size + margin] * 2, [1.0] * 4])
    corners = (np.linalg.inv(camera) @ reach)[:, :2]
    return corners.min(axis=(0, 2)), corners.max(axis=(0, 2))
