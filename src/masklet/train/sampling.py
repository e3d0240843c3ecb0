"""Training clips from labelled videos and pictures. Each clip is a function of its number."""

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
from masklet.train.recipe import ClipSource

ATTEMPTS = 20
MOVED = Mix(still=0.0, moved=1.0, pasted=0.0, procedural=0.0)

log = logging.getLogger(__name__)


class Sampler:
    """Draws clips, resized to the model's square; a picture becomes a clip by synthetic motion.

    items : the videos and pictures, drawn with equal probability
    size, frames : of every clip
    objects : the maximum per clip, chosen from those visible on its first frame
    """

    def __init__(
        self,
        items: Sequence[DatasetItem],
        size: int,
        frames: int,
        objects: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        if not items:
            raise ValueError("there are no videos or pictures to draw clips from.")
        self.items, self.size, self.frames, self.objects = items, size, frames, objects
        self.seed, self.augmentation = seed, augmentation or Augmentation()

    def clip(self, number: int) -> Clip:
        """The clip of that number; the same one every time.

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
            f"{ATTEMPTS} videos or pictures in a row could not be used, the last {item.name}: "
            "each is unreadable or shows no object."
        )

    def _draw(self, item: DatasetItem, rng: Generator) -> Clip | None:
        video = item.open()
        if len(video) == 1 and self.frames > 1:
            return self._animate(item.name, video, rng)
        start = int(rng.integers(max(1, len(video) - self.frames + 1)))
        ids = list(video.objects(start))
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

    def _masks(self, video: LabelledFrames, frame: int, ids: Sequence[int]) -> dict[int, np.ndarray]:
        size = (self.size, self.size)
        return {id: resize_mask(mask, size) for id, mask in zip(ids, video.masks(frame, ids), strict=True)}

    def _animate(self, name: str, video: LabelledFrames, rng: Generator) -> Clip | None:
        """A picture as a clip, with the synthetic motion of the composer."""
        masks = video.masks(0, video.objects(0))
        picture = make_picture(name, video.image(0), list(masks))
        if not len(picture):
            return None
        seed = int(rng.integers(2**31))
        return Composer([picture], self.size, self.frames, self.objects, seed, MOVED).clip(0)


def _reflect_frame(frame: int, count: int) -> int:
    """A frame number beyond the last, reflected into the video.

    >>> [_reflect_frame(frame, 3) for frame in range(6)]
    [0, 1, 2, 1, 0, 1]
    """
    if count == 1:
        return 0
    turn = frame % (2 * count - 2)
    return min(turn, 2 * count - 2 - turn)


class Mixture:
    """Several sources as one, drawn by weight. All must make clips of the same size and length."""

    def __init__(self, sources: Sequence[tuple[float, ClipSource]], seed: int) -> None:
        weights = np.array([weight for weight, _ in sources], dtype=float)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"a mixture needs weights of 0 and above, not all 0. Got {weights.tolist()}.")
        self.weights = weights / weights.sum()
        self.sources, self.seed = [source for _, source in sources], seed

    def clip(self, number: int) -> Clip:
        """The clip of that number, always the same."""
        rng = np.random.default_rng([self.seed, number])
        return self.sources[int(rng.choice(len(self.sources), p=self.weights))](number)
