"""SA-V's training set: videos with a JSON of masks for every fourth frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets.types import DatasetItem, GroundTruth, LabelledFrames, find_first_frames
from masklet.errors import MediaError
from masklet.media import Frames, open_frames
from masklet.media.readers.coco import read_json, segmentation_mask

STEP = 4  # SA-V labels every fourth frame


@dataclass(frozen=True)
class SavLabels:
    """A JSON of SA-V.

    ids : of the masklets
    masks : by labelled frame, a mask as run lengths for each id
    """

    path: Path
    ids: list[int]
    masks: list[list[Any]]

    @classmethod
    def read(cls, path: Path) -> SavLabels:
        content = read_json(path)
        fields = content if isinstance(content, dict) else {}
        ids, masks = fields.get("masklet_id"), fields.get("masklet")
        if (
            not isinstance(ids, list)
            or not isinstance(masks, list)
            or not all(isinstance(id, int) for id in ids)
            or not all(isinstance(row, list) and len(row) == len(ids) for row in masks)
        ):
            raise MediaError(
                f"{path} is not a JSON of SA-V: it needs masklet_id, a list of ids, and masklet, "
                "a list of masks for each labelled frame."
            )
        return cls(path, ids, masks)

    def mask(self, frame: int, column: int, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """The mask of the id in a column on a labelled frame."""
        name = f"{self.path}, masklet {self.ids[column]}, frame {frame * STEP}"
        return segmentation_mask(self.masks[frame][column], size, name)


class SavFrames:
    """The labelled frames of a video, as training reads them."""

    def __init__(self, frames: Frames, labels: SavLabels) -> None:
        self.frames, self.labels = frames, labels

    def __len__(self) -> int:
        return min(len(self.labels.masks), 1 + (len(self.frames) - 1) // STEP)

    def objects(self, frame: int) -> Sequence[int]:
        return self.labels.ids

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[frame * STEP]

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        columns = [self.labels.ids.index(id) for id in ids]
        masks = [self.labels.mask(frame, column, self.frames.size) for column in columns]
        return np.array(masks, dtype=bool).reshape(-1, *self.frames.size)


@dataclass(frozen=True)
class SavLabelledVideo:
    """A video as evaluation reads it.

    An object's id is one more than the masklet's: SA-V begins at 0, which is the background.
    """

    name: str
    video: Path
    labels: Path

    exclusive = False

    @property
    def frames(self) -> Frames:
        return open_frames(self.video)

    @cached_property
    def size(self) -> tuple[int, int]:
        return self.frames.size

    @cached_property
    def labelled(self) -> Sequence[int]:
        return range(0, len(self.frames), STEP)[: len(self._content.masks)]

    @cached_property
    def first_frames(self) -> dict[int, int]:
        return find_first_frames(self)

    def picture(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[frame]

    def annotated(self, id: int) -> list[int]:
        return list(self.labelled) if id - 1 in self._content.ids else []

    def truth(self, frame: int) -> GroundTruth:
        masks = {
            id + 1: self._content.mask(frame // STEP, column, self.size)
            for column, id in enumerate(self._content.ids)
        }
        return GroundTruth(masks, undecided=None)

    @cached_property
    def _content(self) -> SavLabels:
        return SavLabels.read(self.labels)


def find_sav_videos(folder: Path) -> list[SavLabelledVideo]:
    """The videos that SA-V's files label: NAME_manual.json and NAME_auto.json beside NAME.mp4, or beside a
    folder NAME of frames."""
    videos = []
    for labels in sorted((*folder.rglob("*_manual.json"), *folder.rglob("*_auto.json"))):
        name = labels.stem.rsplit("_", 1)[0]
        frames = labels.with_name(name)
        video = frames if frames.is_dir() else frames.with_suffix(".mp4")
        if not video.exists():
            raise MediaError(f"{labels} has neither {video.name} beside it nor a folder {name} of frames.")
        videos.append(SavLabelledVideo(labels.stem, video, labels))
    return videos


def read_sav(folder: Path) -> list[DatasetItem]:
    """The same videos as items to learn from."""
    items = [
        DatasetItem(
            f"{folder.name}/{video.name}", partial(_open_sav, video.video, video.labels), is_video=True
        )
        for video in find_sav_videos(folder)
    ]
    if not items:
        raise MediaError(f"{folder} holds no videos of SA-V's form: NAME.mp4 beside NAME_manual.json.")
    return items


def _open_sav(video: Path, labels: Path) -> LabelledFrames:
    return SavFrames(open_frames(video), SavLabels.read(labels))
