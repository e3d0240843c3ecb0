"""The JSON files of data sets: COCO for images, YouTube-VIS and SA-V for a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from masklet import rle
from masklet.media.writers.spool import MaskSpool, SpooledJson


class CocoJson(SpooledJson):
    """COCO instances. Each frame is an image, each mask that is not empty an annotation.

    Segmentations are run lengths. An annotation has the predicted IoU as `score` and the object's id as
    `object_id`, beside COCO's keys.

    Its arguments are those of `SpooledWriter`.

    Example:
        >>> import json
        >>> from tempfile import TemporaryDirectory
        >>> from masklet import Masks
        >>> from masklet.media import open_frames
        >>> frames = open_frames(np.zeros((1, 2, 2, 3), dtype=np.uint8))
        >>> masks = Masks.from_arrays(0, {3: np.eye(2, dtype=bool)}, frames.size)
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "coco.json"
        ...     with CocoJson(path, frames, {3: "dog"}) as writer:
        ...         writer.write(frames[0], masks)
        ...     content = json.loads(path.read_text())
        >>> content["categories"][0]["name"], content["annotations"][0]["bbox"]
        ('dog', [0.0, 0.0, 2.0, 2.0])
    """

    def content(self) -> Mapping[str, Any]:
        return {
            "info": {"description": self._source.name},
            "licenses": [],
            "categories": self._category_list(),
            "images": self._images(),
            "annotations": self._annotations(),
        }

    def _images(self) -> Iterator[dict[str, Any]]:
        for frame in self._spool.frames:
            height, width = self._spool.sizes[frame]
            name = self._source.file_name(frame)
            yield {"id": frame + 1, "file_name": name, "height": height, "width": width}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 0
        for frame in self._spool.frames:
            for id, mask in self._spool.masks_on(frame):
                number += 1
                keys = {"id": number, "image_id": frame + 1, "object_id": id}
                yield {**keys, "category_id": self._category_id(id), **mask, "iscrowd": 0}


class YouTubeVisJson(SpooledJson):
    """YouTube-VIS: one video, an annotation for each object with a mask, box and area a frame, or null.

    Its arguments are those of `SpooledWriter`.
    """

    def content(self) -> Mapping[str, Any]:
        height, width = self._source.size
        frames = _all_frames(self._spool)
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
            "categories": self._category_list(),
            "videos": [video],
            "annotations": (self._annotation(id, frames) for id in self._spool.ids),
        }

    def _annotation(self, id: int, frames: range) -> dict[str, Any]:
        height, width = self._source.size

        def values(key: str) -> Iterator[Any]:
            return (mask and mask[key] for mask in self._masks(id, frames))

        return {
            "id": id,
            "video_id": 1,
            "category_id": self._category_id(id),
            "iscrowd": 0,
            "height": height,
            "width": width,
            "length": len(frames),
            "segmentations": values("segmentation"),
            "bboxes": values("bbox"),
            "areas": values("area"),
        }

    def _masks(self, id: int, frames: range) -> Iterator[Any]:
        return (self._spool.get(id, frame) for frame in frames)


SAV_FRAME_STEP = "masklet_frame_step"  # 4 in SA-V's own files, which label every fourth frame


class SavJson(SpooledJson):
    """SA-V: the masks of all objects for each frame, including empty ones, and SA-V's data about each object.

    Every frame has masks, up to the last that was written; `masklet_frame_step` is 1.

    Its arguments are those of `SpooledWriter`. Classes are ignored: SA-V has none.
    """

    def content(self) -> Mapping[str, Any]:
        height, width = self._source.size
        ids, frames = self._spool.ids, _all_frames(self._spool)
        areas = {id: self._areas(id, frames) for id in ids}
        sizes = [float(area[area > 0].mean()) if area.any() else 0.0 for area in areas.values()]
        return {
            "video_id": Path(self._source.name).stem,
            "video_duration": (self._source.time(frames[-1]) + 1 / self._source.fps) if frames else 0.0,
            "video_frame_count": self._length,
            SAV_FRAME_STEP: 1,
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
            "masklet_visibility_changes": [_count_changes(area) for area in areas.values()],
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
            masks = dict(self._spool.masks_on(frame))
            yield [masks[id]["segmentation"] if id in masks else empty for id in self._spool.ids]

    def _areas(self, id: int, frames: range) -> np.ndarray:
        masks = (self._spool.get(id, frame) for frame in frames)
        return np.array([mask["area"] if mask else 0 for mask in masks])


def _bucket(size: float) -> str:
    return "small" if size < 32**2 else "medium" if size < 96**2 else "large"


def _count_changes(areas: np.ndarray) -> int:
    """How often the object disappears or reappears after its first appearance."""
    is_visible = areas > 0
    return int(np.count_nonzero(np.diff(is_visible[is_visible.argmax() :])))


def _all_frames(spool: MaskSpool) -> range:
    """From frame 0 to the last written frame, since these files count frames from 0."""
    return range(spool.frames[-1] + 1 if spool.frames else 0)
