"""What is filmed: a backdrop with layers over it, frame by frame; or one augmented frame of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator

from masklet.datasets.types import Clip
from masklet.synthetic import motion
from masklet.synthetic.effects import Camera
from masklet.synthetic.sprites import Layer, darken, paste, smear
from masklet.synthetic.stock import Picture, VideoBackdrop, resize_mask

WHOLE, CLOSE = 0.3, 0.35  # how often a still is the whole picture, and how often a close look at one thing


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A picture moved whole, and the masks of those of its instances that are objects."""

    pixels: UInt8[np.ndarray, "h w 3"]
    masks: tuple[UInt8[np.ndarray, "h w"], ...]
    path: Float[np.ndarray, "t 3 3"]  # picture to view
    elastic: motion.Elastic | None
    shutter: float

    def __len__(self) -> int:
        return len(self.path)

    def middle(self, index: int) -> Float[np.ndarray, " 2"]:
        """Where an object's middle is in the view on the first frame."""
        moments = cv2.moments(self.masks[index], binaryImage=True)
        centre = np.array([moments["m10"], moments["m01"], moments["m00"]]) / moments["m00"]
        return (self.path[0] @ centre)[:2]

    def draw(self, frame: int, size: int) -> tuple[UInt8[np.ndarray, "s s 3"], list[Bool[np.ndarray, "s s"]]]:
        field = None if self.elastic is None else self.elastic.field(frame, size, size)
        maps = motion.lookup(self.path[frame], (0, 0, size, size), field)
        image = cv2.remap(self.pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        masks = [cv2.remap(mask, *maps, cv2.INTER_LINEAR) > 127 for mask in self.masks]
        middle = self.pixels.shape[1] / 2, self.pixels.shape[0] / 2
        return smear(image, self.shutter * motion.speed(self.path, frame, middle)), masks


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything in front of the camera.

    Attributes:
        layers: From far to near.
        chosen: The layers that are objects, besides those of the backdrop.
    """

    backdrop: Backdrop | VideoBackdrop
    layers: tuple[Layer, ...]
    chosen: tuple[int, ...]
    camera: Camera

    def film(self, size: int) -> Clip:
        images, masks = zip(*(self._shoot(frame, size) for frame in range(len(self.backdrop))), strict=True)
        return Clip(np.stack(images), np.stack(masks))

    def _shoot(self, frame: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        image, masks = self.backdrop.draw(frame, size)
        for index, layer in enumerate(self.layers):
            mask = np.zeros((size, size), dtype=bool)
            drawn = layer.draw(frame, size)
            if drawn is not None:
                window, rgba = drawn
                x0, y0, x1, y1 = window
                if layer.shadow:
                    darken(image, window, rgba[..., 3], layer.shadow)
                paste(image, window, rgba)
                solid = rgba[..., 3] > 127
                for behind in masks:
                    behind[y0:y1, x0:x1] &= ~solid
                mask[y0:y1, x0:x1] = solid
            if index in self.chosen:
                masks.append(mask)
        stacked = np.stack(masks) if masks else np.zeros((0, size, size), dtype=bool)
        return self.camera.record(image, frame), stacked


def still(rng: Generator, picture: Picture, index: int, size: int, grain: np.ndarray) -> Clip:
    """A crop around an instance (and whatever else it holds), squeezed to the square as the model sees it.

    The first object is the instance asked for; the others follow in the picture's order.
    """
    x0, y0, x1, y1 = crop(rng, picture, index)
    image = _squeeze(picture.pixels[y0:y1, x0:x1], size)
    masks = []
    for instance in (index, *(other for other in range(len(picture)) if other != index)):
        bx0, by0, bx1, by1 = picture.boxes[instance]
        if bx0 < x1 and bx1 > x0 and by0 < y1 and by1 > y0:
            inside = picture.mask(instance)[y0:y1, x0:x1].view(np.uint8) * 255
            masks.append(_squeeze(inside, size))
    if rng.random() < 0.25:
        half = size / 2
        turn = motion.similarity(
            half,
            half,
            rng.normal(0, 0.2),
            motion.log_uniform(rng, 0.8, 1.2),
            motion.log_uniform(rng, 0.9, 1.1),
        )
        matrix = (turn @ motion.shift(-half, -half))[:2]
        image = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
        masks = [cv2.warpAffine(mask, matrix, (size, size)) for mask in masks]
    objects = np.stack(masks) > 127
    if rng.random() < 0.5:
        image, objects = np.ascontiguousarray(image[:, ::-1]), objects[..., ::-1]
    image = Camera(rng, 1, size, grain).record(image, 0)
    return Clip(image[None], np.ascontiguousarray(objects)[None])


def _squeeze(pixels: np.ndarray, size: int) -> np.ndarray:
    """Linear where pixels are made up: the mean over an area would show them as blocks."""
    shrinks = min(pixels.shape[:2]) >= size
    return np.asarray(
        cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )


def plain(picture: Picture, size: int, smallest: float = 0.0) -> Clip:
    """A picture as it is, squeezed to the square, with all its instances: for validation.

    Args:
        smallest: Part of the picture that an instance must cover.
    """
    image = cv2.resize(picture.pixels, (size, size), interpolation=cv2.INTER_AREA)
    masks = [mask for instance in range(len(picture)) if (mask := picture.mask(instance)).mean() >= smallest]
    return Clip(image[None], np.stack([resize_mask(mask, (size, size)) for mask in masks])[None])


def crop(rng: Generator, picture: Picture, index: int) -> tuple[int, int, int, int]:
    """A random window that holds most of an instance: the whole picture, some part of it, or a close look."""
    height, width = picture.pixels.shape[:2]
    chance = rng.random()
    if chance < WHOLE:
        return 0, 0, width, height
    x0, y0, x1, y1 = picture.boxes[index]
    if chance < WHOLE + CLOSE:
        near = motion.log_uniform(rng, 1.2, 3.0)
        sides = [near * motion.log_uniform(rng, 0.8, 1.25) * reach for reach in (x1 - x0, y1 - y0)]
    else:
        sides = [
            max(span * motion.log_uniform(rng, 0.35, 1.0), reach * rng.uniform(0.8, 1.6))
            for span, reach in ((width, x1 - x0), (height, y1 - y0))
        ]
    wide, high = (int(np.clip(side, 16, span)) for side, span in zip(sides, (width, height), strict=True))
    left, top = (
        int(
            np.clip(
                rng.uniform(min(end - long, start), max(end - long, start)) + rng.normal(0, 0.05) * long,
                0,
                span - long,
            )
        )
        for start, end, long, span in ((x0, x1, wide, width), (y0, y1, high, height))
    )
    return left, top, left + wide, top + high
