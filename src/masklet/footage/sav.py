"""SA-V's training set: videos with a json of masks for every fourth frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.errors import MediaError
from masklet.footage.reel import Footage, Reel, decode, read_json
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
        found.append(Footage(f"{folder.name}/{labels.stem}", partial(_open_sav, video, labels), moving=True))
    if not found:
        raise MediaError(f"{folder} holds no videos of SA-V's form: NAME.mp4 beside NAME_manual.json.")
    return found


def _open_sav(video: Path, labels: Path) -> Reel:
    return SavVideo(open_frames(video), labels)
