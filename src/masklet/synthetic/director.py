"""Who appears in a scene and how they move: four kinds of scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from masklet.synthetic import motion, sprites
from masklet.synthetic.effects import Camera
from masklet.synthetic.scenes import Backdrop, Scene
from masklet.synthetic.sprites import Layer, Sprite
from masklet.synthetic.stock import Picture, UnlabelledVideo, VideoBackdrop, cut_video

CUTOUT = 0.02  # of its picture; smaller instances are too coarse to be pasted large
CUTOUT_SHARE = 0.3  # of things with an alpha channel among cut-outs, where there are any
LONG = 6  # frames; in a longer clip things leave and return more often
MOVED = 0.008  # the box, of its picture; smaller instances hardly show where the whole picture moves


@dataclass(frozen=True, eq=False)
class Shot:
    """What is to be filmed: squares of `size` pixels with at most `objects`, and the grain of its camera.

    Attributes:
        pace: How fast cameras and things go, against the usual.
    """

    size: int
    frames: int
    objects: int
    grain: np.ndarray
    pace: float = 1.0


class Stock:
    """What clips are made of.

    Of pictures, it knows which instances make good cut-outs: large, and not cut off by an edge.

    Args:
        cutouts: Things with an alpha channel, each a picture of one instance.
        videos: Unlabelled videos.
        weights: How often pictures of a set, whose name begins theirs, are taken; 1 where it is not named.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        cutouts: Sequence[Picture] = (),
        videos: Sequence[UnlabelledVideo] = (),
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.pictures, self.cutouts, self.videos = pictures, cutouts, videos
        shares = [(weights or {}).get(picture.name.split("/")[0], 1.0) for picture in pictures]
        self._pictures = Choice([(picture, list(range(len(picture)))) for picture in pictures], shares)
        instance_weights = [
            weight * len(picture) ** 0.5 for picture, weight in zip(pictures, shares, strict=True)
        ]
        self._instances = Choice(self._pictures.items, instance_weights)
        self._cutouts = Choice([(picture, _whole_instances(picture)) for picture in pictures], shares)
        self._moving = Choice([(picture, picture.covering(MOVED)) for picture in pictures], shares)

    def picture(self, rng: Generator) -> Picture:
        return self._pictures.draw(rng)[0]

    def video(self, rng: Generator) -> UnlabelledVideo:
        return self.videos[int(rng.integers(len(self.videos)))]

    def instance(self, rng: Generator) -> tuple[Picture, int]:
        """Any instance of any picture, a picture with many somewhat more often."""
        return self._instances.draw(rng)

    def cutout(self, rng: Generator) -> tuple[Picture, int]:
        if rng.random() < CUTOUT_SHARE and self.cutouts:
            return self.cutouts[int(rng.integers(len(self.cutouts)))], 0
        return self._cutouts.draw(rng) if self._cutouts.items else self.instance(rng)

    def moving(self, rng: Generator) -> tuple[Picture, int]:
        """An instance that shows where its whole picture is moved."""
        return self._moving.draw(rng) if self._moving.items else self.instance(rng)


class Choice:
    """Pictures with some of their instances, each picture drawn as often as its weight says."""

    def __init__(self, items: Sequence[tuple[Picture, list[int]]], weights: Sequence[float]) -> None:
        usable = [(item, weight) for item, weight in zip(items, weights, strict=True) if item[1]]
        self.items = [item for item, _ in usable]
        self._sums = np.cumsum([weight for _, weight in usable])

    def draw(self, rng: Generator) -> tuple[Picture, int]:
        place = int(np.searchsorted(self._sums, rng.random() * self._sums[-1], side="right"))
        picture, instances = self.items[min(place, len(self.items) - 1)]
        return picture, instances[int(rng.integers(len(instances)))]


def _whole_instances(picture: Picture) -> list[int]:
    height, width = picture.pixels.shape[:2]
    return [
        index
        for index, (x0, y0, x1, y1) in enumerate(picture.boxes)
        if min(x0, y0, width - x1, height - y1) > 1 and (x1 - x0) * (y1 - y0) > 2 * CUTOUT * height * width
    ]


def build_moved(rng: Generator, stock: Stock, shot: Shot) -> Scene:
    """A real picture moved whole, its instances as objects; often something passes in front of one, at times
    its own double."""
    picture, index = stock.moving(rng)
    view = motion.camera(rng, shot.frames, shot.size, shot.pace)
    others = [other for other in picture.covering(MOVED) if other != index]
    labelled = [index, *rng.permutation(others)[: shot.objects - 1].tolist()]
    backdrop = _backdrop(rng, picture, labelled, view, shot.size, around=index)
    layers: tuple[Layer, ...] = ()
    if rng.random() < 0.5:
        positions = _positions(rng, shot, meet=backdrop.middle(0) if rng.random() < 0.6 else None)
        double = rng.random() < 0.3
        sprite = (
            sprites.cutout(rng, picture, index, shot.size) if double else _random_sprite(rng, stock, shot)
        )
        layers = (_layer(rng, sprite, positions, view, shot.size),)
    return Scene(backdrop, layers, (), Camera(rng, shot.frames, shot.size, shot.grain))


def build_pasted(rng: Generator, stock: Stock, shot: Shot) -> Scene:
    """Cut-outs over a real picture, each on its own path, with look-alikes and things passing in front."""
    view = motion.camera(rng, shot.frames, shot.size, shot.pace)
    return _populate(rng, stock, _backdrop(rng, stock.picture(rng), [], view, shot.size), view, shot)


def build_filmed(rng: Generator, stock: Stock, shot: Shot) -> Scene:
    """Cut-outs over a stretch of a real video, whose camera moves as real ones do."""
    still = np.tile(np.eye(3), (shot.frames, 1, 1))
    return _populate(rng, stock, cut_video(rng, stock.video(rng), shot.frames), still, shot, real=0.95)


def build_procedural(rng: Generator, stock: Stock, shot: Shot) -> Scene:
    """Bodies and a background from nothing; bodies borrow surfaces from photographs, where there are any."""
    view = motion.camera(rng, shot.frames, shot.size, shot.pace)
    surface = sprites.texture(rng, shot.size, shot.size)
    backdrop = Backdrop(surface, (), view, _sway(rng, shot.frames, 0.02 * shot.size), _shutter(rng))
    return _populate(rng, stock, backdrop, view, shot, real=0.0)


def _populate(
    rng: Generator,
    stock: Stock,
    backdrop: Backdrop | VideoBackdrop,
    view: np.ndarray,
    shot: Shot,
    real: float = 0.85,
) -> Scene:
    """Things over a backdrop, near or far in any order.

    Args:
        real: The share of cut-outs among them.
    """
    subjects = [_random_sprite(rng, stock, shot, real) for _ in range(int(rng.integers(1, shot.objects + 1)))]
    if rng.random() < 0.4:
        subjects.append(subjects[0])  # a look-alike
    if rng.random() < 0.3:
        subjects.append(_random_sprite(rng, stock, shot, real))
    paths = [_positions(rng, shot)]
    for _ in subjects[1:]:
        paths.append(_positions(rng, shot, meet=paths[0][0] if rng.random() < 0.35 else None))
    layers = [
        _layer(rng, subjects[row], paths[row], view, shot.size) for row in rng.permutation(len(subjects))
    ]
    mirrored = [_reflection(rng, layer, view, shot.size) for layer in layers] if rng.random() < 0.2 else []
    chosen = range(len(mirrored), len(mirrored) + len(layers))
    return Scene(
        backdrop, (*mirrored, *layers), tuple(chosen), Camera(rng, shot.frames, shot.size, shot.grain)
    )


def _random_sprite(rng: Generator, stock: Stock, shot: Shot, real: float = 0.85) -> Sprite:
    if not stock.pictures:
        return sprites.procedural(rng, shot.size, shot.frames, None)
    if rng.random() >= real:
        return sprites.procedural(rng, shot.size, shot.frames, stock.picture(rng))
    picture, index = stock.cutout(rng)
    return sprites.cutout(rng, picture, index, shot.size)


def _positions(rng: Generator, shot: Shot, meet: np.ndarray | None = None) -> Float[np.ndarray, "t 2"]:
    """Where the middle of something is on each frame: wandering, standing, leaving and returning.

    Args:
        meet: A place that it passes at some time.
    """
    pace = 0.0 if rng.random() < 0.1 else motion.log_uniform(rng, 0.002, 0.1) * shot.pace * shot.size
    positions = motion.walk(rng, shot.frames, 2, pace)
    if meet is not None:
        return meet + positions - positions[int(rng.integers(shot.frames))]
    positions += rng.uniform(0.15, 0.85, 2) * shot.size
    if shot.frames > 2 and rng.random() < (0.2 if shot.frames > LONG else 0.1):
        positions += _leave_and_return(rng, shot.frames, shot.size)
    return positions


def _layer(rng: Generator, sprite: Sprite, positions: np.ndarray, view: np.ndarray, size: int) -> Layer:
    """Send a sprite on its path, turning, growing and swaying."""
    height, width = sprite.rgba.shape[1:3]
    side = motion.log_uniform(rng, 0.12, 0.6) * size
    scale = min(side / max(1.0, sprite.extent), 2.0)
    angle = rng.normal(0, 0.3) + motion.walk(rng, len(positions), 1, 0.12 * rng.random() ** 2)[:, 0]
    growth = np.exp(motion.walk(rng, len(positions), 1, 0.06 * rng.random() ** 2)[:, 0])
    stretch = motion.log_uniform(rng, 0.8, 1.25)
    middle = motion.shift(-width / 2, -height / 2)
    path = [
        seen @ motion.similarity(x, y, turn, scale * grown, stretch) @ middle
        for seen, (x, y), turn, grown in zip(view, positions, angle, growth, strict=True)
    ]
    shadow = rng.uniform(0.2, 0.6) if rng.random() < 0.3 else 0.0
    return Layer(sprite, np.stack(path), _sway(rng, len(positions), 0.06 * side), _shutter(rng), shadow)


def _reflection(rng: Generator, layer: Layer, view: np.ndarray, size: int) -> Layer:
    """What water below a layer shows of it: upside down, dimmer, rippling. It is no part of the object."""
    height, width = layer.sprite.rgba.shape[1:3]
    corners = layer.path[0] @ np.array([[0, width, 0, width], [0, 0, height, height], [1.0] * 4])
    # Where the water begins on the first frame; then it goes with the view.
    shore = corners[1].max() + rng.uniform(-0.02, 0.1) * size
    flip = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 2 * shore], [0.0, 0.0, 1.0]])
    still = view[0]
    flips = view @ np.linalg.inv(still) @ flip @ still @ np.linalg.inv(view)
    light = np.array([rng.uniform(0.6, 1.0)] * 3 + [1.0]) * rng.uniform(0.6, 1.0)
    dimmed = Sprite((layer.sprite.rgba * light).astype(np.uint8))
    ripple = motion.Elastic(rng, len(view), 0.01 * size * rng.random(), cells=6)
    return Layer(dimmed, flips @ layer.path, ripple, layer.shutter, 0.0)


def _leave_and_return(rng: Generator, frames: int, size: int) -> np.ndarray:
    """Out of the frame and back: (frames, 2), zero at both ends."""
    turn = rng.uniform(0, 2 * np.pi)
    away = np.sin(np.linspace(0, np.pi, frames)) ** rng.uniform(0.5, 1.5) * 1.2 * size
    return away[:, None] * (np.cos(turn), np.sin(turn))


def _sway(rng: Generator, frames: int, amplitude: float) -> motion.Elastic | None:
    if rng.random() < 0.25:
        return None
    return motion.Elastic(rng, frames, amplitude * rng.random(), cells=int(rng.integers(3, 6)))


def _shutter(rng: Generator) -> float:
    return float(rng.uniform(0.2, 0.7)) if rng.random() < 0.3 else 0.0


def _backdrop(
    rng: Generator,
    picture: Picture,
    objects: Sequence[int],
    camera: np.ndarray,
    size: int,
    around: int | None = None,
) -> Backdrop:
    """Frame a picture, squeezed to the square, so that the camera stays within it.

    Beyond its edge a picture is mirrored, and an object's mirror image would be one more, without a mask.

    Args:
        around: An instance that is in view on the first frame.
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
    pixels, masks = picture.pixels, [picture.mask(row).view(np.uint8) * 255 for row in objects]
    if per_pixel.min() > 1.33:  # fewer pixels than the source has would alias
        shape = round(width / per_pixel.min()), round(height / per_pixel.min())
        pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        masks = [np.asarray(cv2.resize(mask, shape, interpolation=cv2.INTER_AREA)) for mask in masks]
        framing = framing @ np.diag([width / shape[0], height / shape[1], 1.0])
    if mirror:
        pixels, masks = pixels[:, ::-1], [mask[:, ::-1] for mask in masks]
    sway = _sway(rng, len(camera), 0.02 * size)
    return Backdrop(pixels, tuple(masks), camera @ framing, sway, _shutter(rng))


def _seen(camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The bounds (low, high) of all that a camera ever sees, in the view of one that stands still."""
    margin = 0.03 * size  # the backdrop sways
    reach = np.array([[-margin, size + margin] * 2, [-margin] * 2 + [size + margin] * 2, [1.0] * 4])
    corners = (np.linalg.inv(camera) @ reach)[:, :2]
    return corners.min(axis=(0, 2)), corners.max(axis=(0, 2))
