"""The sound of a source, carried over into a video that is written frame by frame."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from masklet.media.readers.source import Recording

log = logging.getLogger(__name__)

COPIED = {  # codecs that a container takes as they are, and the encoder for all others
    "mp4": ({"aac", "mp3", "ac3", "eac3", "alac"}, "aac"),
    "mov": ({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le"}, "aac"),
    "webm": ({"opus", "vorbis"}, "libopus"),
}
OPUS_RATE, OPUS_FRAME = 48_000, 960  # samples


class AudioTrack:
    """Copies the packets of a recording's sound, or encodes it anew where the container does not take it.

    Packets are written as far as the video has come, so that both lie beside each other in the file.

    Args:
        container: The video that is written.
        recording: Where the sound comes from.
    """

    def __init__(self, container: OutputContainer, recording: Recording) -> None:
        file = recording.file
        self._input: InputContainer = av.open(io.BytesIO(file) if isinstance(file, bytes) else file, "r")
        self._sound = self._input.streams.audio[0]
        self._output = container
        self._origin = recording.start  # the time of the first frame, in the file's own seconds
        self._start = 0.0  # the time in the source at which the video starts
        codecs, encoder = COPIED[container.format.name.partition(",")[0]]
        self._is_copied = self._sound.codec_context.name in codecs
        if self._is_copied:
            self._stream = container.add_stream_from_template(self._sound)
        else:
            rate = OPUS_RATE if encoder == "libopus" else self._sound.rate
            stream = container.add_stream(encoder, rate)
            assert isinstance(stream, AudioStream)
            stream.codec_context.layout = "stereo" if self._sound.channels > 1 else "mono"
            self._stream = stream
        self._packets: Iterator[Packet] = iter(())
        self._next: Packet | None = None

    @classmethod
    def open(cls, container: OutputContainer, recording: Recording | None) -> AudioTrack | None:
        """The sound of a recording; None where it has none. What cannot be carried over is left out."""
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
        """Start with the sound at this time of the source, in seconds."""
        self._start = start
        if start > 0:
            self._input.seek(int((self._origin + start) * av.time_base))
        self._packets = self._copy() if self._is_copied else self._encode()
        self._next = next(self._packets, None)

    def write_until(self, seconds: float) -> None:
        """Write the sound of up to this many seconds from the beginning of the video."""
        while self._next is not None and self._seconds(self._next) < seconds:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

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
                continue  # a damaged packet is a short silence
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
