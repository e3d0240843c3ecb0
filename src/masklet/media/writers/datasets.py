"""Masks in the forms that data sets have: COCO for pictures, YouTube-VIS and SA-V for a video.

These are sorted by object, or need totals, so they are written at the end; until then masks wait on a shelf.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from masklet import rle
from masklet.files import StrPath, atomic_write
from masklet.media.kinds import UNNAMED, Kinds, Names
from masklet.media.readers.source import Image, Source
from masklet.media.writers.spool import Shelf
from masklet.media.writers.writer import Writer
from masklet.types import Masks


class ShelvedJson(Writer):
    """A file that is made of all masks at the end.

    names : what the objects are called, where the file has kinds of object
    """

    def __init__(self, path: StrPath, source: Source, names: Names | None = None) -> None:
        self._path = path
        self._source = source
        self._kinds = Kinds(names or {})
        self._shelf = Shelf(path)

    def write(self, image: Image, masks: Masks) -> None:
        self._shelf.put(masks)

    def close(self) -> None:
        if self._shelf.closed:
            return
        with atomic_write(self._path) as part, open(part, "w", encoding="utf-8") as file:
            _dump(self.content(), file)
        self._shelf.close()

    @abstractmethod
    def content(self) -> Mapping[str, Any] | Iterator[Any]:
        """What the file holds; iterators become lists."""

    def _category(self, id: int) -> int:
        return self._kinds.number(id) + 1

    def _categories(self) -> list[dict[str, Any]]:
        numbers = {self._kinds.name(id): self._category(id) for id in self._shelf.ids} or {UNNAMED: 1}
        return [{"id": number, "name": name, "supercategory": "object"} for name, number in numbers.items()]


class CocoJson(ShelvedJson):
    """COCO instances. Each frame is an image, each mask that is not empty an annotation."""

    def content(self) -> Mapping[str, Any]:
        return {
            "info": {"description": self._source.name},
            "licenses": [],
            "categories": self._categories(),
            "images": self._images(),
            "annotations": self._annotations(),
        }

    def _images(self) -> Iterator[dict[str, Any]]:
        for frame in self._shelf.frames:
            height, width = self._shelf.sizes[frame]
            name = self._source.file_name(frame)
            yield {"id": frame + 1, "file_name": name, "height": height, "width": width}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 0
        for frame in self._shelf.frames:
            for id in self._shelf.ids:
                if kept := self._shelf.get(id, frame):
                    number += 1
                    belongs = {"id": number, "image_id": frame + 1, "object_id": id}
                    belongs["category_id"] = self._category(id)
                    yield {**belongs, **kept, "iscrowd": 0}


class YouTubeVisJson(ShelvedJson):
    """YouTube-VIS: one video, an annotation for each object with a mask, box and area a frame, or null."""

    def content(self) -> Mapping[str, Any]:
        height, width = self._source.size
        frames = _all_frames(self._shelf)
        video = {
            "id": 1,
            "height": height,
            "width": width,
            "length": len(frames),
            "file_names": [self._source.file_name(frame) for frame in frames],
        }
        return {
            "info": {"description": self._source.name},
            "licenses": [],
            "categories": self._categories(),
            "videos": [video],
            "annotations": self._annotations(frames),
        }

    def _annotations(self, frames: range) -> Iterator[dict[str, Any]]:
        height, width = self._source.size
        for id in self._shelf.ids:
            kept = partial(self._shelf.get, id)
            yield {
                "id": id,
                "video_id": 1,
                "category_id": self._category(id),
                "iscrowd": 0,
                "height": height,
                "width": width,
                "length": len(frames),
                "segmentations": (each and each["segmentation"] for each in map(kept, frames)),
                "bboxes": (each and each["bbox"] for each in map(kept, frames)),
                "areas": (each and each["area"] for each in map(kept, frames)),
            }


class SavJson(ShelvedJson):
    """SA-V: for each frame the masks of all objects, empty ones too; and what SA-V tells of each object."""

    def content(self) -> Mapping[str, Any]:
        height, width = self._source.size
        ids, frames = self._shelf.ids, _all_frames(self._shelf)
        areas = {id: self._areas(id, frames) for id in ids}
        sizes = [float(area[area > 0].mean()) if area.any() else 0.0 for area in areas.values()]
        return {
            "video_id": Path(self._source.name).stem,
            "video_duration": (self._source.time(frames[-1]) + 1 / self._source.fps) if frames else 0.0,
            "video_frame_count": len(frames),
            "video_height": height,
            "video_width": width,
            "video_resolution": height * width,
            "video_environment": [],
            "video_split": "",
            "masklet": self._masklet(frames),
            "masklet_id": ids,
            "masklet_size_rel": [size / (height * width) for size in sizes],
            "masklet_size_abs": sizes,
            "masklet_size_bucket": [_bucket(size) for size in sizes],
            "masklet_visibility_changes": [_changes(area) for area in areas.values()],
            "masklet_first_appeared_frame": [int((area > 0).argmax()) for area in areas.values()],
            "masklet_frame_count": [len(frames)] * len(ids),
            "masklet_edited_frame_count": [0] * len(ids),
            "masklet_type": ["auto"] * len(ids),
            "masklet_stability_score": None,
            "masklet_num": len(ids),
        }

    def _masklet(self, frames: range) -> Iterator[list[rle.RLE]]:
        empty = rle.encode(np.zeros(self._source.size, dtype=bool))
        for frame in frames:
            kept = [self._shelf.get(id, frame) for id in self._shelf.ids]
            yield [each["segmentation"] if each else empty for each in kept]

    def _areas(self, id: int, frames: range) -> np.ndarray:
        kept = (self._shelf.get(id, frame) for frame in frames)
        return np.array([each["area"] if each else 0 for each in kept])


def _bucket(size: float) -> str:
    return "small" if size < 32**2 else "medium" if size < 96**2 else "large"


def _changes(areas: np.ndarray) -> int:
    """How often the object comes or goes after it first appeared."""
    seen = areas > 0
    return int(np.count_nonzero(np.diff(seen[seen.argmax() :])))


def _all_frames(shelf: Shelf) -> range:
    """From the first of the video to the last that was written, since these files count frames from 0."""
    return range(shelf.frames[-1] + 1 if shelf.frames else 0)


def _dump(value: Any, file: TextIO) -> None:
    """Write JSON piece by piece, so that no long list is ever held as a whole."""
    if isinstance(value, Mapping):
        for count, (key, each) in enumerate(value.items()):
            file.write(f"{', ' if count else '{'}{json.dumps(key)}: ")
            _dump(each, file)
        file.write("}" if value else "{}")
    elif isinstance(value, Iterator):
        file.write("[")
        for count, each in enumerate(value):
            file.write(",\n" if count else "\n")
            _dump(each, file)
        file.write("]")
    else:
        file.write(json.dumps(value))
