"""Endless labelled clips, composed on the fly: real pictures moved whole, cut-outs and bodies pasted over
them, and stills.

A clip is a function of the composer's seed and the clip's number, so any clip of a run can be looked at
again. Nothing here knows about training; without pictures everything is procedural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.random import Generator

from masklet.boxes import box_area, tight_box
from masklet.datasets.types import Clip
from masklet.synthetic import director
from masklet.synthetic.director import Stock
from masklet.synthetic.effects import make_grain
from masklet.synthetic.scenes import still
from masklet.synthetic.stock import Picture


@dataclass(frozen=True)
class Mix:
    """How often each kind of clip is made, as relative weights.

    Attributes:
        still: An augmented crop of one picture; only for clips of one frame.
        moved: A real picture moved whole, its instances as objects, things passing before it.
        pasted: Cut-outs over a real picture, each on its own path.
        procedural: Bodies and backgrounds from nothing.
        filmed: Cut-outs over a stretch of a real video.
    """

    still: float
    moved: float
    pasted: float
    procedural: float
    filmed: float = 0.0


THIN = 4  # a thing that fills less of its box than a fourth is thin
STILLS = Mix(still=0.85, moved=0.0, pasted=0.12, procedural=0.03)
CLIPS = Mix(still=0.0, moved=0.45, pasted=0.47, procedural=0.08)


class Composer:
    """Makes clip after clip.

    Args:
        stock: What real clips are made of: pictures, or these and more; may be empty.
        size, frames: Of every clip.
        objects: The most that a clip labels; it always has at least one, visible on its first frame.
        smallest: Part of the first frame that an object must cover to be labelled.
        pace: How fast cameras and things go, against the usual.
    """

    def __init__(
        self,
        stock: Stock | Sequence[Picture],
        size: int,
        frames: int,
        objects: int,
        seed: int,
        mix: Mix | None = None,
        smallest: float = 0.002,
        pace: float = 1.0,
    ) -> None:
        self.seed, self.smallest = seed, smallest
        stock = stock if isinstance(stock, Stock) else Stock(stock)
        mix = mix or (STILLS if frames == 1 else CLIPS)
        if frames > 1 and mix.still:
            raise ValueError(
                f"stills are clips of one frame. Got frames={frames} and a weight of {mix.still} for stills."
            )
        weights = np.array(astuple(mix)) * (*[bool(stock.pictures)] * 3, True, bool(stock.videos))
        if weights.sum() <= 0:
            raise ValueError(
                "without pictures only procedural clips can be made, and the mix gives them no weight."
            )
        self.weights = weights / weights.sum()
        self.stock = stock
        self.shot = director.Shot(size, frames, objects, make_grain(size + 128), pace)

    def clip(self, number: int) -> Clip:
        """The clip of that number; the same one every time."""
        rng = np.random.default_rng([self.seed, number])
        while True:  # a few in a hundred show no object on the first frame
            clip = self._keep_visible(rng, self._compose(rng))
            if clip.objects:
                return clip

    def _compose(self, rng: Generator) -> Clip:
        kind = rng.choice(len(self.weights), p=self.weights)
        if kind == 0:
            picture, index = self.stock.instance(rng)
            return still(rng, picture, index, self.shot.size, self.shot.grain)
        build = (
            director.build_moved,
            director.build_pasted,
            director.build_procedural,
            director.build_filmed,
        )[kind - 1]
        return build(rng, self.stock, self.shot).film(self.shot.size)

    def _large_enough(self, mask: np.ndarray) -> bool:
        """Thin things count by the box that they span."""
        area = mask.mean()
        if area < self.smallest / THIN:
            return False
        return bool(area >= self.smallest or _box_area(mask) >= THIN * self.smallest)

    def _keep_visible(self, rng: Generator, clip: Clip) -> Clip:
        """Only objects that are neither specks nor everything on the first frame, no more than are asked for.

        Where one is but a speck later, it counts as hidden.
        """
        area = clip.masks.mean(axis=(2, 3))
        enough = np.array([self._large_enough(mask) for mask in clip.masks[0]], dtype=bool)
        usable = np.flatnonzero(enough & (area[0] <= 0.9))
        if len(usable) > self.shot.objects:
            usable = np.sort(rng.choice(usable, self.shot.objects, replace=False))
        masks = clip.masks[:, usable].copy()
        masks[area[:, usable] < 1e-4] = False
        return Clip(clip.images, masks)


def _box_area(mask: np.ndarray) -> float:
    """The part of a frame that the box around a mask takes."""
    return box_area(tight_box(mask) or (0, 0, 0, 0)) / mask.size
