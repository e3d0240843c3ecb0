"""Videos with labels: PNG masks as in DAVIS, MOSE, YouTube-VOS and SA-V's val and test sets; SA-V's json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from masklet.errors import MediaError
from masklet.media import Frames, find_pictures, open_frames, read_image
from masklet.train.readers.footage import Footage, Reel, decode, read_json, read_labels

UNDECIDED = 255  # in a palette PNG, what belongs to nobody
SAV_STEP = 4  # SA-V labels every fourth frame

# Where frames and masks lie below the root.
LAYOUTS = (
    ("JPEGImages/480p", "Annotations/480p"),
    ("JPEGImages/Full-Resolution", "Annotations/Full-Resolution"),
    ("JPEGImages_24fps", "Annotations_6fps"),
    ("JPEGImages", "Annotations"),
)


class PngVideo:
    """Frames and masks as files. Frames without a mask are passed over.

    labels : for each labelled frame the PNG with all objects' numbers, or by id one PNG for each object
    """

    def __init__(self, files: Sequence[Path], labels: Sequence[Path | Mapping[int, Path]]) -> None:
        self.files, self.labels = files, labels
        self._read: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.files)

    def objects(self, frame: int) -> Sequence[int]:
        said = self.labels[frame]
        if not isinstance(said, Path):
            return list(said)
        return [int(label) for label in np.unique(self._palette(frame)) if label not in (0, self._undecided)]

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return read_image(self.files[frame])

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        said = self.labels[frame]
        if isinstance(said, Path):
            return np.stack([self._palette(frame) == id for id in ids])
        empty = np.zeros(read_labels(next(iter(said.values()))).shape, dtype=bool)
        return np.stack([read_labels(said[id]) > 0 if id in said else empty for id in ids])

    def _palette(self, frame: int) -> Integer[np.ndarray, "H W"]:
        if frame not in self._read:
            path = self.labels[frame]
            assert isinstance(path, Path)
            self._read[frame] = read_labels(path)
        return self._read[frame]

    @cached_property
    def _undecided(self) -> int | None:
        """DAVIS 2016 writes its one object as 255, which elsewhere belongs to nobody."""
        return None if set(np.unique(self._palette(0))) <= {0, UNDECIDED} else UNDECIDED


def pngs(root: Path) -> list[Footage]:
    """The labelled videos of DAVIS, MOSE, YouTube-VOS (a split's folder), SA-V's val and test sets, or
    NAME/frames beside NAME/masks."""
    pairs = _folders(root)
    if not pairs:
        raise MediaError(
            f"{root} holds no labelled videos. Expected JPEGImages beside Annotations, JPEGImages_24fps "
            "beside Annotations_6fps, or NAME/frames beside NAME/masks."
        )
    return [
        Footage(f"{root.name}/{name}", partial(_open_pngs, frames, masks)) for name, frames, masks in pairs
    ]


def _folders(root: Path) -> list[tuple[str, Path, Path]]:
    for frames, masks in LAYOUTS:
        if (root / frames).is_dir() and (root / masks).is_dir():
            folders = sorted(folder for folder in (root / masks).iterdir() if folder.is_dir())
            return [(folder.name, root / frames / folder.name, folder) for folder in folders]
    folders = sorted(folder.parent for folder in root.glob("*/masks") if (folder.parent / "frames").is_dir())
    return [(folder.name, folder / "frames", folder / "masks") for folder in folders]


def _open_pngs(frames: Path, masks: Path) -> Reel:
    files = {path.stem: path for path in find_pictures(frames)}
    apart = sorted(folder for folder in masks.iterdir() if folder.is_dir())
    labels: dict[str, Any] = {}
    for folder in apart:
        for path in folder.glob("*.png"):
            labels.setdefault(path.stem, {})[int(folder.name)] = path
    if not apart:
        labels = {path.stem: path for path in masks.glob("*.png")}
    common = [stem for stem in files if stem in labels]
    if not common:
        raise MediaError(f"{masks} holds no PNG that is named as a frame of {frames}.")
    return PngVideo([files[stem] for stem in common], [labels[stem] for stem in common])


class SavVideo:
    """A video of SA-V's training set: its frames, and a list of masks for every fourth of them."""

    def __init__(self, frames: Frames, labels: Path) -> None:
        said = read_json(labels)
        self.frames, self.labels = frames, labels
        self.ids: list[int] = said["masklet_id"]
        self.said: list[list[Any]] = said["masklet"]

    def __len__(self) -> int:
        return min(len(self.said), 1 + (len(self.frames) - 1) // SAV_STEP)

    def objects(self, frame: int) -> Sequence[int]:
        return self.ids

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[frame * SAV_STEP]

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        said = [self.said[frame][self.ids.index(id)] for id in ids]
        return np.stack([decode(each, self.frames.size, str(self.labels)) for each in said])


def sav(folder: Path) -> list[Footage]:
    """SA-V's training set: NAME_manual.json and NAME_auto.json beside NAME.mp4, or beside a folder NAME of
    frames."""
    found = []
    for labels in sorted((*folder.rglob("*_manual.json"), *folder.rglob("*_auto.json"))):
        name = labels.stem.rsplit("_", 1)[0]
        frames = labels.with_name(name)
        video = frames if frames.is_dir() else frames.with_suffix(".mp4")
        if not video.exists():
            raise MediaError(f"{labels} has neither {video.name} beside it nor a folder {name} of frames.")
        found.append(Footage(f"{folder.name}/{labels.stem}", partial(_open_sav, video, labels)))
    if not found:
        raise MediaError(f"{folder} holds no videos of SA-V's form: NAME.mp4 beside NAME_manual.json.")
    return found


def _open_sav(video: Path, labels: Path) -> Reel:
    return SavVideo(open_frames(video), labels)
