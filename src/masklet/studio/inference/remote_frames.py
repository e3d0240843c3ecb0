"""Frames that another process decodes, as the rest of masklet reads frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

from masklet.errors import MaskletError
from masklet.media import Frames, Image, NoSuchFrame
from masklet.media.readers.microscopy import PixelSize, StackAxes
from masklet.media.readers.source import Metadata, Recording
from masklet.studio.inference.decoder import DecoderProcess

KEPT_BYTES = 8 * 2**20  # maximum size of the image that the server keeps of a video; 1080p needs 6 MB


class RemoteReader:
    """A `DecoderProcess` as `masklet.media.Frames` reads it.

    Args:
        file_name: The name of a frame's image; by default from the file.
        pixel_size: Set by a user; by default from the file.
    """

    def __init__(
        self,
        decoder: DecoderProcess,
        name: str,
        size: tuple[int, int],
        fps: float,
        count: int,
        recording: Recording | None = None,
        file_name: Callable[[int], str] | None = None,
        pixel_size: PixelSize | None = None,
    ) -> None:
        self.name = name
        self._given_size = pixel_size
        self._file_name = file_name
        self._recording = recording
        self.size = size
        self.fps = fps
        self.intensity_range: tuple[float, float] | None = None  # applied where frames are decoded
        self._decoder = decoder
        self._count = count

    @property
    def pixel_aspect(self) -> Fraction:
        try:
            return Fraction(self._decoder.describe()["pixel_aspect"])
        except MaskletError:  # reading a frame reports the error of the file
            return Fraction(1)

    def metadata(self) -> Metadata:
        """The file's metadata. Only the decoder knows the axes of a TIFF's pages."""
        stack = self._stack
        axes, size = stack["axes"], stack["pixel_size"]
        return Metadata(
            has_times=bool(stack["has_times"]),
            axes=None if axes is None else StackAxes(page_of={}, **axes),
            pixel_size=self._given_size or (None if size is None else PixelSize(*size)),
            recording=self._recording,
        )

    @cached_property
    def _stack(self) -> dict[str, Any]:
        return self._decoder.stack()

    def with_sound(self, sound: bytes, start: float) -> RemoteReader:
        """The same frames with sound that starts at a second of the file."""
        recording = Recording(sound, -start)
        return RemoteReader(self._decoder, self.name, self.size, self.fps, self._count, recording)

    def count(self) -> int:
        return self._count

    def time(self, frame: int) -> float:
        return float(self._decoder.frame_info(frame)["time"])

    def file_name(self, frame: int) -> str:
        if self._file_name is not None:
            return self._file_name(frame)
        return str(self._decoder.frame_info(frame)["file"])

    def read(self, frames: Sequence[int]) -> Mapping[int, Image]:
        frame = frames[-1]
        if not 0 <= frame < self._count:
            raise NoSuchFrame(self.name, frame, self._count)
        return {frame: self._decoder.read(frame)}

    def decode(self, frame: int) -> None:
        """Let the decoder process decode and cache a frame."""
        self._decoder.decode(frame)

    def play(self, start: int) -> Iterator[Image]:
        return (self._decoder.read(frame) for frame in range(start, self._count))


class RemoteFrames(Frames):
    """Frames that the decoder process caches. The server keeps the last one, which is often needed again."""

    def __init__(self, reader: RemoteReader) -> None:
        super().__init__(reader)
        self._remote = reader
        self._last_frame: tuple[int, Image] | None = None

    def __getitem__(self, frame: int) -> Image:
        last = self._last_frame
        if last is not None and last[0] == frame:
            return last[1]
        image = self._reader.read([frame])[frame]
        if image.nbytes <= KEPT_BYTES:
            self._last_frame = frame, image
        return image

    def prepare(self, frame: int) -> None:
        """Start to decode a frame, so that the model's thread does not wait for it."""
        height, width = self.size
        if 3 * height * width <= KEPT_BYTES:
            self[frame]
        else:
            self._remote.decode(frame)

    def with_sound(self, sound: bytes, first: int) -> RemoteFrames:
        """The same frames, for a video that starts with frame `first` and has this sound."""
        return RemoteFrames(self._remote.with_sound(sound, self.time(first)))
