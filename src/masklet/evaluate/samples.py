"""The evaluated samples: annotated clips of a benchmark, and images of any labelled data set.

Images are decoded only when needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets import (
    DatasetItem,
    LabelledVideo,
    PngVideo,
    SavLabelledVideo,
    find_items,
    find_png_videos,
    find_sav_videos,
    open_png_video,
)
from masklet.datasets.types import distinct_names
from masklet.errors import MediaError


@runtime_checkable
class Sample(Protocol):
    """A clip or an image."""

    @property
    def name(self) -> str: ...

    def image(self, frame: int) -> np.ndarray: ...


@dataclass(frozen=True)
class ImageSample:
    """An image with masks of objects, or a labelled frame of a video.

    Attributes:
        name: "set/file".
        index: The frame's index among the labelled ones.
    """

    name: str
    item: DatasetItem
    index: int = 0

    def image(self, frame: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """The image, as a clip of one frame."""
        return self.item.open().image(self.index)

    def read(self) -> tuple[UInt8[np.ndarray, "H W 3"], dict[int, Bool[np.ndarray, "H W"]]]:
        """The image, and each object's mask."""
        frames = self.item.open()
        ids = frames.objects(self.index)
        return frames.image(self.index), dict(zip(ids, frames.masks(self.index, ids), strict=True))


def file_stamp(sample: Sample) -> str:
    """A text that changes with the sample's files; empty for a sample without files."""
    match sample:
        case ImageSample():
            paths = [path for path in (sample.item.images, sample.item.labels) if path is not None]
        case PngVideo():
            masks = (path for files in sample.labels.values() for path in files.values())
            paths = [*sample.files, *masks]
        case SavLabelledVideo():
            paths = [sample.video, sample.labels]
        case _:
            return ""
    try:
        files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise MediaError(f"{sample.name} cannot be read: {error.strerror}.") from error
    return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()[:32]


def find_clips(root: Path, names: Sequence[str] | None = None) -> list[LabelledVideo]:
    """The annotated clips under a benchmark's folder, in order of name.

    Args:
        names: Select only these, in their order.
    """
    sav = find_sav_videos(root)
    try:
        folders = find_png_videos(root)
    except MediaError:
        if not sav:
            raise
        folders = {}
    read = {video.video for video in sav}
    pngs = [open_png_video(name, *pair) for name, pair in folders.items() if pair[0] not in read]
    videos: list[SavLabelledVideo | PngVideo] = [*sav, *pngs]
    distinct = distinct_names([video.name for video in videos])
    clips = {name: replace(video, name=name) for name, video in zip(distinct, videos, strict=True)}
    missing = [name for name in names or () if name not in clips]
    if missing:
        raise MediaError(f"{root} has no clip {', '.join(missing)}. It has {', '.join(sorted(clips))}.")
    return [clips[name] for name in (clips if names is None else names)]


def find_images(root: Path, names: Sequence[str] | None = None) -> list[ImageSample]:
    """The labelled images of a data set, or of all data sets in a folder; for videos, the labelled frames.

    Args:
        names: Select only these, in their order.
    """
    images = {image.name: image for item in find_items(root) for image in _split_frames(item)}
    missing = [name for name in names or () if name not in images]
    if missing:
        raise MediaError(
            f"{root} has no image {', '.join(missing[:5])}: names are SET/FILE, as in {next(iter(images))}."
        )
    return [images[name] for name in (images if names is None else names)]


def _split_frames(item: DatasetItem) -> Iterator[ImageSample]:
    if not item.is_video:
        yield ImageSample(item.name, item)
        return
    for index in range(len(item.open())):
        yield ImageSample(f"{item.name}/{index:05d}", item, index)


def read_names(path: Path) -> list[str]:
    """Names from a text file, one per line; in DAVIS 2016's lists of paths, a frame's folder is the name."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise MediaError(f"the list {path} cannot be read: it is not UTF-8 text.") from error
    except OSError as error:
        raise MediaError(f"the list {path} cannot be read: {error.strerror}.") from error
    if not lines:
        raise MediaError(f"the list {path} is empty: write one name of a clip or image on each line.")
    names = [
        line.split()[0].strip("/").split("/")[-2] if line.startswith("/") and line.count("/") > 1 else line
        for line in lines
    ]
    return list(dict.fromkeys(names))
