"""Masks as COCO run-length encoding, the field's compact form. pycocotools does the work.

>>> import numpy as np
>>> mask = np.eye(4, dtype=bool)
>>> bool((decode(encode(mask)) == mask).all())
True
"""

from typing import TypedDict

import numpy as np
from pycocotools import mask as coco


class RLE(TypedDict):
    """A mask in COCO's compressed form; `counts` is text, so that it can be written as JSON."""

    size: list[int]
    counts: str


def encode(mask: np.ndarray) -> RLE:
    """Encode one mask.

    mask : bool (H, W)
    """
    packed = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return RLE(size=[int(side) for side in packed["size"]], counts=packed["counts"].decode("ascii"))


def decode(rle: RLE) -> np.ndarray:
    """Decode one mask to bool (H, W)."""
    return coco.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")}).astype(bool)


def area(rle: RLE) -> int:
    """The mask's pixels, counted without decoding it."""
    return int(coco.area({"size": rle["size"], "counts": rle["counts"].encode("ascii")}))
