"""What is measured: annotated clips of a benchmark, and pictures in every form that `masklet.datasets` reads.

Nothing is decoded before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets import (
    DatasetItem,
    LabelledVideo,
    find_items,
    find_png_videos,
    find_sav_videos,
    open_png_video,
)
from masklet.errors import MediaError


@dataclass(frozen=True)
class Picture:
    """An image with a mask for each of some objects; of a video, one of its labelled frames.

    name : "set/file"
    index : of the frame, among the labelled ones
    """

    name: str
    footage: DatasetItem
    index: int = 0

    def picture(self, frame: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """An image is a clip of one frame."""
        return self.footage.open().image(self.index)

    def read(self) -> tuple[UInt8[np.ndarray, "H W 3"], dict[int, Bool[np.ndarray, "H W"]]]:
        """The image, and each object's mask."""
        reel = self.footage.open()
        ids = reel.objects(self.index)
        return reel.image(self.index), dict(zip(ids, reel.masks(self.index, ids), strict=True))


def clips(root: Path, names: Sequence[str] | None = None) -> list[LabelledVideo]:
    """The annotated clips under a benchmark's folder, in order of name, or those named, in that order."""
    films: dict[str, LabelledVideo] = {film.name: film for film in find_sav_videos(root)}
    if not films:
        films = {name: open_png_video(name, *folders) for name, folders in find_png_videos(root).items()}
    missing = [name for name in names or () if name not in films]
    if missing:
        raise MediaError(f"{root} has no clip {', '.join(missing)}; it has {', '.join(sorted(films))}.")
    return [films[name] for name in names or films]


def pictures(root: Path, names: Sequence[str] | None = None) -> list[Picture]:
    """The labelled pictures of a data set, or of all data sets in a folder; of videos the labelled frames."""
    found = {each.name: each for footage in find_items(root) for each in _pictures_of(footage)}
    missing = [name for name in names or () if name not in found]
    if missing:
        raise MediaError(
            f"{root} has no picture {', '.join(missing[:5])}: names are SET/FILE, as in {next(iter(found))}."
        )
    return [found[name] for name in names or found]


def _pictures_of(footage: DatasetItem) -> Iterator[Picture]:
    if not footage.is_video:
        yield Picture(footage.name, footage)
        return
    for index in range(len(footage.open())):
        yield Picture(f"{footage.name}/{index:05d}", footage, index)


def listed(file: Path) -> list[str]:
    """Names from a text file, one a line; of DAVIS 2016's lines of paths, the folder before the file."""
    try:
        lines = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise MediaError(f"the list {file} cannot be read: {error.strerror}.") from error
    names = [line.strip("/").split("/")[-2] if line.startswith("/") else line for line in lines]
    return list(dict.fromkeys(names))
