"""What every source of training data hands over: a short labelled clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames and the objects in them; a still is a clip of one frame.

    images : RGB
    masks : the visible part of each object, so empty where it is hidden or has left
    name : of the picture or video that it is from, if it is from one
    """

    images: UInt8[np.ndarray, "t H W 3"]
    masks: Bool[np.ndarray, "t n H W"]
    name: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def objects(self) -> int:
        return self.masks.shape[1]
