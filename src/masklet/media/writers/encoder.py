"""What videos of masks have in common: codec, times as in the source, files that appear when whole."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from masklet.errors import MediaError
from masklet.files import StrPath, make_folder, temporary_path, write_errors
from masklet.media.readers.source import Image, Source
from masklet.media.writers.writer import Writer
from masklet.types import Masks

TICK = Fraction(1, 90_000)  # seconds; whole numbers of it make all usual frame rates


@dataclass(frozen=True)
class Coding:
    """How pictures become a video.

    tick : the container's unit of time, in seconds
    tuning, options : of the codec, of the container
    """

    container: str
    codec: str
    pixels: str
    tuning: Mapping[str, str]
    options: Mapping[str, str]
    tick: Fraction = TICK


class VideoWriter(Writer):
    """Each frame at its time in the source, in BT.709.

    Frames must come in order. The file appears when it is closed. An odd side grows by a pixel.
    """

    coding: ClassVar[Coding]

    def __init__(self, path: StrPath, source: Source) -> None:
        self._path = path
        self._source = source
        make_folder(Path(path).parent)
        self._part = temporary_path(path)
        self._first: float | None = None
        self._frame = -1
        self._pts = -1
        self._closed = False
        coding = self.coding
        with write_errors(path):
            self._container = av.open(
                os.fspath(self._part), "w", format=coding.container, options=dict(coding.options)
            )
        rate = Fraction(source.fps).limit_denominator(1001)
        stream = self._container.add_stream(coding.codec, rate, dict(coding.tuning))
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        height, width = source.size
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = coding.pixels
        codec = self._stream.codec_context
        codec.time_base = coding.tick
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

    @abstractmethod
    def picture(self, image: Image, masks: Masks) -> UInt8[np.ndarray, "H W c"]:
        """What the video shows: RGB, or RGBA where its pixels have an alpha."""

    def write(self, image: Image, masks: Masks) -> None:
        if masks.frame <= self._frame:
            raise MediaError(
                f"a video takes frames in order. Got frame {masks.frame} after frame {self._frame}: "
                f"write it when all masks are known."
            )
        seconds = self._source.time(masks.frame)
        self._first = seconds if self._first is None else self._first
        self._frame = masks.frame
        self._pts = max(self._pts + 1, round((seconds - self._first) / self.coding.tick))
        picture = self.picture(image, masks)
        height, width, channels = picture.shape
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(picture, format="rgba" if channels == 4 else "rgb24").reformat(
            format=self.coding.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self._pts, self.coding.tick
        with write_errors(self._path):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with write_errors(self._path):
                self._container.mux(self._stream.encode(None))
                self._container.close()
                if self._first is not None:  # a video without frames is none
                    os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)
