"""Splits a data set into training and validation, so that no image or video is in both under any name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from masklet.datasets import DatasetItem
from masklet.errors import MediaError
from masklet.files import sha256
from masklet.media import is_image, open_frames, read_image
from masklet.splits import hold_back

log = logging.getLogger(__name__)

VALIDATION_FRACTION = 0.2
MAX_VALIDATION_ITEMS = 64  # more are slower and hardly change the scores
MAX_COMPARED = 20_000  # images compared with those for validation, at some milliseconds each
NAMED = 5  # items that a warning names; it counts the others

# Thumbnails for comparing images.
THUMBNAIL_SIDE = 32
BLUR = 3.0  # in thumbnail pixels: coarse structure, common to many images, is subtracted
MIN_DEVIATION = 1.0  # grey levels: a thumbnail with less contrast is ignored
MIN_CORRELATION = 0.8  # correlation of similar thumbnails; for images of different scenes it was below 0.7
ASPECT_TOLERANCE = 0.03  # maximum difference of the logarithms of width / height


@dataclass(frozen=True)
class FileIdentity:
    """Identifies an item's image or video; for a folder of frames, by the middle one.

    Attributes:
        path: The file.
        size: The number of files in its folder of frames, and its bytes: the same for copies.
        inode: Device and inode: the same for all paths of one file.
    """

    path: Path
    size: tuple[int, int]
    inode: tuple[int, int]

    @classmethod
    def of(cls, item: DatasetItem) -> FileIdentity | None:
        """None if an item has no such file; a missing file is reported when it is opened."""
        path, count = item.images, 1
        if path is None:
            return None
        try:
            if path.is_dir():
                files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
                path, count = files[len(files) // 2], len(files)
            status = path.stat()
        except (OSError, IndexError):
            return None
        return cls(path, (count, status.st_size), (status.st_dev, status.st_ino))

    def digest(self) -> str:
        try:
            return sha256(self.path)
        except OSError:
            return str(self.path)


def split_validation(items: Sequence[DatasetItem]) -> tuple[list[DatasetItem], list[DatasetItem]]:
    """Hold back about a fifth of a data set. Only the hash of an item's name decides."""
    if len(items) < 2:
        raise MediaError(
            f"a data set needs at least two images or videos, for training and validation. Got {len(items)}."
        )
    training, held_back = hold_back(items, lambda item: item.name, VALIDATION_FRACTION, MAX_VALIDATION_ITEMS)
    return leave_out(training, held_back), held_back


def leave_out(items: Sequence[DatasetItem], held_back: Sequence[DatasetItem]) -> list[DatasetItem]:
    """The items whose images and videos are not held back. The others are logged.

    Two items are the same if they share a file or their files are copies, as with two sets of labels of one
    video.

    Raises:
        MediaError: No item is left.
    """
    validated = [file for item in held_back if (file := FileIdentity.of(item)) is not None]
    inodes, sizes = {file.inode for file in validated}, {file.size for file in validated}
    digests = {file.digest() for file in validated}

    def is_held_back(item: DatasetItem) -> bool:
        file = FileIdentity.of(item)
        if file is None:
            return False
        return file.inode in inodes or (file.size in sizes and file.digest() in digests)

    shared = {id(item) for item in items if is_held_back(item)}
    training = [item for item in items if id(item) not in shared]
    if not training:
        raise MediaError(
            "no image or video is left for training: all are used for validation. Pass other data with "
            "--validation, or omit it to hold back a fifth."
        )
    if shared:
        names = [item.name for item in items if id(item) in shared]
        log.warning(
            "%d of %d items are also used for validation, and left out of training: %s.",
            len(names),
            len(items),
            _shorten(names),
        )
    warn_of_lookalikes(training, held_back)
    return training


def warn_of_lookalikes(training: Sequence[DatasetItem], held_back: Sequence[DatasetItem]) -> None:
    """Warn about items that look like a validation item. They are kept, since series are naturally
    similar."""
    files = [
        [(item, file.path) for item in items if (file := FileIdentity.of(item)) is not None]
        for items in (training[:MAX_COMPARED], held_back)
    ]
    alike = find_lookalikes(*([path for _, path in pairs] for pairs in files))
    if not alike:
        return
    pairs = [
        f"{files[0][place][0].name} like {files[1][other][0].name}"
        for place, (other, _) in sorted(alike.items(), key=lambda pair: -pair[1][1])
    ]
    log.warning(
        "%d of %d training items look like a validation item: %s. If they show the same scene, as frames "
        "of one video do, validation scores are too high: put either all images of a scene into the "
        "folder of --validation, or none.",
        len(pairs),
        len(training),
        _shorten(pairs),
    )


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def find_lookalikes(paths: Sequence[Path], others: Sequence[Path]) -> dict[int, tuple[int, float]]:
    """The images that look like one of the others.

    Args:
        paths: Images, or videos, which are compared by their middle frame.
        others: The same.

    Returns:
        By index in `paths`, the index in `others` of the most similar one, and their correlation.
    """
    rows, columns = _thumbnails(paths), _thumbnails(others)
    if not rows or not columns:
        return {}
    places, other_places = list(rows), list(columns)
    aspects, details = zip(*rows.values(), strict=True)
    other_aspects, other_details = zip(*columns.values(), strict=True)
    correlations = np.array(details) @ np.array(other_details).T
    correlations[np.abs(np.subtract.outer(np.log(aspects), np.log(other_aspects))) > ASPECT_TOLERANCE] = 0
    nearest = correlations.argmax(axis=1)
    return {
        place: (other_places[column], float(row[column]))
        for place, column, row in zip(places, nearest, correlations, strict=True)
        if row[column] >= MIN_CORRELATION
    }


def _thumbnails(paths: Sequence[Path]) -> dict[int, tuple[float, np.ndarray]]:
    thumbnails = ((place, _thumbnail(path)) for place, path in enumerate(paths))
    return {place: thumbnail for place, thumbnail in thumbnails if thumbnail is not None}


def _thumbnail(path: Path) -> tuple[float, np.ndarray] | None:
    """Width / height, and the details of an image as a vector of length 1; None without contrast."""
    try:
        grey = _read_grey(path)
    except Exception:  # reading it for training reports the error
        return None
    small = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    details = small - cv2.GaussianBlur(small, (0, 0), BLUR)
    details -= details.mean()
    if details.std() < MIN_DEVIATION:
        return None
    return grey.shape[1] / grey.shape[0], (details / np.linalg.norm(details)).ravel()


def _read_grey(path: Path) -> np.ndarray:
    if not is_image(path):
        frames = open_frames(path)
        return cv2.cvtColor(frames[len(frames) // 2], cv2.COLOR_RGB2GRAY)
    with PIL.Image.open(path) as image:
        if image.mode in ("L", "RGB", "YCbCr"):
            image.draft("L", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))  # a JPEG is decoded at 1/8 of its size
            return np.asarray(PIL.ImageOps.exif_transpose(image).convert("L"))
    return cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
