"""Labelled images and videos on disk, in common layouts.

Training and evaluation read data sets through this package. It does not depend on clips, sizes, augmentation
or scores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from masklet.datasets.images import (
    COCO_FILES,
    OWN_COCO,
    find_sa1b_labels,
    read_coco,
    read_mask_files,
    read_sa1b,
    read_yolo,
)
from masklet.datasets.types import DatasetItem, GroundTruth, LabelledFrames, LabelledVideo, distinct_names
from masklet.datasets.videos import (
    PngVideo,
    SavLabelledVideo,
    find_png_videos,
    find_sav_videos,
    open_png_video,
    read_png_videos,
    read_sav,
)
from masklet.errors import MediaError

__all__ = [
    "DatasetItem",
    "GroundTruth",
    "LabelledFrames",
    "LabelledVideo",
    "PngVideo",
    "SavLabelledVideo",
    "find_items",
    "find_png_videos",
    "find_sav_videos",
    "open_png_video",
    "read_coco",
    "read_mask_files",
    "read_png_videos",
    "read_sa1b",
    "read_sav",
    "read_yolo",
]

Reader = Callable[[Path], list[DatasetItem]]

log = logging.getLogger(__name__)

IMAGES: tuple[tuple[str, Reader], ...] = (  # patterns that identify the layouts, the more specific first
    *((name, read_coco) for name in COCO_FILES),
    ("annotations/*.json", read_coco),
    ("labels", read_yolo),
    ("masks", read_mask_files),
)
LAYOUTS: tuple[tuple[str, Reader], ...] = (
    ("JPEGImages*", read_png_videos),
    ("**/sav.json", read_sav),
    ("*/frames", read_png_videos),
    ("**/*_manual.json", read_sav),
    ("**/*_auto.json", read_sav),
    *IMAGES,
)
LEVELS = 2  # levels of subfolders that are searched for more data sets
BENCHMARK = ("JPEGImages", "Annotations")  # folders of one data set, not searched


def find_items(path: Path) -> list[DatasetItem]:
    """The items of all data sets in a folder, in any known layout.

    Args:
        path: A data set's folder, a folder with such folders, or a COCO JSON.

    Raises:
        MediaError: There is no data set, or it has no known layout.
    """
    if not path.exists():
        raise MediaError(f"there is no data set {path}.")
    if path.is_file():
        return _number_repeated_names(read_coco(path))
    own = _read_folder(path)
    items = [*own, *_read_below(path, own, LEVELS)]
    if not items:
        raise MediaError(
            f"{path} contains no data set of a known form: DAVIS, MOSE, YouTube-VOS, SA-V, SA-1B, COCO, "
            "YOLO-seg, or images/NAME.jpg with masks/NAME.png."
        )
    return _number_repeated_names(items)


def _read_below(folder: Path, own: Sequence[DatasetItem], levels: int) -> list[DatasetItem]:
    """The items in a folder's subfolders, besides the folder's own items.

    Next to or far below other data, a data set that cannot be read is logged and left out.
    """
    items = {item.images: item for item in own}
    for below in sorted(entry for entry in folder.iterdir() if entry.is_dir()) if levels else ():
        if below.name.startswith(BENCHMARK) or any(_is_part(below, item) for item in own):
            continue
        try:
            found = _read_folder(below)
        except MediaError as error:
            if levels == LEVELS and not own:
                raise
            log.warning("%s is left out: %s", below, error)
            continue
        for item in (*found, *_read_below(below, found, levels - 1)):
            items.setdefault(item.images, item)
    return list(items.values())[len(own) :]


def _is_part(folder: Path, item: DatasetItem) -> bool:
    """Whether a folder belongs to an item: it contains its video and labels, or images of the data set."""
    files = [file for file in (item.images, item.labels) if file is not None]
    return any(
        folder in (file, file.parent) or (not item.is_video and folder in file.parents) for file in files
    )


def _number_repeated_names(items: list[DatasetItem]) -> list[DatasetItem]:
    """The items; the second item with a name gets a number, since a folder may contain 1.jpg and 1.png."""
    names = distinct_names([item.name for item in items])
    return [replace(item, name=name) for item, name in zip(items, names, strict=True)]


def _read_folder(folder: Path) -> list[DatasetItem]:
    """The items of a folder's layouts: the first that matches, and videos and images in others beside
    it."""
    reader = _find_reader(folder, LAYOUTS)
    if reader is None:
        return read_sa1b(folder) if any(find_sa1b_labels(folder)) else []
    if reader is read_png_videos and (folder / OWN_COCO).is_file() and not any(folder.glob("*/masks")):
        reader = read_coco  # the videos of a run, whose masks are in one file
    items = reader(folder)
    beside: list[Reader | None] = []
    if reader is read_sav and any((frames.parent / "masks").is_dir() for frames in folder.glob("*/frames")):
        beside.append(read_png_videos)
    if reader in (read_sav, read_png_videos) and (folder / "images").is_dir():
        beside.append(_find_reader(folder, IMAGES))
    known = {item.images for item in items}
    more = [item for other in beside if other is not None for item in other(folder)]
    return [*items, *(item for item in more if item.images not in known)]


def _find_reader(folder: Path, layouts: Sequence[tuple[str, Reader]]) -> Reader | None:
    return next((reader for pattern, reader in layouts if any(folder.glob(pattern))), None)
