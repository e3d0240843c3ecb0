"""Composed clips for the loop, in which everything that moves by itself is labelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from masklet.datasets.types import Clip
from masklet.synthetic import director
from masklet.synthetic.cells import compose_cells
from masklet.synthetic.director import Shot, Stock
from masklet.synthetic.effects import make_grain

World = Literal["cells", "things"]

THINGS = 4  # in a clip, at most; and up to two more
VISIBLE, WHOLE = 0.004, 0.6  # shares of the first frame between which a thing is an object to label
PACE = 0.15  # of the composer's things and cameras: calm clips


@dataclass(frozen=True)
class ClipMaker:
    """Composed clips, in which everything that moves by itself is labelled.

    Attributes:
        world: What they show: "cells", or "things" as nano was trained on.
        size: Side of the frames in pixels.
        frames: Length of the clips.
        stock: Pictures to compose things from. Without any, bodies and backgrounds come from nothing.
    """

    world: World
    size: int
    frames: int
    stock: Stock = field(default_factory=lambda: Stock(()))

    def to_json(self) -> dict[str, Any]:
        pictures = sorted(picture.name for picture in self.stock.pictures)
        return {"world": self.world, "size": self.size, "frames": self.frames, "pictures": pictures}

    def clips(self, series: int, count: int) -> list[Clip]:
        """The first clips of a series; the same ones every time."""
        return [self._clip(np.random.default_rng([15, series, number])) for number in range(count)]

    def _clip(self, rng: np.random.Generator) -> Clip:
        while True:  # a few in a hundred show no object on the first frame
            clip = self._compose(rng)
            share = clip.masks[0].mean(axis=(1, 2))
            is_object = (share > VISIBLE) & (share < WHOLE)
            if is_object.any():
                return Clip(clip.images, clip.masks[:, is_object])

    def _compose(self, rng: np.random.Generator) -> Clip:
        if self.world == "cells":
            return compose_cells(rng, self.size, self.frames)
        shot = Shot(self.size, self.frames, THINGS, make_grain(self.size + 128), PACE)
        build = director.pasted if self.stock.pictures else director.procedural
        return build(rng, self.stock, shot).film(self.size)
