"""SA-V's training set: videos with a json of masks for every fourth frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets import labelled_video as reel
from masklet.datasets.labelled_video import Footage, Reel, Truth, decode, read_json
from masklet.errors import MediaError
from masklet.media import Frames, open_frames

STEP = 4  # SA-V labels every fourth frame


class SavVideo:
    """A video of SA-V's training set: its frames, and a list of masks for every fourth of them."""

    def __init__(self, frames: Frames, labels: Path) -> None:
        said = read_json(labels)
        self.frames, self.labels = frames, labels
        self.ids: list[int] = said["masklet_id"]
        self.said: list[list[Any]] = said["masklet"]

    def __len__(self) -> int:
        return min(len(self.said), 1 + (len(self.frames) - 1) // STEP)

    def objects(self, frame: int) -> Sequence[int]:
        return self.ids

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[frame * STEP]

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        said = [self.said[frame][self.ids.index(id)] for id in ids]
        return np.stack([decode(each, self.frames.size, str(self.labels)) for each in said])


@dataclass(frozen=True)
class SavFilm:
    """A `Film` of SA-V's training set.

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
        return range(0, len(self.frames), STEP)[: len(self._said["masklet"])]

    @cached_property
    def first_frames(self) -> dict[int, int]:
        return reel.first_frames(self)

    def picture(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.frames[frame]

    def annotated(self, id: int) -> list[int]:
        return list(self.labelled) if id - 1 in self._said["masklet_id"] else []

    def truth(self, frame: int) -> Truth:
        said = zip(self._said["masklet_id"], self._said["masklet"][frame // STEP], strict=True)
        masks = {id + 1: decode(each, self.size, str(self.labels)) for id, each in said}
        return Truth(masks, undecided=None)

    @cached_property
    def _said(self) -> dict[str, Any]:
        said: dict[str, Any] = read_json(self.labels)
        return said


def sav_films(folder: Path) -> list[SavFilm]:
    """The videos of a folder that SA-V's json files label: NAME_manual.json and NAME_auto.json beside
    NAME.mp4, or beside a folder NAME of frames."""
    found = []
    for labels in sorted((*folder.rglob("*_manual.json"), *folder.rglob("*_auto.json"))):
        name = labels.stem.rsplit("_", 1)[0]
        frames = labels.with_name(name)
        video = frames if frames.is_dir() else frames.with_suffix(".mp4")
        if not video.exists():
            raise MediaError(f"{labels} has neither {video.name} beside it nor a folder {name} of frames.")
        found.append(SavFilm(labels.stem, video, labels))
    return found


def sav(folder: Path) -> list[Footage]:
    """The same as footage to learn from."""
    found = [
        Footage(f"{folder.name}/{film.name}", partial(_open_sav, film.video, film.labels), moving=True)
        for film in sav_films(folder)
    ]
    if not found:
        raise MediaError(f"{folder} holds no videos of SA-V's form: NAME.mp4 beside NAME_manual.json.")
    return found


def _open_sav(video: Path, labels: Path) -> Reel:
    return SavVideo(open_frames(video), labels)
