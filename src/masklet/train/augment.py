"""Augmentation that is the same on every frame of a clip, so that motion stays motion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from masklet.synthetic.clip import Clip

OUTSIDE = (124, 116, 104)  # the mean colour, which the network sees as zeros
GREY = np.array([0.299, 0.587, 0.114])

Jitter = tuple[float, float, float]  # brightness, contrast, saturation: each changes by up to this fraction


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges of the augmentations; the defaults are SAM 2's for fine-tuning on videos.

    rotation, shear : up to so many degrees, in both directions
    colour : jitter of the whole clip
    flicker : jitter of each frame
    mosaic : the clip four times in one picture; one of them has the labels, the others are distractors
    """

    flip: float = 0.5
    reverse: float = 0.5
    rotation: float = 25.0
    shear: float = 20.0
    colour: Jitter = (0.1, 0.03, 0.03)
    flicker: Jitter = (0.1, 0.05, 0.05)
    grey: float = 0.05
    mosaic: float = 0.0

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        """Augment a clip. A change that would lose an object of the first frame is skipped."""
        if rng.random() < self.reverse and clip.masks[-1].any(axis=(1, 2)).all():
            clip = Clip(clip.images[::-1], clip.masks[::-1])
        if rng.random() < self.flip:
            clip = Clip(clip.images[:, :, ::-1], clip.masks[..., ::-1])
        moved = _affine(clip, rng, self.rotation, self.shear)
        if moved.masks[0].any(axis=(1, 2)).all():
            clip = moved
        clip = self._recolour(clip, rng)
        if rng.random() < self.mosaic:
            clip = _mosaic(clip, rng)
        return Clip(np.ascontiguousarray(clip.images), np.ascontiguousarray(clip.masks))

    def _recolour(self, clip: Clip, rng: Generator) -> Clip:
        constant = _colours(rng, self.colour)
        if rng.random() < self.grey:
            constant = _saturation(0.0) @ constant
        changes = [_colours(rng, self.flicker) @ constant for _ in clip.images]
        images = [
            cv2.transform(image, change[:3]) for image, change in zip(clip.images, changes, strict=True)
        ]
        return replace(clip, images=np.stack(images))


def _affine(clip: Clip, rng: Generator, rotation: float, shear: float) -> Clip:
    """Rotate and shear about the centre; what comes from outside the picture gets one colour."""
    height, width = clip.images.shape[1:3]
    angle, slant = np.deg2rad(rng.uniform(-1, 1, 2) * (rotation, shear))
    rotated = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotated @ [[1.0, np.tan(slant)], [0.0, 1.0]]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([matrix, centre - matrix @ centre])
    images = [cv2.warpAffine(image, matrix, (width, height), borderValue=OUTSIDE) for image in clip.images]
    flat = clip.masks.reshape(-1, height, width).astype(np.uint8) * 255
    masks = [cv2.warpAffine(mask, matrix, (width, height)) > 127 for mask in flat]
    return Clip(np.stack(images), np.stack(masks).reshape(clip.masks.shape))


def _colours(rng: Generator, jitter: Jitter) -> Float[np.ndarray, "4 4"]:
    """A change of colours as a matrix on (r, g, b, 1)."""
    brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * jitter
    change = np.diag([brightness * contrast] * 3 + [1.0])
    change[:3, 3] = 128 * (1 - contrast)
    return _saturation(saturation) @ change


def _saturation(amount: float) -> Float[np.ndarray, "4 4"]:
    change = np.eye(4)
    change[:3, :3] = amount * np.eye(3) + (1 - amount) * GREY
    return change


def _mosaic(clip: Clip, rng: Generator) -> Clip:
    """Two by two, each mirrored or not."""
    height, width = clip.images.shape[1:3]
    half, place = (width // 2, height // 2), rng.integers(2, size=2)
    images = np.zeros_like(clip.images)
    masks = np.zeros_like(clip.masks)
    for row in range(2):
        for column in range(2):
            step = -1 if rng.random() < 0.5 else 1
            rows, columns = (
                slice(at * long, (at + 1) * long) for at, long in ((row, half[1]), (column, half[0]))
            )
            for frame, image in enumerate(clip.images):
                images[frame, rows, columns] = cv2.resize(image, half, interpolation=cv2.INTER_AREA)[
                    :, ::step
                ]
            if (row, column) == tuple(place):
                small = clip.masks[..., : half[1] * 2 : 2, : half[0] * 2 : 2]
                masks[..., rows, columns] = small[..., ::step]
    return Clip(images, masks)
