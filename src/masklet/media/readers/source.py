"""The protocols of readers and sources, and the error for a missing frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from masklet.errors import MediaError
from masklet.media.readers.microscopy import Channel, PixelSize, StackAxes

Image = UInt8[np.ndarray, "H W 3"]  # RGB
IntensityRange = tuple[float, float]  # the intensities that become black and white

STILLS_FPS = 24.0  # frame rate of images without times, as in SA-V and DAVIS
SQUARE = Fraction(1)  # square pixels


@dataclass(frozen=True)
class Recording:
    """A file with images and perhaps sound.

    Attributes:
        file: A path or URL, or the whole file in memory.
        start: The time of the first image, in the file's own seconds.
    """

    file: str | bytes
    start: float


@dataclass(frozen=True)
class Metadata:
    """A source's statements on its frames, besides their size, rate and times.

    Attributes:
        has_times: Whether the times are the source's own. Images without times play at 24 a second.
        axes: Depth, time and channels, if a TIFF describes its pages. Frames are in slice order.
        channel: The chosen channel of image files; None for the whole image.
        pixel_size: The size of a pixel in the sample, in micrometres.
        recording: The video file of the frames, for its sound.
        first_page: The page of the file that is frame 0; above 0 for a part of it.
    """

    has_times: bool = True
    axes: StackAxes | None = None
    channel: Channel | None = None
    pixel_size: PixelSize | None = None
    recording: Recording | None = None
    first_page: int = 0


@runtime_checkable
class Source(Protocol):
    """A source of frames as a writer sees it. `Frames` and `Stream` are sources.

    A source may have `metadata` too; see `metadata_of`.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second; the average if the rate varies."""
        ...

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height."""
        ...

    def time(self, frame: int) -> float:
        """Seconds from the first frame to this one."""
        ...

    def file_name(self, frame: int) -> str:
        """The image's file name, or the name of a video's frame in data sets: 00007.jpg."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Reads one kind of stored source, such as a video file. Frames are numbered from 0.

    Attributes:
        pixel_aspect: Width of a pixel by its height.
        intensity_range: Which intensities become black and white; None for images of 8 bits.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def fps(self) -> float: ...

    @property
    def pixel_aspect(self) -> Fraction: ...

    @property
    def intensity_range(self) -> IntensityRange | None: ...

    def metadata(self) -> Metadata: ...
    def count(self) -> int: ...
    def time(self, frame: int) -> float: ...
    def file_name(self, frame: int) -> str: ...

    def read(self, frames: Sequence[int]) -> Mapping[int, Image]:
        """The last of these frames, and those of the others that are cheap to decode with it."""
        ...

    def play(self, start: int) -> Iterator[Image]:
        """All frames from `start` on, in order; none if `start` is not before the end."""
        ...


@runtime_checkable
class TimedReader(Reader, Protocol):
    """A reader whose frames have times, so that it can be sampled."""

    def frame_at(self, seconds: float) -> int | None:
        """The frame shown at this many seconds after the first; None after the last one."""
        ...

    def play_frames(self, frames: Iterable[int]) -> Iterator[Image]:
        """These frames, whose numbers never decrease, from one pass over the source."""
        ...


def metadata_of(source: Source) -> Metadata:
    """A source's metadata; defaults for a source without the method `metadata`."""
    metadata: Metadata = getattr(source, "metadata", Metadata())
    return metadata


def is_stack(source: Source) -> bool:
    """Whether a source is a TIFF, whose pages are read as depth if it does not describe them."""
    return Path(source.name).suffix.lower() in (".tif", ".tiff")


class NoSuchFrame(MediaError, IndexError):
    """The source has no frame with this number."""

    def __init__(self, name: str, frame: int, count: int) -> None:
        super().__init__(name, frame, count)
        self.name, self.frame, self.count = name, frame, count

    def __str__(self) -> str:
        last = "1 frame, frame 0" if self.count == 1 else f"{self.count} frames, 0 to {self.count - 1}"
        return f"{self.name} has {last}. Got frame {self.frame}."


def frame_file_name(frame: int, suffix: str) -> str:
    """A frame's file name as DAVIS, YouTube-VIS and SA-V write it.

    >>> frame_file_name(7, ".png")
    '00007.png'
    """
    return f"{frame:05d}{suffix}"


def printable(name: str | os.PathLike[str]) -> str:
    """A file's name as printable text; bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
