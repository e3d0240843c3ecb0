"""Labelled videos: masks as PNGs (DAVIS, MOSE, YouTube-VOS, LVOS, SA-V) or as the JSON of SA-V train."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets.types import (
    UNDECIDED,
    DatasetItem,
    GroundTruth,
    LabelledFrames,
    distinct_names,
    find_first_frames,
)
from masklet.errors import MediaError
from masklet.media import SAV_FRAME_STEP, Frames, find_images, open_frames, read_image, read_label_map
from masklet.media.annotations.coco import read_json, segmentation_mask
from masklet.media.readers.mask_files import may_have_undecided, says_ids

# Folders of frames and masks below the root: DAVIS; SA-V; MOSE, YouTube-VOS and LVOS.
LAYOUTS = (
    ("JPEGImages/480p", "Annotations/480p"),
    ("JPEGImages/Full-Resolution", "Annotations/Full-Resolution"),
    ("JPEGImages_24fps", "Annotations_6fps"),
    ("JPEGImages", "Annotations"),
)

SAV_STEP = 4  # SA-V's own files, which have no step, label every fourth frame
SAV_FILE = "sav.json"  # written by the format sa-v


@dataclass(frozen=True)
class PngVideo:
    """A `LabelledVideo` whose ground truth is PNGs.

    Attributes:
        labels: By frame, the PNG with every object's number (under None), or one PNG for each object, whose
            id is its folder's number plus one: SA-V's numbers start at 0, which is the background here.
    """

    name: str
    files: tuple[Path, ...]
    labels: Mapping[int, Mapping[int | None, Path]]

    @property
    def frames(self) -> Frames:
        return open_frames(list(self.files))

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        return self.frames.size

    @property
    def labelled(self) -> Sequence[int]:
        return list(self.labels)

    @property
    def exclusive(self) -> bool:
        """True for one PNG for all objects, False for a PNG for each object."""
        return all(None in files for files in self.labels.values())

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return read_image(self.files[frame])

    def annotated_frames(self, id: int) -> list[int]:
        return [frame for frame, files in self.labels.items() if None in files or id in files]

    def truth(self, frame: int) -> GroundTruth:
        masks: dict[int, np.ndarray] = {}
        undecided = None
        for id, file in self.labels[frame].items():
            labels = read_label_map(file, white=UNDECIDED)
            if labels.shape != self.size:
                raise MediaError(
                    f"{file} must have its frame's size, (H, W) = {self.size}. Got {labels.shape}."
                )
            if id is not None or self._black_and_white:
                masks[id or 1] = labels > 0
                continue
            nobody = {0, UNDECIDED} if may_have_undecided(file) else {0}
            masks |= {int(label): labels == label for label in np.unique(labels) if label not in nobody}
            undecided = labels == UNDECIDED if UNDECIDED in nobody else None
        return GroundTruth(masks, undecided)

    @cached_property
    def first_frames(self) -> dict[int, int]:
        return find_first_frames(self)

    @cached_property
    def _black_and_white(self) -> bool:
        """DAVIS 2016 writes its single object as 255, which means undecided next to other labels.

        Frames are read until one has another label, since objects may enter late and leave.
        """
        files = [files[None] for files in self.labels.values() if None in files]
        return bool(files) and all(_is_black_and_white(file) for file in files)


def _is_black_and_white(file: Path) -> bool:
    values = np.unique(read_label_map(file, white=UNDECIDED)).tolist()
    return set(values) <= {0, UNDECIDED} and not says_ids(file)


def find_png_videos(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of a video's frames and masks, by its name; in order of name."""
    if not root.is_dir():
        raise MediaError(f"{root} is not a folder. Pass the folder of the benchmark.")
    for frames, masks in LAYOUTS:
        if (root / frames).is_dir() and (root / masks).is_dir():
            annotated = sorted(folder for folder in (root / masks).iterdir() if folder.is_dir())
            return {folder.name: (root / frames / folder.name, folder) for folder in annotated}
    flat = sorted(folder.parent for folder in root.glob("*/masks") if (folder.parent / "frames").is_dir())
    if not flat:
        raise MediaError(
            f"{root} contains no labelled videos. Expected JPEGImages beside Annotations (DAVIS, or a split "
            "of MOSE, YouTube-VOS or LVOS), JPEGImages_24fps beside Annotations_6fps (SA-V), NAME.mp4 "
            "beside NAME_manual.json (SA-V's training set), or NAME/frames beside NAME/masks."
        )
    return {folder.name: (folder / "frames", folder / "masks") for folder in flat}


def open_png_video(name: str, frames: Path, masks: Path) -> PngVideo:
    """Find the frames and masks of a video, without reading them."""
    files = find_images(frames)
    index = {file.stem: position for position, file in enumerate(files)}
    if len(index) < len(files):
        twice = Counter(file.stem for file in files).most_common(1)[0][0]
        raise MediaError(
            f"{frames} has two frames with the name {twice}, such as {twice}.jpg and {twice}.png."
        )
    labels: dict[int, dict[int | None, Path]] = {}
    numbered = sorted(entry for entry in masks.iterdir() if entry.is_dir() and entry.name.isdecimal())
    by_object: dict[int | None, Path] = {int(folder.name) + 1: folder for folder in numbered}
    if len(by_object) < len(numbered):
        names = ", ".join(folder.name for folder in numbered)
        raise MediaError(f"{masks} has two folders with the same object number. The folders are: {names}.")
    for id, folder in (by_object or {None: masks}).items():
        for file in find_images(folder):
            if file.stem not in index:
                raise MediaError(f"{file} has no frame {file.stem} in {frames}.")
            labels.setdefault(index[file.stem], {})[id] = file
    return PngVideo(name, tuple(files), dict(sorted(labels.items())))


class PngVideoFrames:
    """The labelled frames of a `PngVideo`, for training."""

    def __init__(self, video: PngVideo) -> None:
        self.video, self.labelled = video, list(video.labels)
        self._truths: dict[int, GroundTruth] = {}

    def __len__(self) -> int:
        return len(self.labelled)

    def objects(self, frame: int) -> Sequence[int]:
        return list(self._truth(frame).masks)

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.video.image(self.labelled[frame])

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        truth = self._truth(frame)
        empty = np.zeros(self.video.size, dtype=bool)
        masks = [truth.masks.get(id, empty) for id in ids]
        return np.array(masks, dtype=bool).reshape(-1, *self.video.size)

    def _truth(self, frame: int) -> GroundTruth:
        if frame not in self._truths:
            self._truths[frame] = self.video.truth(self.labelled[frame])
        return self._truths[frame]


def read_png_videos(root: Path) -> list[DatasetItem]:
    """The labelled videos of a folder as training items, in any layout that `find_png_videos` knows."""
    return [
        DatasetItem(
            f"{root.name}/{name}",
            partial(_open_frames, name, frames, masks),
            is_video=True,
            images=frames,
            labels=masks,
        )
        for name, (frames, masks) in find_png_videos(root).items()
    ]


def _open_frames(name: str, frames: Path, masks: Path) -> PngVideoFrames:
    return PngVideoFrames(open_png_video(name, frames, masks))


@dataclass(frozen=True)
class SavLabels:
    """A JSON of SA-V.

    Attributes:
        ids: The ids of the masklets.
        masks: By labelled frame, a mask as run lengths for each id; None if the object is absent.
        step: Frames from one labelled frame to the next.
        length: Frames of the video; None in SA-V's own files.
        stated_length: Frames of the video according to SA-V's own files.
    """

    path: Path
    ids: list[int]
    masks: list[list[Any]]
    step: int
    length: int | None
    stated_length: int | None = None

    @property
    def id_offset(self) -> int:
        """The number to add to masklet ids, since object ids start at 1. SA-V's own masklet ids start at
        0."""
        return 1 if self.length is None else 0

    @classmethod
    def read(cls, path: Path) -> SavLabels:
        content = read_json(path)
        fields = content if isinstance(content, dict) else {}
        ids, masks = fields.get("masklet_id"), fields.get("masklet")
        if (
            not isinstance(ids, list)
            or not isinstance(masks, list)
            or not all(isinstance(id, int) for id in ids)
            or len(set(ids)) < len(ids)
            or not all(isinstance(row, list) and len(row) == len(ids) for row in masks)
        ):
            raise MediaError(
                f"{path} is not an SA-V JSON: it must have masklet_id, a list of different ids, and "
                "masklet, a list of masks for each labelled frame."
            )
        count, step = fields.get("video_frame_count"), fields.get(SAV_FRAME_STEP)
        if step is None:
            # Earlier files of masklet without a step label every frame.
            step = 1 if count == len(masks) > 1 else SAV_STEP
            stated = int(count) if isinstance(count, int | float) and math.isfinite(count) else None
            return cls(path, ids, masks, step, None, stated)
        if not isinstance(step, int) or step < 1 or not isinstance(count, int):
            raise MediaError(
                f"{path} must have a whole number from 1 as {SAV_FRAME_STEP}, and the number of the video's "
                f"frames as video_frame_count. Got {step!r} and {count!r}."
            )
        return cls(path, ids, masks, step, count)

    def labelled_frames(self, frames: Frames) -> range:
        """The frames of a video that have masks.

        Raises:
            MediaError: The labels were made for a video of another length.
        """
        stated = self.stated_length if self.length is None else self.length
        # Videos of SA-V itself may end a little earlier or later than their labels.
        tolerance = self.step if self.length is None else 0
        if stated is not None and abs(stated - len(frames)) > tolerance:
            raise MediaError(
                f"{self.path} labels a video of {stated} frames, but {frames.name} has {len(frames)}. Were "
                "the labels made with another frame rate (--fps), or of another file?"
            )
        possible = range(0, len(frames), self.step)
        if len(self.masks) > len(possible) + (self.length is None):
            raise MediaError(
                f"{self.path} has masks of {len(self.masks)} frames, {self.step} apart, but {frames.name} "
                f"has only {len(frames)} frames."
            )
        return possible[: len(self.masks)]

    def mask(self, row: int, column: int, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """The mask of the id in a column, on the labelled frame in a row."""
        name = f"{self.path}, masklet {self.ids[column]}, frame {row * self.step}"
        code = self.masks[row][column]
        return np.zeros(size, dtype=bool) if code is None else segmentation_mask(code, size, name)


class SavFrames:
    """The labelled frames of a video, for training."""

    def __init__(self, frames: Frames, labels: SavLabels) -> None:
        self.frames, self.labels = frames, labels
        self.labelled = labels.labelled_frames(frames)

    def __len__(self) -> int:
        return len(self.labelled)

    def objects(self, frame: int) -> Sequence[int]:
        return self.labels.ids

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[self.labelled[frame]]

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        columns = [self.labels.ids.index(id) for id in ids]
        masks = [self.labels.mask(frame, column, self.frames.size) for column in columns]
        return np.array(masks, dtype=bool).reshape(-1, *self.frames.size)


@dataclass(frozen=True)
class SavLabelledVideo:
    """A video for evaluation.

    In SA-V's own files, which start at 0, an object's id is the masklet's plus one: 0 is the background.
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
        return self._content.labelled_frames(self.frames)

    @cached_property
    def first_frames(self) -> dict[int, int]:
        return find_first_frames(self)

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[frame]

    def annotated_frames(self, id: int) -> list[int]:
        return list(self.labelled) if id - self._content.id_offset in self._content.ids else []

    def truth(self, frame: int) -> GroundTruth:
        masks = {
            id + self._content.id_offset: self._content.mask(frame // self._content.step, column, self.size)
            for column, id in enumerate(self._content.ids)
        }
        return GroundTruth(masks, undecided=None)

    @cached_property
    def _content(self) -> SavLabels:
        return SavLabels.read(self.labels)


def find_sav_videos(folder: Path) -> list[SavLabelledVideo]:
    """The videos with labels in SA-V's form.

    These are NAME_manual.json and NAME_auto.json next to NAME.mp4 or a folder NAME of frames; and
    NAME/sav.json next to NAME/frames, as written by masklet's formats sa-v and frames.
    """
    videos = []
    for labels in sorted(folder.rglob(SAV_FILE)):
        frames = labels.with_name("frames")
        if not frames.is_dir():
            raise MediaError(
                f"{labels} needs a folder named frames next to it. Write both: --format sa-v --format frames."
            )
        videos.append(SavLabelledVideo(labels.parent.name, frames, labels))
    for labels in sorted((*folder.rglob("*_manual.json"), *folder.rglob("*_auto.json"))):
        name = labels.stem.rsplit("_", 1)[0]
        frames = labels.with_name(name)
        video = frames if frames.is_dir() else frames.with_suffix(".mp4")
        if not video.exists():
            raise MediaError(f"{labels} needs {video.name}, or a folder {name} of frames, next to it.")
        videos.append(SavLabelledVideo(labels.stem, video, labels))
    names = distinct_names([video.name for video in videos])
    return [replace(video, name=name) for video, name in zip(videos, names, strict=True)]


def read_sav(folder: Path) -> list[DatasetItem]:
    """The same videos as training items."""
    items = [
        DatasetItem(
            f"{folder.name}/{video.name}",
            partial(_open_sav, video.video, video.labels),
            is_video=True,
            images=video.video,
            labels=video.labels,
        )
        for video in find_sav_videos(folder)
    ]
    if not items:
        raise MediaError(
            f"{folder} contains no videos in SA-V's form: NAME.mp4 next to NAME_manual.json, or NAME/frames "
            "next to NAME/sav.json."
        )
    return items


def _open_sav(video: Path, labels: Path) -> LabelledFrames:
    return SavFrames(open_frames(video), SavLabels.read(labels))
