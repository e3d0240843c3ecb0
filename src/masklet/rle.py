"""Masks as COCO run-length encoding, the field's compact form. pycocotools does the work.

>>> import numpy as np
>>> mask = np.eye(4, dtype=bool)
>>> bool((decode(encode(mask)) == mask).all())
True
"""

from collections.abc import Sequence
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


def boxes(codes: Sequence[RLE]) -> np.ndarray:
    """Tight boxes (n, 4), x0, y0, x1, y1, x1 and y1 exclusive; zeros where a mask is empty."""
    if not codes:
        return np.zeros((0, 4))
    corners, extents = np.split(coco.toBbox(_packed(codes)), 2, axis=1)
    return np.concatenate([corners, corners + extents], axis=1)


def overlaps(ours: Sequence[RLE], theirs: Sequence[RLE]) -> np.ndarray:
    """IoU of each mask with each, (n, m)."""
    if not ours or not theirs:
        return np.zeros((len(ours), len(theirs)))
    return np.asarray(coco.iou(_packed(ours), _packed(theirs), [0] * len(theirs)))


def _packed(codes: Sequence[RLE]) -> list[dict[str, object]]:
    return [{"size": each["size"], "counts": each["counts"].encode("ascii")} for each in codes]
