"""Clips out of footage, and out of several sources at once. Each is a function of its number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator

from masklet.datasets import DatasetItem, LabelledFrames
from masklet.errors import MediaError
from masklet.synthetic import Composer, Mix
from masklet.synthetic.clip import Clip
from masklet.synthetic.pictures import make_picture, resize_mask
from masklet.train.augment import Augmentation
from masklet.train.recipe import Source

ATTEMPTS = 20
MOVED = Mix(still=0.0, moved=1.0, pasted=0.0, procedural=0.0)

log = logging.getLogger(__name__)


class Sampler:
    """Draws clips from footage, squeezed to the square; a picture becomes a clip by being moved.

    footage : what to draw from, each as likely
    size, frames : of every clip
    objects : the most that a clip labels, chosen from those in sight on its first frame
    """

    def __init__(
        self,
        footage: Sequence[DatasetItem],
        size: int,
        frames: int,
        objects: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        if not footage:
            raise ValueError("there is no footage to draw from.")
        self.footage, self.size, self.frames, self.objects = footage, size, frames, objects
        self.seed, self.augmentation = seed, augmentation or Augmentation()

    def clip(self, number: int) -> Clip:
        """The clip of that number; the same one every time.

        What cannot be read is named in the log and passed over.
        """
        rng = np.random.default_rng([self.seed, number])
        for _ in range(ATTEMPTS):
            footage = self.footage[int(rng.integers(len(self.footage)))]
            try:
                clip = self._draw(footage, rng)
            except MediaError as error:
                log.warning("%s is passed over: %s", footage.name, error)
                continue
            if clip is not None:
                return replace(self.augmentation(clip, rng), name=footage.name)
        raise MediaError(
            f"{ATTEMPTS} pieces of footage in a row could not be used, the last {footage.name}: "
            "each is unreadable or shows no object."
        )

    def _draw(self, footage: DatasetItem, rng: Generator) -> Clip | None:
        reel = footage.open()
        if len(reel) == 1 and self.frames > 1:
            return self._moved(footage.name, reel, rng)
        start = int(rng.integers(max(1, len(reel) - self.frames + 1)))
        ids = list(reel.objects(start))
        first = self._masks(reel, start, rng.permutation(ids).tolist())
        seen = [id for id, mask in first.items() if mask.any()][: self.objects]
        if not seen:
            return None
        images, masks = [], []
        for frame in range(start, start + self.frames):
            frame = _there_and_back(frame, len(reel))
            shown = first if frame == start else self._masks(reel, frame, seen)
            images.append(cv2.resize(reel.image(frame), (self.size, self.size), interpolation=cv2.INTER_AREA))
            masks.append([shown[id] for id in seen])
        return Clip(np.stack(images), np.array(masks))

    def _masks(self, reel: LabelledFrames, frame: int, ids: Sequence[int]) -> dict[int, np.ndarray]:
        size = (self.size, self.size)
        return {id: resize_mask(mask, size) for id, mask in zip(ids, reel.masks(frame, ids), strict=True)}

    def _moved(self, name: str, reel: LabelledFrames, rng: Generator) -> Clip | None:
        """A picture as a clip: moved whole, as the composer does it."""
        masks = reel.masks(0, reel.objects(0))
        picture = make_picture(name, reel.image(0), list(masks))
        if not len(picture):
            return None
        seed = int(rng.integers(2**31))
        return Composer([picture], self.size, self.frames, self.objects, seed, MOVED).clip(0)


def _there_and_back(frame: int, count: int) -> int:
    """A frame beyond the last as one on the way back, and so on to and fro.

    >>> [_there_and_back(frame, 3) for frame in range(6)]
    [0, 1, 2, 1, 0, 1]
    """
    if count == 1:
        return 0
    turn = frame % (2 * count - 2)
    return min(turn, 2 * count - 2 - turn)


class Mixture:
    """Several sources as one, each with a weight. All must make clips of the same size and length."""

    def __init__(self, sources: Sequence[tuple[float, Source]], seed: int) -> None:
        weights = np.array([weight for weight, _ in sources], dtype=float)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"a mixture needs weights of 0 and above, not all 0. Got {weights.tolist()}.")
        self.weights = weights / weights.sum()
        self.sources, self.seed = [source for _, source in sources], seed

    def clip(self, number: int) -> Clip:
        rng = np.random.default_rng([self.seed, number])
        return self.sources[int(rng.choice(len(self.sources), p=self.weights))](number)
