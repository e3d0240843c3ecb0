"""Still images as frames: the files of a folder, the pages of one file, or images in memory."""

from __future__ import annotations

import os
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from masklet.errors import MediaError
from masklet.media.readers.image_files import File, ImageFile
from masklet.media.readers.images import is_single_array, read_raw, split_sequence
from masklet.media.readers.intensity import RawImage, RgbConverter, estimate_intensity_range
from masklet.media.readers.microscopy import (
    Channel,
    Color,
    StackAxes,
    mix_channels,
    take_optical_channel,
)
from masklet.media.readers.source import (
    SQUARE,
    STILLS_FPS,
    Image,
    IntensityRange,
    Metadata,
    NoSuchFrame,
    frame_file_name,
    printable,
)

SAMPLED_FRAMES = 9  # frames from which the intensity range is chosen
UNKNOWN = Metadata()

Page = Callable[[], RawImage]


class ImageStack:
    """Images of one size as frames.

    All are converted to 8 bits with one intensity range, so that a stack does not flicker. Pages of an
    animation have times; other images play at 24 a second.

    Args:
        name: Its name in messages.
        pages: Functions that each read one image.
        file_names: The images' file names, if they have any.
        durations: Seconds for which each image is on show.
        intensity_range: The intensities that become black and white; by default chosen from a sample.
        mixed_range: The intensity range by which mixed channels were scaled, if the caller gave one.
        metadata: What the file says of its pages; `has_times` is set by `durations`.
    """

    pixel_aspect = SQUARE

    def __init__(
        self,
        name: str,
        pages: Sequence[Page],
        *,
        file_names: Sequence[str] = (),
        durations: Sequence[float] | None = None,
        intensity_range: IntensityRange | None = None,
        mixed_range: IntensityRange | None = None,
        metadata: Metadata = UNKNOWN,
    ) -> None:
        self._metadata = replace(metadata, has_times=durations is not None)
        self.name = name
        self._pages = pages
        self.file_names = file_names
        self._starts = None if durations is None else [0.0, *accumulate(durations)]
        self.fps = STILLS_FPS if self._starts is None else len(pages) / self._starts[-1]
        first = pages[0]()
        self.size = first.size
        self._converter = RgbConverter(intensity_range)
        self._set_intensity_range(first, 0)
        self._mixed_range = mixed_range

    @property
    def intensity_range(self) -> IntensityRange | None:
        return self._mixed_range or self._converter.intensity_range

    def metadata(self) -> Metadata:
        return self._metadata

    def count(self) -> int:
        return len(self._pages)

    def time(self, frame: int) -> float:
        return frame / self.fps if self._starts is None else self._starts[frame]

    def frame_at(self, seconds: float) -> int | None:
        if self._starts is None:
            frame = int(seconds * self.fps + 1e-6)
        else:
            frame = bisect_right(self._starts, seconds + 1e-6) - 1
        return frame if frame < self.count() else None

    def file_name(self, frame: int) -> str:
        return self.file_names[frame] if self.file_names else frame_file_name(frame, ".jpg")

    def read(self, frames: Sequence[int]) -> Mapping[int, Image]:
        frame = frames[-1]
        if not 0 <= frame < self.count():
            raise NoSuchFrame(self.name, frame, self.count())
        image = self._pages[frame]()
        if image.size != self.size:
            raise MediaError(
                f"the images of {self.name} must all have one size. The first has (H, W) = {self.size}, "
                f"and frame {frame} ({self.file_name(frame)}) has {image.size}."
            )
        self._set_intensity_range(image, frame)
        return {frame: self._converter.convert(image)}

    def play(self, start: int) -> Iterator[Image]:
        return self.play_frames(range(start, self.count()))

    def play_frames(self, frames: Iterable[int]) -> Iterator[Image]:
        return (self.read([frame])[frame] for frame in frames)

    def _set_intensity_range(self, image: RawImage, frame: int) -> None:
        """Choose the range of the source before its first image of more than 8 bits is converted. Images of 8
        bits among others keep their values."""
        if not image.is_deep or self._converter.intensity_range is not None:
            return
        last = self.count() - 1
        sampled = {round(last * step / (SAMPLED_FRAMES - 1)) for step in range(SAMPLED_FRAMES)}
        images = [image if number == frame else self._pages[number]() for number in sorted(sampled)]
        deep = [sample.values for sample in images if sample.is_deep]
        self._converter.intensity_range = estimate_intensity_range(deep or [image.values])


class _PagedFile:
    """One file of many pages, kept open so that the next page is found without a search. Threads can share
    it."""

    def __init__(self, file: File, max_pixels: int | None) -> None:
        self._file = file
        self._max_pixels = max_pixels
        self._opened: ImageFile | None = None
        self._lock = Lock()

    def read(self, page: int) -> RawImage:
        with self._lock:
            if self._opened is None:
                self._opened = ImageFile(self._file, max_pixels=self._max_pixels)
                weakref.finalize(self, self._opened.close)
            return self._opened.read(page)

    def read_channel(self, page: int, channel: Channel, name: str) -> RawImage:
        """One channel of a page in colours."""
        raw = self.read(page)
        return RawImage(take_optical_channel(raw.values, channel, name), raw.alpha)

    def __reduce__(self) -> tuple[type[_PagedFile], tuple[File, int | None]]:
        return _PagedFile, (self._file, self._max_pixels)


@dataclass(frozen=True)
class _ChannelMix:
    """Channels as one stack in colours. Each has its own intensity range."""

    stacks: Sequence[ImageStack]
    colors: Sequence[Color]

    def read(self, frame: int) -> RawImage:
        greys = [stack.read([frame])[frame][..., 0] for stack in self.stacks]
        return RawImage(mix_channels(greys, self.colors))


@dataclass(frozen=True)
class ReadingOptions:
    """How images are read; see `open_frames`."""

    channel: Channel | None = None
    intensity_range: IntensityRange | None = None
    max_pixels: int | None = None


def open_image_files(paths: Sequence[Path], name: str, options: ReadingOptions) -> ImageStack:
    """Image files as frames. A single file may hold many: the pages of a TIFF, an animated WebP or PNG.

    Raises:
        MediaError: A file cannot be read, or does not have the selected channel.
    """
    if len(paths) == 1:
        return open_image_file(paths[0], name, options, file_name=paths[0].name)
    with ImageFile(paths[0], max_pixels=options.max_pixels) as first:
        axes, pixel_size = first.axes(), first.pixel_size()
    if axes is not None and len(axes.channels) > 1:
        axes = replace(axes, depth=1, time=len(paths), page_of={}, seconds=())
    else:
        axes = None  # a file is one frame, whatever its pages
    file_names = _unique_names(paths)
    metadata = Metadata(axes=axes, channel=options.channel, pixel_size=pixel_size)

    def open_channel(channel: Channel | None) -> ImageStack:
        return ImageStack(
            name,
            [partial(read_raw, path, channel=channel, max_pixels=options.max_pixels) for path in paths],
            file_names=file_names,
            intensity_range=options.intensity_range,
            metadata=metadata,
        )

    if axes is None:
        return open_channel(options.channel)
    return _open_channels(axes.choose(options.channel, name), open_channel, options.intensity_range)


def open_image_file(
    file: File, name: str, options: ReadingOptions, *, file_name: str | None = None
) -> ImageStack:
    """The pages of one image file, or of its bytes, as frames. See `read_image` for its channels."""
    channel = options.channel
    with ImageFile(file, max_pixels=options.max_pixels) as opened:
        numbers, axes = opened.pages(), opened.axes()
        metadata = Metadata(axes=axes, channel=channel, pixel_size=opened.pixel_size())
        durations = opened.durations(len(numbers))
    paged = _PagedFile(file, options.max_pixels)
    if axes is not None:
        return _open_stack(paged, numbers, axes, name, options, metadata)
    if channel is None:
        pages: list[Page] = [partial(paged.read, page) for page in numbers]
    else:
        pages = [partial(paged.read_channel, page, channel, name) for page in numbers]
    return ImageStack(
        name,
        pages,
        file_names=[printable(file_name)] if file_name is not None and len(pages) == 1 else (),
        durations=durations,
        intensity_range=options.intensity_range,
        metadata=metadata,
    )


def _open_stack(
    file: _PagedFile,
    numbers: Sequence[int],
    axes: StackAxes,
    name: str,
    options: ReadingOptions,
    metadata: Metadata,
) -> ImageStack:
    """A stack whose axes are known: its frames are slices and points in time, and never channels."""

    def open_channel(channel: int) -> ImageStack:
        pages = [partial(file.read, numbers[page]) for page in axes.pages(channel)]
        return ImageStack(name, pages, intensity_range=options.intensity_range, metadata=metadata)

    is_single = options.channel is None and len(axes.channels) == 1
    chosen = 0 if is_single else axes.choose(options.channel, name)
    return _open_channels(chosen, open_channel, options.intensity_range)


def _open_channels(
    chosen: int | Mapping[int, Color],
    open_channel: Callable[[int], ImageStack],
    intensity_range: IntensityRange | None,
) -> ImageStack:
    """One channel as a stack, or several mixed in their colours, each scaled by its own range."""
    if isinstance(chosen, int):
        return open_channel(chosen)
    stacks = [open_channel(channel) for channel in chosen]
    first, mix = stacks[0], _ChannelMix(stacks, list(chosen.values()))
    return ImageStack(
        first.name,
        [partial(mix.read, frame) for frame in range(first.count())],
        file_names=first.file_names,
        mixed_range=intensity_range,
        metadata=first.metadata(),
    )


def open_sequence(
    images: np.ndarray | torch.Tensor | list[object] | tuple[object, ...],
    *,
    intensity_range: IntensityRange | None = None,
    max_pixels: int | None = None,
) -> ImageStack:
    """An array (T, H, W, C) or (T, H, W), or a list of what `read_image` takes, as frames."""
    if isinstance(images, np.ndarray | torch.Tensor) and (
        images.ndim not in (3, 4) or is_single_array(images)
    ):
        raise MediaError(
            "frames must be an array (T, H, W, 3) or (T, H, W), or a list of images. "
            f"Got shape {tuple(images.shape)}."
        )
    if len(images) == 0:
        raise MediaError("frames must hold at least one image. Got an empty sequence.")
    pages = [partial(read_raw, image, max_pixels=max_pixels) for image in split_sequence(images)]
    return ImageStack("the sequence", pages, intensity_range=intensity_range)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """The files' names; if two are equal, their paths below the common folder."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        root = os.path.commonpath([path.absolute().parent for path in paths])
        names = [path.absolute().relative_to(root).as_posix() for path in paths]
    return [printable(name) for name in names]
