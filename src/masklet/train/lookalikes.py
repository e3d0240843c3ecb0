"""Pictures that are nearly alike: saved anew, resized, or frames of one video. Found by small thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from masklet.media import is_picture, open_frames, read_image

SIDE = 32  # of a thumbnail
BLUR = 3.0  # its pixels; broad shades, which many pictures share, are taken out
FLAT = 1.0  # steps of grey below which a thumbnail shows nothing
ALIKE = 0.8  # correlation of two thumbnails: of pictures of other scenes it was below 0.7
SAME_SHAPE = 0.03  # by how much the ratios of sides may differ


def find_lookalikes(paths: Sequence[Path], others: Sequence[Path]) -> dict[int, tuple[int, float]]:
    """The pictures that look like one of the others.

    Args:
        paths: Pictures, or videos, of which the frame in the middle counts.
        others: The same.

    Returns:
        By place in `paths`, the place in `others` of the most similar one, and their correlation.
    """
    rows, columns = _thumbnails(paths), _thumbnails(others)
    if not rows or not columns:
        return {}
    places, other_places = list(rows), list(columns)
    shapes, other_shapes = (np.log([thumbnail[0] for thumbnail in each.values()]) for each in (rows, columns))
    alike = np.array([row[1] for row in rows.values()]) @ np.array([row[1] for row in columns.values()]).T
    alike[np.abs(shapes[:, None] - other_shapes[None]) > SAME_SHAPE] = 0
    nearest = alike.argmax(axis=1)
    return {
        place: (other_places[column], float(row[column]))
        for place, column, row in zip(places, nearest, alike, strict=True)
        if row[column] >= ALIKE
    }


def _thumbnails(paths: Sequence[Path]) -> dict[int, tuple[float, np.ndarray]]:
    thumbnails = ((place, _thumbnail(path)) for place, path in enumerate(paths))
    return {place: thumbnail for place, thumbnail in thumbnails if thumbnail is not None}


def _thumbnail(path: Path) -> tuple[float, np.ndarray] | None:
    """Width by height, and the details of a picture as a vector of length 1; None where it shows nothing."""
    try:
        grey = _read_grey(path)
    except Exception:  # reading it for training says what is wrong
        return None
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    details = small - cv2.GaussianBlur(small, (0, 0), BLUR)
    details -= details.mean()
    if details.std() < FLAT:
        return None
    return grey.shape[1] / grey.shape[0], (details / np.linalg.norm(details)).ravel()


def _read_grey(path: Path) -> np.ndarray:
    if not is_picture(path):
        frames = open_frames(path)
        return cv2.cvtColor(frames[len(frames) // 2], cv2.COLOR_RGB2GRAY)
    with PIL.Image.open(path) as picture:
        if picture.mode in ("L", "RGB", "YCbCr"):
            picture.draft("L", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at an eighth of its sides
            return np.asarray(PIL.ImageOps.exif_transpose(picture).convert("L"))
    return cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
