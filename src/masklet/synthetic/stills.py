"""Stills: random crops of images, augmented for training, and whole images for validation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from masklet.datasets.types import Clip
from masklet.synthetic import motion
from masklet.synthetic.assets import PackedImage, resize_mask, resize_to_square
from masklet.synthetic.effects import CameraEffects

WHOLE_SHARE, CLOSE_UP_SHARE = 0.3, 0.35  # shares of stills with the whole image, or with a close-up


def make_augmented_still(
    rng: Generator, packed: PackedImage, index: int, size: int, grain: np.ndarray
) -> Clip:
    """Make a still from a random crop around an instance, resized to the square and augmented.

    The first object is the instance `index`; the others follow in the image's order.
    """
    x0, y0, x1, y1 = random_crop(rng, packed, index)
    image = resize_to_square(packed.pixels[y0:y1, x0:x1], size)
    masks = []
    for instance in (index, *(other for other in range(len(packed)) if other != index)):
        bx0, by0, bx1, by1 = packed.boxes[instance]
        if bx0 < x1 and bx1 > x0 and by0 < y1 and by1 > y0:
            inside = packed.mask(instance)[y0:y1, x0:x1].view(np.uint8) * 255
            masks.append(resize_to_square(inside, size))
    if rng.random() < 0.25:
        half = size / 2
        turn = motion.similarity(
            half,
            half,
            rng.normal(0, 0.2),
            motion.log_uniform(rng, 0.8, 1.2),
            motion.log_uniform(rng, 0.9, 1.1),
        )
        matrix = (turn @ motion.translation(-half, -half))[:2]
        image = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
        masks = [cv2.warpAffine(mask, matrix, (size, size)) for mask in masks]
    objects = np.stack(masks) > 127
    if rng.random() < 0.5:
        image, objects = np.ascontiguousarray(image[:, ::-1]), objects[..., ::-1]
    image = CameraEffects(rng, 1, size, grain).apply(image, 0)
    return Clip(image[None], np.ascontiguousarray(objects)[None])


def make_still(packed: PackedImage, size: int, min_area: float = 0.0) -> Clip:
    """Make a still for validation: a whole image with its instances, resized to the square.

    Args:
        min_area: Share of the image that an instance must cover.
    """
    image = cv2.resize(packed.pixels, (size, size), interpolation=cv2.INTER_AREA)
    masks = [mask for instance in range(len(packed)) if (mask := packed.mask(instance)).mean() >= min_area]
    return Clip(image[None], np.stack([resize_mask(mask, (size, size)) for mask in masks])[None])


def random_crop(rng: Generator, packed: PackedImage, index: int) -> tuple[int, int, int, int]:
    """A random window (x0, y0, x1, y1) that contains most of an instance: the image, a part or a close-up."""
    height, width = packed.pixels.shape[:2]
    chance = rng.random()
    if chance < WHOLE_SHARE:
        return 0, 0, width, height
    x0, y0, x1, y1 = packed.boxes[index]
    if chance < WHOLE_SHARE + CLOSE_UP_SHARE:
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
