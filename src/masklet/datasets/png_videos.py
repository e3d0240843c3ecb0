"""Videos whose masks are PNGs: DAVIS 2016 and 2017, MOSE, YouTube-VOS, LVOS, SA-V's val and test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets.types import DatasetItem, GroundTruth, find_first_frames
from masklet.errors import MediaError
from masklet.media import Frames, find_pictures, open_frames, read_image, read_label_map

UNDECIDED = 255  # in a palette PNG: pixels that count neither for nor against, and belong to nobody

# Where frames and masks lie below the root: DAVIS; SA-V; MOSE, YouTube-VOS and LVOS.
LAYOUTS = (
    ("JPEGImages/480p", "Annotations/480p"),
    ("JPEGImages/Full-Resolution", "Annotations/Full-Resolution"),
    ("JPEGImages_24fps", "Annotations_6fps"),
    ("JPEGImages", "Annotations"),
)


@dataclass(frozen=True)
class PngVideo:
    """A `LabelledVideo` whose ground truth is PNGs.

    labels : by frame, the PNG that holds every object's number (under None), or one PNG for each object,
        whose id is one more than its folder's number: SA-V begins at 0, which is the background
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
        """One PNG for all objects says so, a PNG for each object does not."""
        return all(None in files for files in self.labels.values())

    def picture(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return read_image(self.files[frame])

    def annotated(self, id: int) -> list[int]:
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
            masks |= {
                int(label): labels == label for label in np.unique(labels) if label not in (0, UNDECIDED)
            }
            undecided = labels == UNDECIDED
        return GroundTruth(masks, undecided)

    @cached_property
    def first_frames(self) -> dict[int, int]:
        return find_first_frames(self)

    @cached_property
    def _black_and_white(self) -> bool:
        """DAVIS 2016 writes its one object as 255, which elsewhere means undecided."""
        first = next(iter(self.labels.values()))
        return None in first and set(np.unique(read_label_map(first[None], white=UNDECIDED))) <= {
            0,
            UNDECIDED,
        }


def find_png_videos(root: Path) -> dict[str, tuple[Path, Path]]:
    """By a video's name, the folder of its frames and that of its masks; in order of name."""
    if not root.is_dir():
        raise MediaError(f"{root} is not a folder. Give the folder that holds the benchmark.")
    for frames, masks in LAYOUTS:
        if (root / frames).is_dir() and (root / masks).is_dir():
            annotated = sorted(folder for folder in (root / masks).iterdir() if folder.is_dir())
            return {folder.name: (root / frames / folder.name, folder) for folder in annotated}
    flat = sorted(folder.parent for folder in root.glob("*/masks") if (folder.parent / "frames").is_dir())
    if not flat:
        raise MediaError(
            f"{root} holds no labelled videos. Expected JPEGImages beside Annotations (DAVIS, or a split of "
            "MOSE, YouTube-VOS or LVOS), JPEGImages_24fps beside Annotations_6fps (SA-V), NAME.mp4 beside "
            "NAME_manual.json (SA-V's training set), or NAME/frames beside NAME/masks."
        )
    return {folder.name: (folder / "frames", folder / "masks") for folder in flat}


def open_png_video(name: str, frames: Path, masks: Path) -> PngVideo:
    """Find the frames and masks of a video; nothing is read yet."""
    files = find_pictures(frames)
    index = {file.stem: position for position, file in enumerate(files)}
    labels: dict[int, dict[int | None, Path]] = {}
    numbered = sorted(entry for entry in masks.iterdir() if entry.is_dir() and entry.name.isdecimal())
    by_object: dict[int | None, Path] = {int(folder.name) + 1: folder for folder in numbered}
    for id, folder in (by_object or {None: masks}).items():
        for file in find_pictures(folder):
            if file.stem not in index:
                raise MediaError(f"{file} has no frame {file.stem} in {frames}.")
            labels.setdefault(index[file.stem], {})[id] = file
    return PngVideo(name, tuple(files), dict(sorted(labels.items())))


class PngVideoFrames:
    """The labelled frames of a `PngVideo`, as training reads them."""

    def __init__(self, video: PngVideo) -> None:
        self.video, self.labelled = video, list(video.labels)
        self._truths: dict[int, GroundTruth] = {}

    def __len__(self) -> int:
        return len(self.labelled)

    def objects(self, frame: int) -> Sequence[int]:
        return list(self._truth(frame).masks)

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.video.picture(self.labelled[frame])

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
    """The labelled videos of a folder as items to learn from, in any layout that `find_png_videos` knows."""
    return [
        DatasetItem(f"{root.name}/{name}", partial(_open_frames, name, frames, masks), is_video=True)
        for name, (frames, masks) in find_png_videos(root).items()
    ]


def _open_frames(name: str, frames: Path, masks: Path) -> PngVideoFrames:
    return PngVideoFrames(open_png_video(name, frames, masks))
