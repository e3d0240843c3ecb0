"""Training clips from labelled videos and images. Each clip is a function of its number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from masklet.boxes import tight_box
from masklet.datasets import DatasetItem, LabelledFrames
from masklet.datasets.types import Clip
from masklet.errors import MediaError
from masklet.synthetic import ClipMix, Composer
from masklet.synthetic.assets import pack_image, resize_mask
from masklet.synthetic.motion import log_uniform
from masklet.train.recipe import ClipSource
from masklet.zoom import Zoom

ATTEMPTS = 20
ZOOM = Zoom()
MIN_VISIBLE_AREA = 0.002  # minimum fraction of a window for labelling an object at its edge
MOVED = ClipMix(still=0.0, moved=1.0, pasted=0.0, procedural=0.0)

log = logging.getLogger(__name__)

OUTSIDE = (124, 116, 104)  # the mean colour, which becomes zero when normalised
GREY = np.array([0.299, 0.587, 0.114])
Jitter = tuple[float, float, float]  # brightness, contrast, saturation: each changes by up to this fraction


class ClipSampler:
    """Draws clips, resized to the model's square. An image becomes a clip by synthetic motion.

    Args:
        items: The videos and images, drawn with equal probability.
        size, frames: Size and length of every clip.
        objects: The maximum per clip, chosen from those visible on its first frame.
        seed: Determines all clips, together with their numbers.
        augmentation: By default `Augmentation()`.
        zoom_share: The fraction of stills that are a window around a small object; for a network that zooms,
            whose input also has such windows.
    """

    def __init__(
        self,
        items: Sequence[DatasetItem],
        size: int,
        frames: int,
        objects: int,
        seed: int,
        augmentation: Augmentation | None = None,
        zoom_share: float = 0.0,
    ) -> None:
        if not items:
            raise ValueError("there are no videos or images for training.")
        self.items, self.size, self.frames, self.objects = items, size, frames, objects
        self.seed, self.augmentation = seed, augmentation or Augmentation()
        self.zoom_share = zoom_share if frames == 1 else 0.0

    def clip(self, number: int) -> Clip:
        """The clip with this number, always the same.

        Items that cannot be read are logged and skipped.
        """
        rng = np.random.default_rng([self.seed, number])
        for _ in range(ATTEMPTS):
            item = self.items[int(rng.integers(len(self.items)))]
            try:
                clip = self._draw(item, rng)
            except MediaError as error:
                log.warning("skipped %s: %s", item.name, error)
                continue
            if clip is not None:
                return replace(self.augmentation(clip, rng), name=item.name)
        raise MediaError(
            f"{ATTEMPTS} videos or images in a row could not be used, the last {item.name}: each is "
            "unreadable or has no object."
        )

    def _draw(self, item: DatasetItem, rng: Generator) -> Clip | None:
        video = item.open()
        if len(video) == 1 and self.frames > 1:
            return self._animate(item.name, video, rng)
        start = int(rng.integers(max(1, len(video) - self.frames + 1)))
        ids = list(video.objects(start))
        if (
            self.zoom_share
            and rng.random() < self.zoom_share
            and (still := self._zoomed_still(video, start, ids, rng))
        ):
            return still
        first = self._masks(video, start, rng.permutation(ids).tolist())
        visible = [id for id, mask in first.items() if mask.any()][: self.objects]
        if not visible:
            return None
        images, masks = [], []
        for frame in range(start, start + self.frames):
            frame = _reflect_frame(frame, len(video))
            by_id = first if frame == start else self._masks(video, frame, visible)
            images.append(
                cv2.resize(video.image(frame), (self.size, self.size), interpolation=cv2.INTER_AREA)
            )
            masks.append([by_id[id] for id in visible])
        return Clip(np.stack(images), np.array(masks))

    def _zoomed_still(
        self, video: LabelledFrames, frame: int, ids: Sequence[int], rng: Generator
    ) -> Clip | None:
        """A frame in the window of zoom around one of its objects; None if there is no such window."""
        masks = video.masks(frame, ids)
        boxes = [box for mask in masks if (box := tight_box(mask)) is not None]
        if not boxes:
            return None
        zoom = replace(ZOOM, margin=ZOOM.margin * log_uniform(rng, 0.75, 1.5))
        window = zoom.window(boxes[int(rng.integers(len(boxes)))], masks[0].shape)
        if window is None:
            return None
        x0, y0, x1, y1 = window
        size = (self.size, self.size)
        inside = [resize_mask(mask[y0:y1, x0:x1], size) for mask in masks]
        visible = [mask for mask in inside if mask.mean() >= MIN_VISIBLE_AREA]
        if not visible:
            return None
        image = cv2.resize(video.image(frame)[y0:y1, x0:x1], size, interpolation=cv2.INTER_LINEAR)
        chosen = rng.permutation(len(visible))[: self.objects]
        return Clip(image[None], np.stack([visible[row] for row in chosen])[None])

    def _masks(self, video: LabelledFrames, frame: int, ids: Sequence[int]) -> dict[int, np.ndarray]:
        size = (self.size, self.size)
        return {id: resize_mask(mask, size) for id, mask in zip(ids, video.masks(frame, ids), strict=True)}

    def _animate(self, name: str, video: LabelledFrames, rng: Generator) -> Clip | None:
        """An image as a clip, with the synthetic motion of the composer."""
        masks = video.masks(0, video.objects(0))
        image = pack_image(name, video.image(0), list(masks))
        if not len(image):
            return None
        seed = int(rng.integers(2**31))
        return Composer([image], self.size, self.frames, self.objects, seed, MOVED).clip(0)


def _reflect_frame(frame: int, count: int) -> int:
    """A frame number beyond the last, reflected into the video.

    >>> [_reflect_frame(frame, 3) for frame in range(6)]
    [0, 1, 2, 1, 0, 1]
    """
    if count == 1:
        return 0
    turn = frame % (2 * count - 2)
    return min(turn, 2 * count - 2 - turn)


class WeightedSampler:
    """Several clip sources as one, drawn by weight. All must make clips of the same size and length."""

    def __init__(self, sources: Sequence[tuple[float, ClipSource]], seed: int) -> None:
        weights = np.array([weight for weight, _ in sources], dtype=float)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"weights must be 0 or above, and not all 0. Got {weights.tolist()}.")
        self.weights = weights / weights.sum()
        self.sources, self.seed = [source for _, source in sources], seed

    def clip(self, number: int) -> Clip:
        """The clip with this number, always the same."""
        rng = np.random.default_rng([self.seed, number])
        return self.sources[int(rng.choice(len(self.sources), p=self.weights))](number)


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges of the augmentations; the defaults are SAM 2's for fine-tuning on videos.

    Attributes:
        rotation, shear: Maximum in degrees, in both directions.
        colour: Jitter of the whole clip.
        flicker: Jitter of each frame.
        mosaic: The clip four times in one image; one of them has the labels, the others are distractors.
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
    """Rotate and shear about the centre; pixels from outside the image get one colour."""
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
    """The clip four times, two by two, each mirrored or not; one of them keeps its masks."""
    height, width = clip.images.shape[1:3]
    half, place = (width // 2, height // 2), rng.integers(2, size=2)
    images = np.zeros_like(clip.images)
    masks = np.zeros_like(clip.masks)
    for row in range(2):
        for column in range(2):
            step = -1 if rng.random() < 0.5 else 1
            rows, columns = (
                slice(at * length, (at + 1) * length) for at, length in ((row, half[1]), (column, half[0]))
            )
            for frame, image in enumerate(clip.images):
                images[frame, rows, columns] = cv2.resize(image, half, interpolation=cv2.INTER_AREA)[
                    :, ::step
                ]
            if (row, column) == tuple(place):
                small = clip.masks[..., : half[1] * 2 : 2, : half[0] * 2 : 2]
                masks[..., rows, columns] = small[..., ::step]
    return Clip(images, masks)
