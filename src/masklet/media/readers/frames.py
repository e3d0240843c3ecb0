"""The door for all that is stored: files, folders, arrays. A frame is decoded when it is asked for."""

from __future__ import annotations

import glob
import operator
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Protocol, runtime_checkable

import numpy as np
import PIL.Image

from masklet.errors import MediaError
from masklet.media.readers.frame_sampling import Sampled
from masklet.media.readers.pictures import Pictures, find_pictures, is_picture
from masklet.media.readers.source import Image, NoSuchFrame
from masklet.media.readers.video import Video

KEPT_FRAMES = 32
KEPT_BYTES = 256 * 2**20


@runtime_checkable
class Reader(Protocol):
    """One kind of stored source; frames are numbered from 0."""

    name: str
    size: tuple[int, int]
    fps: float

    def count(self) -> int: ...
    def time(self, frame: int) -> float: ...
    def file_name(self, frame: int) -> str: ...

    def read(self, wanted: Sequence[int]) -> Mapping[int, Image]:
        """The last of the wanted frames, and those of the others that cost little more."""
        ...

    def play(self, start: int) -> Iterator[Image]:
        """All frames from `start` on, in order; none behind the end."""
        ...


class Frames:
    """A stored source of frames: `len`, `frames[i]`, `for image in frames`. Each is (H, W, 3) uint8 RGB.

    The last frames are kept; stepping back through a video decodes each stretch once. Threads can share it.
    """

    def __init__(self, reader: Reader, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._reader = reader
        self._kept: OrderedDict[int, Image] = OrderedDict()
        height, width = reader.size
        self._room = max(2, min(KEPT_FRAMES, kept_bytes // (height * width * 3)))
        self._last = 0
        self._played: tuple[int, Image] | None = None  # who plays a video often asks for the frame again
        self._lock = Lock()

    @property
    def name(self) -> str:
        return self._reader.name

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self._reader.size

    @property
    def fps(self) -> float:
        """Frames a second; the average where the rate varies, 24 for pictures that have no times."""
        return self._reader.fps

    def time(self, frame: int) -> float:
        """Seconds from the first frame to this one."""
        return self._reader.time(frame)

    def file_name(self, frame: int) -> str:
        return self._reader.file_name(frame)

    def __len__(self) -> int:
        return self._reader.count()

    def __getitem__(self, frame: int) -> Image:
        frame = operator.index(frame)
        if frame < 0:
            raise NoSuchFrame(self.name, frame, len(self))
        played = self._played
        if played is not None and played[0] == frame:
            return played[1]
        with self._lock:
            if frame not in self._kept:
                self._read(frame)
            self._kept.move_to_end(frame)
            self._last = frame
            return self._kept[frame]

    def __iter__(self) -> Iterator[Image]:
        return self.play()

    def play(self, start: int = 0) -> Iterator[Image]:
        """Every frame from `start` to the end, decoded in order: the quick way through."""
        start = operator.index(start)
        images = self._reader.play(start) if start >= 0 else iter(())
        first = next(images, None)
        if first is None:
            raise NoSuchFrame(self.name, start, len(self))
        for frame, image in enumerate(chain([first], images), start):
            self._played = frame, image
            yield image

    def _read(self, frame: int) -> None:
        steps_back = self._last - self._room < frame < self._last
        first = max(0, frame + 1 - self._room) if steps_back else frame
        self._kept.update(self._reader.read(range(first, frame + 1)))
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)


def open_frames(source: object, *, fps: float | None = None, kept_bytes: int = KEPT_BYTES) -> Frames:
    """Open anything stored as frames. Nothing but the first frame is decoded yet.

    source : a video file or URL that PyAV reads; a folder or glob of pictures, in natural order; a picture of
        one page or many; an array (T, H, W, 3); a sequence of arrays, PIL images or paths; or Frames
    fps : sample a video in time, whatever its own rate
    kept_bytes : of the last frames, which are kept decoded
    """
    if isinstance(source, Frames) and fps is None:
        return source
    reader = source._reader if isinstance(source, Frames) else _reader(source)
    if fps is None:
        return Frames(reader, kept_bytes=kept_bytes)
    if not isinstance(reader, Video):
        raise MediaError(f"fps samples a video in time, and {reader.name} has no times. Leave fps out.")
    return Frames(Sampled(reader, fps), kept_bytes=kept_bytes)


def _reader(source: object) -> Reader:
    if isinstance(source, np.ndarray | list | tuple):
        return Pictures.of_sequence(source)
    if isinstance(source, PIL.Image.Image):
        return Pictures.of_sequence([source])
    if isinstance(source, str | os.PathLike):
        return _stored(os.fspath(source))
    raise MediaError(
        f"frames come from a path, an array (T, H, W, 3) or a list of pictures. Got {type(source).__name__}"
        + (": use stream() for what is seen once." if hasattr(source, "__next__") else ".")
    )


def _stored(source: str) -> Reader:
    path = Path(source)
    if "://" in source:
        return Video(source)
    if path.is_dir() or (glob.has_magic(source) and not path.exists()):
        return Pictures.of_files(find_pictures(path), path.name)
    if not path.exists():
        raise MediaError(f"there is no file {source}.")
    if path.stat().st_size == 0:
        raise MediaError(f"{source} is empty (0 bytes).")
    return Pictures.of_files([path], path.name) if is_picture(path) else Video(source)
