"""Masks in COCO's run-length encoding, by pycocotools. Its C code gets checked input only.

A mask is a sequence of alternating runs of background and object, column by column, beginning with
background. COCO writes the runs as a list of numbers (uncompressed) or packed into text (compressed).

>>> import numpy as np
>>> mask = np.eye(4, dtype=bool)
>>> bool((decode(encode(mask)) == mask).all())
True
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco

from masklet.arrays import to_array
from masklet.errors import MediaError

MAX_PIXELS = 2**29  # pixels of one mask: a frame of 23,000 x 23,000
FAR = 4  # maximum distance of a polygon's corners from the image, in image sides


class RLE(TypedDict):
    """A mask in COCO's compressed form; `counts` is text, so that it can be written as JSON."""

    size: list[int]
    counts: str


def encode(mask: Bool[np.ndarray, "H W"]) -> RLE:
    """Encode one mask.

    Args:
        mask: bool, or whole numbers; those above 0 are the object.

    Raises:
        MediaError: It is not (H, W), or has other numbers, such as probabilities.
    """
    mask = np.asarray(to_array(mask))
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise MediaError(
            "a mask to encode must be bool (H, W), such as probabilities >= 0.5 or logits > 0. Got "
            f"{mask.dtype} {mask.shape}."
        )
    mask = mask if mask.dtype == np.bool_ else mask > 0
    # COCO's runs go down the columns. OpenCV transposes faster than NumPy.
    if mask.size and not mask.flags.f_contiguous:
        pixels = cv2.transpose(np.ascontiguousarray(mask, dtype=np.uint8)).T
    else:
        pixels = np.asfortranarray(mask, dtype=np.uint8)
    packed = coco.encode(pixels)
    return RLE(size=[int(side) for side in packed["size"]], counts=packed["counts"].decode("ascii"))


def decode(rle: object) -> Bool[np.ndarray, "H W"]:
    """Decode one mask, compressed or not.

    Args:
        rle: `size` (H, W), and `counts` as text, bytes or a list of runs.

    Raises:
        MediaError: The size is not that of an image, or the runs do not fill it exactly.
    """
    return coco.decode(pack(rle)).astype(bool)


def pack(rle: object) -> dict[str, Any]:
    """Check one mask and return it in the form for pycocotools. All masks from outside pass this check."""
    if not (isinstance(rle, Mapping) and {"size", "counts"} <= rle.keys()):
        raise MediaError(f"a mask in run-length form must have size and counts. Got {_shorten(rle)}.")
    height, width = _check_size(rle["size"])
    counts = rle["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    text = isinstance(counts, str)
    runs = _unpack(counts) if isinstance(counts, str) else _as_runs(counts)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise MediaError(
            f"a mask's runs must be positive and add up to its {height} x {width} pixels, {height * width}. "
            f"Got {int(runs.sum())}{', and negative ones' if (runs < 0).any() else ''}."
        )
    if text:
        return {"size": [height, width], "counts": counts.encode("ascii")}
    return coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)


def from_polygons(polygons: Sequence[Any], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The union of outlines as a mask, filled as COCO's tools fill them.

    Args:
        polygons: Outlines, each a flat list x0, y0, x1, y1, ... in pixels. Outlines of fewer than three
            points cover nothing.
        size: (H, W) of the image.

    Raises:
        MediaError: An outline is not a list of finite numbers, or is far from the image.
    """
    height, width = _check_size(size)
    outlines = [_outline(polygon, height, width) for polygon in polygons]
    outlines = [outline for outline in outlines if len(outline) >= 6]
    if not outlines:
        return np.zeros((height, width), dtype=bool)
    return coco.decode(coco.merge(coco.frPyObjects(outlines, height, width))).astype(bool)


def encode_at(mask: Bool[np.ndarray, "h w"], corner: tuple[int, int], size: tuple[int, int]) -> RLE:
    """Encode a mask from one window, without making the whole mask.

    Args:
        mask: The mask in the window; it is empty elsewhere.
        corner: (x, y) of the window's upper left pixel.
        size: (H, W) of the image.

    >>> window = np.ones((2, 1), dtype=bool)
    >>> decode(encode_at(window, (2, 1), (3, 4))).astype(int).tolist()
    [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    """
    (height, width), (x, y), rows = size, corner, mask.shape[0] + 1
    framed = np.zeros((rows, mask.shape[1]), dtype=np.int8)  # the extra row separates columns
    framed[:-1] = mask
    edges = np.flatnonzero(np.diff(framed.ravel(order="F"), prepend=0))
    columns, offsets = np.divmod(edges, rows)
    ends = (x + columns) * height + y + offsets
    touching = np.flatnonzero(ends[1:] == ends[:-1])  # indices of runs that continue in the next column
    ends = np.delete(ends, np.concatenate([touching, touching + 1]))
    counts = np.diff(ends, prepend=0, append=height * width).tolist()
    counts = counts[:-1] if counts[-1] == 0 and len(counts) > 1 else counts
    packed = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return RLE(size=[height, width], counts=packed["counts"].decode("ascii"))


def encode_rows(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """A mask's runs row by row, as in CVAT; the first is background, and may be 0.

    >>> encode_rows(np.array([[True, True, False], [False, False, True]]))
    [0, 2, 3, 1]
    """
    pixels = mask.ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff([0, *changes, pixels.size]).tolist()


def decode_rows(
    runs: Sequence[float], corner: tuple[int, int], window: tuple[int, int], size: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """A mask from its runs row by row within a window.

    Args:
        runs: Alternating runs of background and object.
        corner: Left and top of the window.
        window: (h, w) of the window.
        size: (H, W) of the mask.

    Raises:
        MediaError: The window is not inside the mask, or the runs do not fill it.
    """
    (left, top), (height, width) = corner, window
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
        raise MediaError(
            f"a mask of {width} x {height} at {left}, {top} is not inside the frame, which is {size[1]} "
            f"wide and {size[0]} high"
        )
    lengths = np.asarray(runs, dtype=np.float64)
    if (lengths < 0).any() or (lengths % 1).any() or lengths.sum() != width * height:
        raise MediaError(f"a mask's runs must add up to its {width} x {height} pixels. Got {lengths.sum():g}")
    mask = np.zeros(size, dtype=bool)
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths.astype(np.int64))
    mask[top : top + height, left : left + width] = pixels.reshape(height, width)
    return mask


def paint(codes: Sequence[RLE], values: Sequence[int], size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """A label map, int32: the pixels of each mask have its value, later ones on top; 0 elsewhere.

    Args:
        codes: The masks.
        values: One for each.
        size: (H, W) of the image.
    """
    height, width = size
    columns = np.zeros(height * width, dtype=np.int32)
    for code, value in zip(codes, values, strict=True):
        ends = np.cumsum(_unpack(code["counts"])).tolist()
        for start, end in zip(ends[0::2], ends[1::2], strict=False):
            columns[start:end] = value
    return np.ascontiguousarray(columns.reshape(width, height).T)


def area(rle: RLE) -> int:
    """The mask's pixels, counted without decoding it."""
    return int(coco.area(_to_pycocotools([rle])[0]))


def boxes(codes: Sequence[RLE]) -> Float[np.ndarray, "n 4"]:
    """Tight boxes, x0, y0, x1, y1, x1 and y1 exclusive; zeros if a mask is empty."""
    if not codes:
        return np.zeros((0, 4))
    corners, extents = np.split(coco.toBbox(_to_pycocotools(codes)), 2, axis=1)
    return np.concatenate([corners, corners + extents], axis=1)


def overlaps(first: Sequence[RLE], second: Sequence[RLE]) -> Float[np.ndarray, "n m"]:
    """The IoU of all pairs of masks."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco.iou(_to_pycocotools(first), _to_pycocotools(second), [0] * len(second)))


def containment(first: RLE, second: RLE, iou: float | None = None) -> float:
    """The fraction of the smaller mask that is inside the other one; 0 if a mask is empty.

    Args:
        first: A mask.
        second: A mask of the same size.
        iou: Their IoU, if known.

    >>> window = encode(np.eye(4, dtype=bool)), encode(np.ones((4, 4), dtype=bool))
    >>> containment(*window)
    1.0
    """
    iou = float(overlaps([first], [second])[0, 0]) if iou is None else iou
    areas = area(first), area(second)
    return iou * sum(areas) / (1 + iou) / max(min(areas), 1)  # intersection = iou * (a + b) / (1 + iou)


def _to_pycocotools(codes: Sequence[RLE]) -> list[dict[str, object]]:
    """Masks encoded by this module, in the form for pycocotools."""
    return [{"size": code["size"], "counts": code["counts"].encode("ascii")} for code in codes]


def _check_size(size: Any) -> tuple[int, int]:
    sides = np.asarray(size, dtype=object).ravel().tolist() if isinstance(size, Sequence | np.ndarray) else []
    numbers = [int(side) for side in sides if _is_whole_number(side)]
    if len(sides) != 2 or len(numbers) != 2 or min(numbers) < 0 or numbers[0] * numbers[1] > MAX_PIXELS:
        raise MediaError(
            f"a mask's size must be [height, width] in pixels, with a product of at most {MAX_PIXELS:,} "
            f"pixels. Got {_shorten(size)}."
        )
    return numbers[0], numbers[1]


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer())


def _as_runs(counts: Any) -> Int[np.ndarray, " runs"]:
    try:
        runs = np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError):
        runs = np.full(1, np.nan)
    if runs.ndim != 1 or not (np.abs(runs) <= MAX_PIXELS).all() or (runs % 1).any():
        raise MediaError(
            f"a mask's counts must be whole numbers or a COCO run-length string. Got {_shorten(counts)}."
        )
    return runs.astype(np.int64)


def _unpack(counts: str) -> Int[np.ndarray, " runs"]:
    """Decode COCO's compressed runs: numbers in base 32, each relative to the one two before."""
    codes = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if ((codes < 0) | (codes > 63)).any() or (len(codes) and codes[-1] & 32):
        raise MediaError(f"a mask's counts are not a COCO run-length string. Got {_shorten(counts)}.")
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    digits = last - first + 1
    if len(digits) and digits.max() > 7:  # 7 digits of 5 bits hold more than MAX_PIXELS
        raise MediaError(f"a mask's counts contain a run longer than any image. Got {_shorten(counts)}.")
    place = np.arange(len(codes)) - np.repeat(first, digits)
    values = np.add.reduceat((codes & 31) << (5 * place), first) if len(first) else first
    negative = codes[last] & 16 > 0
    values = values - (negative.astype(np.int64) << (5 * digits))
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return runs


def _outline(polygon: Any, height: int, width: int) -> list[float]:
    try:
        corners = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError):
        corners = np.full(1, math.nan)
    corners = corners.ravel() if corners.ndim == 2 and corners.shape[1] == 2 else corners
    if corners.ndim != 1 or len(corners) % 2 or not np.isfinite(corners).all():
        raise MediaError(f"an outline must be finite numbers x0, y0, x1, y1, ... Got {_shorten(polygon)}.")
    reach = (FAR + 1) * max(height, width, 256)
    if (np.abs(corners) > reach).any():
        raise MediaError(
            f"an outline must be near its image, which is {width} wide and {height} high. Got "
            f"{_shorten(polygon)}."
        )
    return corners.tolist()


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
