"""Stored sources as frames: files, folders, URLs, arrays. Frames are decoded when requested."""

from __future__ import annotations

import glob
import math
import operator
import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import chain, count, islice, takewhile
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import PIL.Image
import torch

from masklet.caches import LruCache
from masklet.errors import MediaError
from masklet.media.readers.image_files import is_gif, is_image, is_image_data, refuse_unread
from masklet.media.readers.image_stacks import (
    ImageStack,
    ReadingOptions,
    open_image_file,
    open_image_files,
    open_sequence,
)
from masklet.media.readers.images import (
    fetch,
    find_images,
    is_image_url,
    is_single_array,
    is_url,
    read_bytes,
)
from masklet.media.readers.microscopy import Channel, PixelSize, StackAxes
from masklet.media.readers.source import (
    Image,
    IntensityRange,
    Metadata,
    NoSuchFrame,
    Reader,
    Recording,
    TimedReader,
    frame_file_name,
    printable,
)
from masklet.media.readers.videos import Video

CACHED_FRAMES = 32
FRAMES_AHEAD = 2  # number of frames that are decoded while the caller works
SLOWEST, FASTEST = 0.0001, 1000  # rates at which videos are sampled
CACHED_BYTES = 256 * 2**20

Value = TypeVar("Value")


class Frames:
    """A stored source of frames: `len`, `frames[i]`, `for image in frames`.

    Each frame is a new (H, W, 3) uint8 RGB array, so you can draw on it.

    The last frames are cached, so stepping back through a video decodes each stretch once. Threads can share
    it, and it can be pickled and copied: the copy opens the source again.

    Attributes:
        size: (H, W) of every frame.
    """

    def __init__(
        self, reader: Reader, *, kept_bytes: int = CACHED_BYTES, pixel_size: PixelSize | None = None
    ) -> None:
        self._reader = reader
        self._given_size = pixel_size
        self._kept_bytes = kept_bytes
        self.size = height, width = reader.size
        self._cached_frames = max(2, min(CACHED_FRAMES, kept_bytes // (height * width * 3)))
        self._cache: LruCache[int, Image] = LruCache(
            self._cached_frames * height * width * 3, size=lambda image: image.nbytes
        )
        self._last = 0
        self._played: tuple[int, Image] | None = None  # a player often requests the same frame again
        self._lock = Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (type(self), self._reader, self._kept_bytes, self._given_size)

    @property
    def name(self) -> str:
        return self._reader.name

    @property
    def fps(self) -> float:
        """Frames per second; the average if the rate varies, 24 for images without times."""
        return self._reader.fps

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height. Frames and masks are in stored pixels, which may not be square."""
        return self._reader.pixel_aspect

    @property
    def intensity_range(self) -> IntensityRange | None:
        """The intensities that became black and white; None for a source of 8 bits, which is not scaled.

        Pass it to `open_frames` to read the source in the same way again.
        """
        return self._reader.intensity_range

    @property
    def metadata(self) -> Metadata:
        """The source's metadata, with the pixel size that was passed to `open_frames`."""
        metadata = self._reader.metadata()
        return metadata if self._given_size is None else replace(metadata, pixel_size=self._given_size)

    @property
    def channel(self) -> Channel | None:
        """The selected channel of image files; None for the whole image."""
        return self.metadata.channel

    @property
    def recording(self) -> Recording | None:
        """The video file of the frames, for its sound; None for images and arrays."""
        return self.metadata.recording

    @property
    def axes(self) -> StackAxes | None:
        """Depth, time and channels, if a TIFF describes its pages. Frames are in slice order."""
        return self.metadata.axes

    @property
    def has_times(self) -> bool:
        """Whether `time` and `fps` are the source's own. Images without times play at 24 a second.

        `axes.seconds` has the times of a TIFF's pages.
        """
        return self.metadata.has_times

    @property
    def pixel_size(self) -> PixelSize | None:
        """The size of a pixel in micrometres: as passed to `open_frames`, or as in the OME or ImageJ TIFF."""
        return self.metadata.pixel_size

    @property
    def first_page(self) -> int:
        """The frame of the source that is frame 0 here; above 0 for a `part` of it."""
        return self.metadata.first_page

    def time(self, frame: int) -> float:
        """Seconds from the first frame to this one."""
        return self._reader.time(frame)

    def file_name(self, frame: int) -> str:
        return self._reader.file_name(frame)

    def __len__(self) -> int:
        return self._reader.count()

    def __getitem__(self, frame: int) -> Image:
        # Callers may draw on the image, so the cache and the source are copied.
        return self._image(frame).copy()

    def _image(self, frame: int) -> Image:
        frame = operator.index(frame)
        if frame < 0:
            raise NoSuchFrame(self.name, frame, len(self))
        played = self._played
        if played is not None and played[0] == frame:
            return played[1]
        with self._lock:
            image = self._cache.get(frame)
            if image is None:
                image = self._read(frame)
            self._last = frame
            return image

    def __iter__(self) -> Iterator[Image]:
        return (image.copy() for image in self.play())

    def play(self, start: int = 0) -> Iterator[Image]:
        """Iterate over the frames from `start` to the end. Copy frames before you change them.

        This is the fastest way to read: the next frames are decoded in a thread.
        """
        start = operator.index(start)
        images = read_ahead(self._reader.play(start), FRAMES_AHEAD) if start >= 0 else iter(())
        first = next(images, None)
        if first is None:
            raise NoSuchFrame(self.name, start, len(self))
        for frame, image in enumerate(chain([first], images), start):
            self._played = frame, image
            yield image

    def part(self, start: int, stop: int) -> Frames:
        """The frames from `start` to just before `stop`, numbered from 0."""
        if stop > len(self):
            raise NoSuchFrame(self.name, stop - 1, len(self))
        reader = FrameRange(self._reader, start, stop)
        return Frames(reader, kept_bytes=self._kept_bytes, pixel_size=self._given_size)

    def _read(self, frame: int) -> Image:
        steps_back = self._last - self._cached_frames < frame < self._last
        first = max(0, frame + 1 - self._cached_frames) if steps_back else frame
        images = self._reader.read(range(first, frame + 1))
        for number, image in images.items():
            self._cache[number] = image
        return images[frame]


def open_frames(
    source: object,
    *,
    fps: float | None = None,
    channel: Channel | None = None,
    intensity_range: IntensityRange | None = None,
    max_pixels: int | None = None,
    kept_bytes: int = CACHED_BYTES,
    pixel_size: PixelSize | str | None = None,
) -> Frames:
    """Open a stored source of frames. Only what is needed for size and intensity range is decoded.

    Args:
        source: A video file or URL; a folder or glob of images, in natural order; an image of one page or
            many; a file in memory, as bytes or a file object; an array or tensor (T, H, W, C) or (T, H, W); a
            list of what `read_image` takes; or Frames.
        fps: Sample a video at this many frames per second.
        channel: The channel of image files; see `read_image`.
        intensity_range: The intensities that become black and white, for sources of more than 8 bits. By
            default chosen from a sample of the frames; see `Frames.intensity_range`.
        max_pixels: Allow images with more pixels than 2**28.
        kept_bytes: Bytes of decoded frames to cache, the most recent ones.
        pixel_size: The size of a pixel in the sample, such as "0.65um" or "0.2x0.2x1um", for measures and
            label TIFFs; by default that of the source.

    Raises:
        MediaError: The source cannot be read, is damaged, or is not stored; or the pixel size cannot be read.

    Example:
        >>> frames = open_frames(np.zeros((5, 48, 64), np.uint8))
        >>> len(frames), frames.size, frames[2].shape
        (5, (48, 64), (48, 64, 3))
    """
    size = None if pixel_size is None else PixelSize.of(pixel_size)
    if isinstance(source, Frames):
        if fps is None and intensity_range is None and channel is None and size is None:
            return source
        reader, size = source._reader, size or source._given_size
        if intensity_range is not None or channel is not None:
            raise MediaError(
                "these frames are already open: pass intensity_range and channel when you open their file."
            )
    else:
        reader = _open_reader(source, ReadingOptions(channel, intensity_range, max_pixels))
    if fps is None:
        return Frames(reader, kept_bytes=kept_bytes, pixel_size=size)
    if not (isinstance(reader, TimedReader) and reader.metadata().has_times):
        raise MediaError(
            f"fps needs a source whose frames have times, and {reader.name} has none. Leave fps out."
        )
    return Frames(SampledFrames(reader, fps), kept_bytes=kept_bytes, pixel_size=size)


def is_still(source: object) -> bool:
    """Whether a source is a single image, not a video or stream."""
    if isinstance(source, np.ndarray | torch.Tensor):
        return is_single_array(source)
    if isinstance(source, PIL.Image.Image):
        return True
    if isinstance(source, str | os.PathLike):
        if is_url(source):
            return is_image_url(os.fspath(source)) and len(open_frames(source)) == 1
        path = Path(source)
        may_be = is_image(path) or path.suffix.lower() == ".gif"
        return may_be and path.is_file() and len(open_frames(path)) == 1
    if hasattr(source, "read") or isinstance(source, bytes | bytearray | memoryview):
        data = read_bytes(source)
        may_be = data is not None and (is_image_data(data) or is_gif(data))
        return may_be and len(open_frames(data)) == 1
    return False


def _open_reader(source: object, options: ReadingOptions) -> Reader:
    if isinstance(source, np.ndarray | torch.Tensor | list | tuple):
        _refuse_channel("an array or list", options)
        return open_sequence(source, intensity_range=options.intensity_range, max_pixels=options.max_pixels)
    if isinstance(source, PIL.Image.Image):
        _refuse_channel("a PIL image", options)
        return open_sequence([source], intensity_range=options.intensity_range)
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), options)
    data = read_bytes(source)
    if data is not None:
        return _open_bytes(data, "the file", options)
    raise MediaError(
        "frames must be a path, URL, bytes, an array (T, H, W, 3) or a list of images. Got "
        f"{type(source).__name__}"
        + (": use stream() for sources that can be read only once." if hasattr(source, "__next__") else ".")
    )


def _open_path(source: str, options: ReadingOptions) -> Reader:
    path = Path(source)
    if is_image_url(source):
        return _open_bytes(fetch(source), source, options)
    if is_url(source):
        return _open_video(source, options)
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be entered
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{printable(source)} cannot be opened: {str(reason).lower()}.") from error
    if path.is_dir() or (glob.has_magic(source) and not path.exists()):
        return open_image_files(find_images(path), printable(path.name), options)
    if not path.exists():
        raise MediaError(f"there is no file {printable(source)}.")
    if not path.is_file():
        raise MediaError(
            f"{printable(source)} is a pipe or a device. Expected a file: read live input with "
            "masklet.media.stream."
        )
    if path.stat().st_size == 0:
        raise MediaError(f"{printable(source)} is empty (0 bytes).")
    if is_image(path):
        return open_image_files([path], printable(path.name), options)
    refuse_unread(path, printable(path.name))
    return _open_video(source, options)


def _open_bytes(data: bytes, name: str, options: ReadingOptions) -> Reader:
    if not data:
        raise MediaError(f"{name} is empty (0 bytes).")
    if is_image_data(data):
        return open_image_file(data, name, options)
    refuse_unread(data, name)
    return _open_video(data, options)


def _open_video(source: str | bytes, options: ReadingOptions) -> Video | ImageStack:
    _refuse_channel("a video", options)
    video = Video(source, intensity_range=options.intensity_range)
    file = source if isinstance(source, bytes) else Path(source)
    if is_gif(file) and video.count() == 1:
        stack = open_image_file(file, video.name, options)
        if stack.count() > 1:  # FFmpeg merges images between which no time is given
            return stack
    return video


def _refuse_channel(source: str, options: ReadingOptions) -> None:
    if options.channel is not None:
        raise MediaError(
            f"channel selects a channel of image files. Got {source}: select the channel yourself before "
            "you pass it."
        )


def _reopen(kind: type[Frames], reader: Reader, kept_bytes: int, pixel_size: PixelSize | None) -> Frames:
    return kind(reader, kept_bytes=kept_bytes, pixel_size=pixel_size)


def read_ahead(values: Iterator[Value], count: int) -> Iterator[Value]:
    """The same values in the same order, with up to `count` of them computed ahead.

    An error is raised in place of its value. If the caller stops early, the value in progress is finished and
    dropped, and a generator is closed.

    Example:
        >>> list(read_ahead(iter("abc"), 2))
        ['a', 'b', 'c']
    """
    end = object()
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
    futures = deque(thread.submit(next, values, end) for _ in range(count))
    try:
        while (value := futures.popleft().result()) is not end:
            futures.append(thread.submit(next, values, end))
            yield value  # type: ignore[misc]  # not the end marker
    finally:
        thread.shutdown(cancel_futures=True)
        if isinstance(values, Generator):
            values.close()


class SampledFrames:
    """Frame k is the source's frame k / fps seconds after its first frame."""

    def __init__(self, reader: TimedReader, fps: float) -> None:
        self._reader = reader
        self.fps = _check_fps(fps)
        self.name = reader.name
        self.size = reader.size
        self.pixel_aspect = reader.pixel_aspect
        self.intensity_range = reader.intensity_range
        self._metadata = replace(reader.metadata(), axes=None)

    def metadata(self) -> Metadata:
        return self._metadata

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
        """The number of the frame in the source."""
        return self._reader.frame_at(frame / self.fps)


def _check_fps(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise MediaError(f"fps must be a number, such as 5. Got {value!r:.60}.")
    fps = float(value)
    if not 0 < fps < math.inf:
        raise MediaError(f"fps must be above 0. Got {fps:g}.")
    if not SLOWEST <= fps <= FASTEST:
        raise MediaError(f"fps must be from {SLOWEST} to {FASTEST} frames per second. Got {fps:g}.")
    return fps


class FrameRange:
    """Some frames of a source, numbered from 0. Times and file names are those of the source."""

    def __init__(self, reader: Reader, start: int, stop: int) -> None:
        if not 0 <= start < stop:
            raise MediaError(f"start must be 0 or more, and stop larger than start. Got {start} to {stop}.")
        self._reader = reader
        self._start = start
        self._stop = stop
        # The sound would begin with the source's first frame.
        metadata = reader.metadata()
        self._metadata = replace(metadata, first_page=start + metadata.first_page, recording=None)
        self.name = reader.name
        self.size = reader.size
        self.fps = reader.fps
        self.pixel_aspect = reader.pixel_aspect
        self.intensity_range = reader.intensity_range

    def metadata(self) -> Metadata:
        return self._metadata

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
