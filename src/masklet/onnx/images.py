"""Pictures and logits in other sizes, as torch resizes them, and pictures from arrays, Pillow and files."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps

from masklet.errors import MediaError


def read_image(source: object) -> np.ndarray:
    """A picture as uint8 (H, W, 3).

    Args:
        source: A uint8 array (H, W, 3) of RGB, a PIL image or a path.

    Raises:
        MediaError: It is something else, or cannot be read.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise MediaError(
                f"an image must be a uint8 array (H, W, 3) of RGB. Got {source.dtype} {source.shape}."
            )
        return source
    if isinstance(source, str | os.PathLike):
        try:
            with Image.open(source) as picture:
                return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, Image.DecompressionBombError) as error:
            raise MediaError(f"{source} cannot be read as a picture: {error}.") from error
    if isinstance(source, Image.Image):
        return np.asarray(ImageOps.exif_transpose(source).convert("RGB"))
    raise MediaError(
        f"an image must be a uint8 array (H, W, 3), a PIL image or a path. Got {type(source).__name__}."
    )


def frame_to_square(image: np.ndarray, side: int) -> np.ndarray:
    """A frame of a video as float32 (3, S, S): bicubic, on whole numbers."""
    if image.shape[:2] != (side, side):
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)


def still_to_square(image: np.ndarray, side: int) -> np.ndarray:
    """A picture as float32 (3, S, S): antialiased bilinear, in floats."""
    channels = image.transpose(2, 0, 1).astype(np.float32)
    if image.shape[:2] == (side, side):
        return channels
    return np.stack([shrink(channel, (side, side)) for channel in channels])


def mask_to_square(mask: np.ndarray, side: int) -> np.ndarray:
    """A person's mask, bool (H, W), as bool (S, S)."""
    return mask if mask.shape == (side, side) else shrink(mask.astype(np.float32), (side, side)) >= 0.5


def shrink(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 (h, w) at a size (H, W), bilinear and antialiased."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def enlarge(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Low-res logits (n, h, w) at the size (H, W) of the frame, bilinear."""
    for axis, length in ((1, size[0]), (2, size[1])):
        first, second, share = _neighbours(logits.shape[axis], length)
        shape = [-1 if i == axis else 1 for i in range(3)]
        share = share.reshape(shape)
        logits = logits.take(first, axis=axis) * (1 - share) + logits.take(second, axis=axis) * share
    return logits


def _neighbours(length: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `target` cells: the two of `length` cells between which its centre lies, and where."""
    centres = np.maximum((np.arange(target, dtype=np.float32) + 0.5) * np.float32(length / target) - 0.5, 0)
    first = np.minimum(centres.astype(np.int64), length - 1)
    return first, np.minimum(first + 1, length - 1), (centres - first).astype(np.float32)
