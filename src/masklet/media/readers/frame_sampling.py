"""Some frames of a video: at a steady rate, the frame on show at each tick; or from one frame to another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice, takewhile

from masklet.errors import MediaError
from masklet.media.readers.source import (
    Image,
    NoSuchFrame,
    Reader,
    Recording,
    TimedReader,
    frame_file_name,
)


class SampledFrames:
    """Frame k is what the source shows k / fps seconds after its first frame."""

    def __init__(self, reader: TimedReader, fps: float) -> None:
        if not 0 < fps < math.inf:
            raise MediaError(f"fps must be above 0. Got {fps:g}.")
        self._reader = reader
        self.fps = fps
        self.name = reader.name
        self.size = reader.size
        self.pixel_aspect = reader.pixel_aspect
        self.intensity_range = reader.intensity_range
        self.recording: Recording | None = getattr(reader, "recording", None)

    def count(self) -> int:
        ticks = int(self._reader.time(self._reader.count() - 1) * self.fps)
        return next(tick for tick in count(ticks) if self._source_frame(tick) is None)

    def time(self, frame: int) -> float:
        return frame / self.fps

    def file_name(self, frame: int) -> str:
        return frame_file_name(frame, ".jpg")

    def read(self, frames: Sequence[int]) -> Mapping[int, Image]:
        pairs = [(frame, below) for frame in frames if (below := self._source_frame(frame)) is not None]
        if not pairs or pairs[-1][0] != frames[-1]:
            raise NoSuchFrame(self.name, frames[-1], self.count())
        images = self._reader.read([below for _, below in pairs])
        return {frame: images[below] for frame, below in pairs if below in images}

    def play(self, start: int) -> Iterator[Image]:
        source_frames = map(self._source_frame, count(start))
        return self._reader.play_frames(
            frame for frame in takewhile(lambda frame: frame is not None, source_frames) if frame is not None
        )

    def _source_frame(self, frame: int) -> int | None:
        """The number of the source's own frame."""
        return self._reader.frame_at(frame / self.fps)


class FrameRange:
    """Some frames of a source, numbered from 0. Times and file names are those of the source."""

    def __init__(self, reader: Reader, start: int, stop: int) -> None:
        if not 0 <= start < stop:
            raise MediaError(f"a range of frames runs from 0 or more to a later one. Got {start} to {stop}.")
        self._reader = reader
        self._start = start
        self._stop = stop
        self.name = reader.name
        self.size = reader.size
        self.fps = reader.fps
        self.pixel_aspect = reader.pixel_aspect
        self.intensity_range = reader.intensity_range

    def count(self) -> int:
        return self._stop - self._start

    def time(self, frame: int) -> float:
        return self._reader.time(self._start + frame)

    def file_name(self, frame: int) -> str:
        return self._reader.file_name(self._start + frame)

    def read(self, frames: Sequence[int]) -> Mapping[int, Image]:
        if frames[-1] >= self.count():
            raise NoSuchFrame(self.name, frames[-1], self.count())
        images = self._reader.read([self._start + frame for frame in frames])
        return {number - self._start: image for number, image in images.items()}

    def play(self, start: int) -> Iterator[Image]:
        if start >= self.count():
            return iter(())
        return islice(self._reader.play(self._start + start), self.count() - start)
