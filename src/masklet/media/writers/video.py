"""Videos of masks: codecs, their size limits, times as in the source, files that appear when complete."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, cast

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from masklet.errors import MediaError
from masklet.files import StrPath, make_folder, temporary_path, write_errors
from masklet.media.readers.decoding import open_file
from masklet.media.readers.source import Image, Recording, Source, metadata_of
from masklet.media.writers.writer import Writer, check_image, check_masks, closed_error
from masklet.types import Masks

log = logging.getLogger(__name__)

SLOWEST, FASTEST = Fraction(1, 1000), Fraction(1000)  # frames per second passed to encoders
SLOW, SLOW_TICK = 1 / 60, Fraction(1, 1000)  # below this frame rate, ticks are longer
# The longest time in seconds for which a frame is shown. MP4 counts ticks of at most 1/16000 s up to 2**31,
# over four frames, since they are encoded in another order.
LONGEST, LONGEST_SLOW = 5_900.0, 33_000.0

COPIED = {  # codecs that a container can copy, and the encoder for all others
    "mp4": ({"aac", "mp3", "ac3", "eac3", "alac"}, "aac"),
    "mov": ({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le"}, "aac"),
    "webm": ({"opus", "vorbis"}, "libopus"),
}
OPUS_RATE, OPUS_FRAME = 48_000, 960  # samples


@dataclass(frozen=True)
class Coding:
    """How images are encoded as a video.

    Attributes:
        container: The file format.
        codec: The encoder.
        pixels: Its pixel format.
        tuning: Options of the codec.
        options: Options of the container.
        metadata: Metadata of the stream.
        tick: The container's unit of time in seconds.
        longest_side: In pixels. Players rarely take larger videos, and encoders refuse them.
        largest_area: In pixels.
    """

    container: str
    codec: str
    pixels: str
    tuning: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tick: Fraction = Fraction(1, 90_000)  # divisible by all usual frame rates
    longest_side: int = 8192
    largest_area: int = 8192 * 4352  # H.264's level 6.2

    def fit(self, size: tuple[int, int]) -> tuple[int, int]:
        """The largest size (H, W) of the same aspect that the codec takes.

        Args:
            size: (H, W) of the frames.

        Example:
            >>> H264.fit((1080, 1920)), H264.fit((9000, 20000))
            ((1080, 1920), (3686, 8192))
        """
        height, width = size
        scale = min(1.0, self.longest_side / max(size), (self.largest_area / (height * width)) ** 0.5)
        return max(1, int(height * scale)), max(1, int(width * scale))


H264 = Coding(
    container="mp4",
    codec="libx264",
    pixels="yuv420p",
    tuning={"crf": "20", "preset": "veryfast"},
    options={"movflags": "faststart"},
)
VP9_ALPHA = Coding(
    container="webm",
    codec="libvpx-vp9",
    pixels="yuva420p",
    tuning={"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
    metadata={"alpha_mode": "1"},
    tick=Fraction(1, 1000),
)


PRORES_4444 = Coding(
    container="mov",
    codec="prores_ks",
    pixels="yuva444p10le",
    tuning={"profile": "4444", "vendor": "apl0", "alpha_bits": "16"},
)


class VideoWriter(Writer):
    """A video with each frame at its time in the source, in BT.709. The file appears when it is closed.

    The sound of a video file is carried over: copied if the container supports its codec, otherwise encoded
    again.

    Frames must come in order. An odd side grows by a pixel; an image that is too large for the codec is
    scaled down. A pause between two frames is at most an hour and a half, or nine hours if there is less than
    one frame per minute.

    Args:
        path: The file.
        source: Where the frames come from.

    Raises:
        MediaError: The file cannot be written, the codec refuses size or rate, or frames do not come in
            order.
    """

    coding: ClassVar[Coding]

    def __init__(self, path: StrPath, source: Source) -> None:
        self._path = path
        self._source = source
        make_folder(Path(path).parent)
        self._part = temporary_path(path)
        self._previous: tuple[int, float] | None = None  # frame and seconds
        self._start = 0.0  # the source's time at the video's start, plus cut pauses
        self._pts = 0
        self._is_begun = False
        self._is_closed = False
        self._failure: MediaError | None = None
        is_slow = source.fps < SLOW
        self._tick = max(SLOW_TICK, self.coding.tick) if is_slow else self.coding.tick
        self._longest = LONGEST_SLOW if is_slow else LONGEST
        size, self._pixel_aspect = source.size, source.pixel_aspect
        if self.coding.container == "webm":  # PyAV cannot write an aspect there: the pixels become square
            size, self._pixel_aspect = (size[0], round(size[1] * source.pixel_aspect)), Fraction(1)
        self._size = self.coding.fit(size)
        if self._size != size:
            old, new = ("{1}x{0}".format(*shape) for shape in (size, self._size))
            log.warning(
                "%s is scaled down from %s to %s, the largest size that players support.", path, old, new
            )
        with self._errors():
            self._container = av.open(
                os.fspath(self._part), "w", format=self.coding.container, options=dict(self.coding.options)
            )
            self._stream = self._add_stream()
            self._sound = AudioTrack.open(self._container, metadata_of(source).recording)

    def _add_stream(self) -> av.VideoStream:
        rate = Fraction(self._source.fps).limit_denominator(1001)
        rate = min(max(rate, SLOWEST), FASTEST)
        stream = self._container.add_stream(self.coding.codec, rate, dict(self.coding.tuning))
        assert isinstance(stream, av.VideoStream)
        height, width = self._size
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = self.coding.pixels
        stream.metadata.update(self.coding.metadata)
        codec = stream.codec_context
        codec.time_base = self._tick
        codec.sample_aspect_ratio = self._pixel_aspect
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return stream

    @abstractmethod
    def draw(self, image: Image, masks: Masks) -> UInt8[np.ndarray, "H W c"]:
        """Draw a frame of the video.

        Args:
            image: The frame, uint8 (H, W, 3).
            masks: Its masks.

        Returns:
            uint8 (H, W, 3), RGB; or (H, W, 4), RGBA, where the pixel format has alpha.
        """

    def write(self, image: Image, masks: Masks) -> None:
        if self._is_closed:
            raise closed_error(self._path)
        check_masks(masks, self._source)
        check_image(image, masks)
        self._pts = self._next_pts(masks.frame)
        drawn = self.draw(image, masks)
        if self._size != drawn.shape[:2]:
            drawn = cv2.resize(drawn, self._size[::-1], interpolation=cv2.INTER_AREA)
        height, width, channels = drawn.shape
        if height % 2 or width % 2:
            drawn = np.pad(drawn, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(drawn, format="rgba" if channels == 4 else "rgb24").reformat(
            format=self.coding.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self._pts, self._tick
        with self._errors():
            if self._sound is not None and not self._is_begun:
                self._sound.begin(self._start)
            self._is_begun = True
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.write_until(float(self._pts * self._tick))

    def _next_pts(self, frame: int) -> int:
        seconds = self._source.time(frame)
        if self._previous is None:
            self._start, pts = seconds, 0
        else:
            last_frame, last_seconds = self._previous
            if frame <= last_frame:
                raise MediaError(
                    f"a video needs frames in order. Got frame {frame} after frame {last_frame}: write the "
                    "video when all masks are known."
                )
            self._start += max(0.0, seconds - last_seconds - self._longest)
            pts = max(self._pts + 1, round((seconds - self._start) / self._tick))
        self._previous = frame, seconds
        return pts

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._failure is not None:  # FFmpeg ends the process at a second header after a failed one
                with suppress(OSError):
                    self._container.close()
                raise self._failure
            with self._errors():
                self._container.mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.write_until(float(self._pts * self._tick) + 1 / self._source.fps)
                self._container.close()
                if self._is_begun:  # no frames, no video
                    os.replace(self._part, self._path)
        finally:
            if self._sound is not None:
                self._sound.close()
            self._part.unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with write_errors(self._path):
                yield
        except MediaError as error:
            self._failure = error
            raise
        except (av.FFmpegError, ValueError, OverflowError) as error:
            height, width = self._size
            self._failure = MediaError(
                f"{self._path} cannot be encoded, {width}x{height} pixels at {self._source.fps:.6g} frames "
                f"a second: {error}. Choose another format or smaller frames."
            )
            raise self._failure from error


class AudioTrack:
    """Copies the packets of a recording's sound, or encodes it again if the container does not support its
    codec.

    Packets are written up to the video's current time, so that both are interleaved in the file.

    Args:
        container: The video that is written.
        recording: Where the sound comes from.
    """

    def __init__(self, container: OutputContainer, recording: Recording) -> None:
        file = recording.file
        self._input: InputContainer = open_file(file, "the recording")
        self._sound = self._input.streams.audio[0]
        self._output = container
        self._origin = recording.start  # the time of the first frame, in the file's own seconds
        self._start = 0.0  # the time in the source at which the video starts
        codecs, encoder = COPIED[container.format.name.partition(",")[0]]
        self._is_copied = self._sound.codec_context.name in codecs
        if self._is_copied:
            self._stream = container.add_stream_from_template(self._sound)
        else:
            stream = container.add_stream(encoder, _encoder_rate(encoder, self._sound.rate))
            assert isinstance(stream, AudioStream)
            stream.codec_context.layout = "stereo" if self._sound.channels > 1 else "mono"
            self._stream = stream
        self._packets: Iterator[Packet] = iter(())
        self._next: Packet | None = None

    @classmethod
    def open(cls, container: OutputContainer, recording: Recording | None) -> AudioTrack | None:
        """Open the sound of a recording. Sound that cannot be copied or encoded is left out, with a warning.

        Returns:
            None if there is no recording, or no sound in it.
        """
        if recording is None:
            return None
        try:
            return cls(container, recording)
        except IndexError:
            return None  # without sound
        except (av.FFmpegError, OSError, ValueError) as error:
            log.warning("the sound is left out: %s", error)
            return None

    def begin(self, start: float) -> None:
        """Start with the sound at a time of the source.

        Args:
            start: The source's time in seconds.
        """
        self._start = start
        with self._ending():
            if start > 0:
                self._input.seek(int((self._origin + start) * av.time_base))
            self._packets = self._copy() if self._is_copied else self._encode()
            self._next = next(self._packets, None)

    def write_until(self, seconds: float) -> None:
        """Write the sound up to this time of the video, in seconds."""
        with self._ending():
            while self._next is not None and self._seconds(self._next) < seconds:
                self._output.mux(self._next)
                self._next = next(self._packets, None)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """End the sound after an error, so that the images are still written."""
        try:
            yield
        except (av.ArgumentError, av.InvalidDataError) as error:
            log.warning("the sound ends early: %s", error)
            self._next = None

    def close(self) -> None:
        self._input.close()

    def _seconds(self, packet: Packet) -> float:
        return float((packet.pts or 0) * (packet.time_base or Fraction(1)))

    def _shift(self) -> float:
        return self._origin + self._start

    def _copy(self) -> Iterator[Packet]:
        for packet in self._read():
            assert packet.pts is not None and packet.time_base is not None
            pts = packet.pts - round(self._shift() / packet.time_base)
            if pts >= 0:
                packet.pts = packet.dts = pts
                packet.stream = self._stream
                yield packet

    def _encode(self) -> Iterator[Packet]:
        codec = self._stream.codec_context
        resampler: AudioResampler | None = None
        for packet in self._read():
            try:
                frames = cast(list[AudioFrame], packet.decode())
            except av.FFmpegError:
                continue  # a damaged packet becomes a short silence
            for frame in frames:
                if frame.pts is None or frame.time_base is None:
                    continue
                pts = round((frame.pts * frame.time_base - Fraction(self._shift())) * codec.sample_rate)
                if pts < 0:
                    continue
                if resampler is None:
                    size = codec.frame_size or OPUS_FRAME
                    resampler = AudioResampler(codec.format, codec.layout, codec.sample_rate, size)
                frame.pts = round(pts * frame.sample_rate / codec.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                for resampled in resampler.resample(frame):
                    yield from self._stream.encode(resampled)
        if resampler is not None:
            for resampled in resampler.resample(None):
                yield from self._stream.encode(resampled)
            yield from self._stream.encode(None)

    def _read(self) -> Iterator[Packet]:
        packets = self._input.demux(self._sound)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                log.warning("the sound ends early: %s", error)
                return
            if packet.pts is not None:
                yield packet


def _encoder_rate(encoder: str, rate: int) -> int:
    """An encoder's sample rate for a source of `rate`: the same or the next higher one, if available.

    >>> _encoder_rate("aac", 44100), _encoder_rate("aac", 192000), _encoder_rate("libopus", 44100)
    (44100, 96000, 48000)
    """
    if encoder == "libopus":
        return OPUS_RATE
    rates = sorted(av.Codec(encoder, "w").audio_rates or [rate])
    return next((possible for possible in rates if possible >= rate), rates[-1])
