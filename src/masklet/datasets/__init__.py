"""Labelled pictures and videos on disk, in the forms that people have them in.

Training and evaluation read through this room. It knows nothing of clips, sizes, augmentation or scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from masklet.datasets.pictures import (
    COCO_FILES,
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

LAYOUTS: tuple[tuple[str, Reader], ...] = (  # what a layout is known by, the more particular first
    ("JPEGImages*", read_png_videos),
    ("**/sav.json", read_sav),
    ("*/frames", read_png_videos),
    ("**/*_manual.json", read_sav),
    ("**/*_auto.json", read_sav),
    *((name, read_coco) for name in COCO_FILES),
    ("annotations/*.json", read_coco),
    ("labels", read_yolo),
    ("masks", read_mask_files),
)


def find_items(path: Path) -> list[DatasetItem]:
    """The items of a data set in any known layout, or of all data sets in a folder.

    Args:
        path: A data set's folder, a folder of such folders, or a COCO JSON.

    Raises:
        MediaError: There is no data set, or it has no known layout.
    """
    if not path.exists():
        raise MediaError(f"there is no data set {path}.")
    if path.is_file():
        return _number_repeated_names(read_coco(path))
    reader = _find_reader(path)
    if reader is not None:
        return _number_repeated_names(reader(path))
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    items = [
        item for folder in folders if (reader := _find_reader(folder)) is not None for item in reader(folder)
    ]
    if not items:
        raise MediaError(
            f"{path} holds no data set of a known form: DAVIS, MOSE, YouTube-VOS, SA-V, SA-1B, COCO, "
            "YOLO-seg, or images/NAME.jpg with masks/NAME.png."
        )
    return _number_repeated_names(items)


def _number_repeated_names(items: list[DatasetItem]) -> list[DatasetItem]:
    """The items, of which the second of a name gets a number: a folder may hold 1.jpg and 1.png."""
    names = distinct_names([item.name for item in items])
    return [replace(item, name=name) for item, name in zip(items, names, strict=True)]


def _find_reader(folder: Path) -> Reader | None:
    for pattern, reader in LAYOUTS:
        if any(folder.glob(pattern)):
            return reader
    return read_sa1b if any(find_sa1b_labels(folder)) else None
