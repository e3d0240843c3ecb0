"""A stored video: reads from any frame on, or any single frame. It has no cache."""

from __future__ import annotations

import logging
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import NamedTuple, Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from masklet.errors import MediaError
from masklet.media.readers.decoding import (
    DecodingPass,
    Geometry,
    PacketIndex,
    Threading,
    VideoFile,
    open_container,
    video_stream,
)
from masklet.media.readers.intensity import RgbConverter, estimate_intensity_range
from masklet.media.readers.source import (
    STILLS_FPS,
    Image,
    IntensityRange,
    Metadata,
    NoSuchFrame,
    Recording,
    frame_file_name,
    printable,
)

# Suffixes of videos that `mimetypes` does not know on every machine, or treats as images.
VIDEO_SUFFIXES = frozenset((".mkv", ".gif", ".m2ts"))
AHEAD = 8  # frames that are faster to decode than to seek over
CHECKED = 32  # frames decoded to check that packets and frames agree
SAMPLED_FRAMES = 5  # frames from which the intensity range is chosen

Decoded = tuple[int, VideoFrame]  # a frame's number, and the frame as decoded

log = logging.getLogger(__name__)


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether the name says that it is a video, or a GIF, which is read as one."""
    kind, _ = mimetypes.guess_type(PurePath(path).name)
    return (kind or "").startswith("video/") or PurePath(path).suffix.lower() in VIDEO_SUFFIXES


class Video:
    """Frames are numbered in the order they are shown, from 0, and turned upright as the file says.

    A packet that cannot be decoded is skipped, with a warning: its frame shows the image before it.

    Args:
        file: A path or URL that PyAV opens, or the file's bytes.
        intensity_range: The intensities that become black and white; by default chosen from a sample of the
            frames if they are RGB or grey of more than 8 bits.
    """

    def __init__(self, file: VideoFile, *, intensity_range: IntensityRange | None = None) -> None:
        self._file = file
        self.name = _source_name(file)
        self._threading: Threading = "AUTO"
        self._stamp = _file_stamp(file)
        with self._open() as container:
            stream = video_stream(container)
            assert stream is not None
            rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
            self.fps = min(rates, default=STILLS_FPS)  # either may be far too high, but not too low
            self._tick = float(stream.time_base or Fraction(1, 90_000))  # seconds
            aspect = stream.sample_aspect_ratio
        self._has_palette = False
        # `read` keeps one decoder open, so that reading frames in order is as fast as playing.
        self._cursor: Iterator[Decoded] | None = self._decode(0)
        first = next(self._cursor, None)
        if first is None:
            raise MediaError(f"{self.name} has no frame that can be decoded.")
        self._last = first
        self._has_palette = first[1].format.name == "pal8"
        self._metadata = Metadata(recording=Recording(file, (first[1].pts or 0) * self._tick))
        self._geometry = Geometry.of(first[1], aspect)
        self.size = self._geometry.size
        self.pixel_aspect = self._geometry.pixel_aspect
        self._converter = RgbConverter(intensity_range)
        if intensity_range is None and self._geometry.raw(first[1], self.name).is_deep:
            self._converter = RgbConverter(self._choose_intensity_range())

    def __reduce__(self) -> tuple[object, tuple[type[Self], VideoFile, IntensityRange | None]]:
        return _reopen, (type(self), self._file, self.intensity_range)

    @property
    def intensity_range(self) -> IntensityRange | None:
        return self._converter.intensity_range

    def metadata(self) -> Metadata:
        return self._metadata

    def count(self) -> int:
        return self._count

    def time(self, frame: int) -> float:
        if not self._is_indexed:
            return frame / self.fps
        pts = self._index.pts_of(frame)
        if pts is None:
            raise self._missing_frame(frame)
        return (pts - self._start) * self._tick

    def frame_at(self, seconds: float) -> int | None:
        """The frame shown at this time; None after the last one."""
        if not self._is_indexed:
            frame = int(seconds * self.fps + 1e-6)
            return frame if frame < self.count() else None
        pts = self._start + round(seconds / self._tick)
        frame = self._index.frame_at(pts)
        is_last = self._index.pts_of(frame + 1) is None
        return None if is_last and self._index.pts_of(frame) != pts else frame

    def file_name(self, frame: int) -> str:
        return frame_file_name(frame, ".jpg")

    def read(self, frames: Sequence[int]) -> Mapping[int, Image]:
        """The last of these frames, and those of the others that are decoded before it."""
        target = frames[-1]
        decoder = self._find_decoder(target)
        self._cursor = None  # a decoder that failed is not used again
        images = {}
        for frame, decoded in decoder:
            self._last = frame, decoded
            if frame in frames:
                images[frame] = self._convert(decoded)
            if frame >= target:
                break
        if target not in images:
            raise self._missing_frame(target)
        self._cursor = decoder
        return images

    def play(self, start: int) -> Iterator[Image]:
        return (self._convert(decoded) for frame, decoded in self._decode(start) if frame >= start)

    def play_timed(self) -> Iterator[tuple[float, Image]]:
        """All frames with their times in seconds, from one pass that reads every byte once."""
        first = None
        for frame, decoded in self._decode(0):
            seconds = frame / self.fps if decoded.pts is None else decoded.pts * self._tick
            first = seconds if first is None else first
            yield seconds - first, self._convert(decoded)

    def play_frames(self, frames: Iterable[int]) -> Iterator[Image]:
        """These frames, whose numbers never decrease, from one decoder, which reads to the video's end."""
        decoder: Iterator[Decoded] | None = None
        number, decoded = -1, None
        for frame in frames:
            decoder = decoder or self._decode(frame)
            while number < frame and (entry := next(decoder, None)) is not None:
                number, decoded = entry
            if decoded is None or number < frame:
                return
            yield self._convert(decoded)
        for _ in decoder or ():
            pass

    def _convert(self, decoded: VideoFrame) -> Image:
        return self._converter.convert(self._geometry.raw(decoded, self.name))

    def _find_decoder(self, target: int) -> Iterator[Decoded]:
        """A decoder that reaches the target: the current one, or a new one."""
        last = self._last[0]
        if self._cursor is not None and target == last:
            return chain([self._last], self._cursor)
        if self._cursor is not None and target > last and self._is_near(target, last):
            return self._cursor
        if self._is_indexed and self._index.pts_of(target) is None:
            raise self._missing_frame(target)
        return self._decode(target)

    def _is_near(self, target: int, last: int) -> bool:
        """Whether decoding on from `last` reaches the target as soon as a seek would."""
        if target - last <= AHEAD or not self._is_indexed:
            return True
        keys = self._keyframes_before(target)
        return bool(keys) and self._index.frame_at(keys[0]) <= last

    def _keyframes_before(self, target: int) -> list[int]:
        if self._has_palette:  # which may come with the first packet only, as in AVI
            return []
        pts = self._index.pts_of(target) if target > 0 and self._is_indexed else None
        return [] if pts is None else self._index.keyframes_before(pts)

    def _decode(self, target: int) -> Iterator[Decoded]:
        """Frames from a keyframe at or before the target to the end, without gaps."""
        frame = -1
        if self._threading == "AUTO":
            try:
                for frame, decoded in self._decode_once(target):
                    yield frame, decoded
                return
            except _Damage:  # decoders with several threads lose whole frames after it
                self._threading = "SLICE"
                log.warning("%s is damaged: packets that cannot be decoded are skipped.", self.name)
        resume = max(target, frame + 1)
        decoder = self._decode_once(resume)
        if frame < 0:
            yield from decoder
            return
        for number, decoded in decoder:
            if number > frame:
                yield number, decoded

    def _decode_once(self, target: int) -> Iterator[Decoded]:
        key, container, packets = self._packets(target)
        # If packets are damaged, frames are numbered by their times, because their order would skip some.
        is_timed = key is not None or (self._threading == "SLICE" and self._is_indexed)
        frame, last_decoded = -1, None
        with container:
            decoding = DecodingPass(container, packets)
            for decoded in decoding:
                if decoding.damaged and frame >= 0 and self._threading == "AUTO":
                    raise _Damage
                number = frame + 1
                if is_timed:
                    if decoded.pts is None or (key is not None and decoded.pts < key):
                        continue  # built on frames before the keyframe, which were not decoded
                    number = self._index.frame_at(decoded.pts)
                    if key is not None and last_decoded is None and number > target:
                        yield from self._decode_once(0)  # the keyframe is damaged
                        return
                    if last_decoded is not None:
                        yield from ((gap, last_decoded) for gap in range(frame + 1, number))
                frame, last_decoded = number, decoded
                yield frame, decoded
        if decoding.damaged and frame >= 0 and self._threading == "AUTO":
            raise _Damage
        if self._entries and (decoding.last_dts is None or decoding.last_dts < max(self._entries)):
            raise self._broken_off(frame)
        if is_timed and decoding.damaged and last_decoded is not None:
            yield from ((gap, last_decoded) for gap in range(frame + 1, self._index.count()))

    def _packets(self, target: int) -> tuple[int | None, InputContainer, Iterator[Packet]]:
        """Packets from a keyframe before the target on, and its pts; or from the start, and None."""
        for key in self._keyframes_before(target):
            container = self._open()
            stream = video_stream(container)
            assert stream is not None
            with suppress(av.FFmpegError):
                container.seek(key, stream=stream)
                packets = container.demux(stream)
                first = next((packet for packet in packets if packet.is_keyframe), None)
                # Some containers seek too far: then the previous keyframe is tried.
                if first is not None and first.pts is not None and first.pts <= key:
                    return first.pts, container, chain([first], packets)
            container.close()
        container = self._open()
        return None, container, container.demux(video_stream(container))

    def _open(self) -> InputContainer:
        stamp = _file_stamp(self._file)
        # A file that is still being written may grow; any other change means another video, whose frames
        # would be mixed in.
        if stamp and self._stamp and stamp != self._stamp:
            is_growing = stamp.inode == self._stamp.inode and stamp.size > self._stamp.size
            if not is_growing:
                raise MediaError(f"{self.name} was replaced or changed since it was opened: open it again.")
        return open_container(self._file, self.name, self._threading)

    def _choose_intensity_range(self) -> IntensityRange:
        last = self.count() - 1
        frames = sorted({round(last * step / (SAMPLED_FRAMES - 1)) for step in range(SAMPLED_FRAMES)})
        samples = []
        for frame in frames:
            decoded = next((decoded for number, decoded in self._decode(frame) if number >= frame), None)
            if decoded is not None:
                samples.append(self._geometry.raw(decoded, self.name).values)
        return estimate_intensity_range(samples)

    @cached_property
    def _index(self) -> PacketIndex:
        container = self._open()
        return PacketIndex(container.demux(video_stream(container)))

    @property
    def _is_indexed(self) -> bool:
        return self._packets_are_frames and self._index.exact

    @cached_property
    def _packets_are_frames(self) -> bool:
        """Whether decoded frames and packets correspond one to one, except for damaged packets.

        False if some frames are hidden: then packets do not identify frames.
        """
        with open_container(self._file, self.name, self._threading) as container:
            decoding = DecodingPass(container, container.demux(video_stream(container)))
            decoded = [frame.pts for frame in islice(decoding, CHECKED)]
        if decoding.damaged and self._threading == "AUTO":
            with open_container(self._file, self.name, "SLICE") as container:
                decoding = DecodingPass(container, container.demux(video_stream(container)))
                decoded = [frame.pts for frame in islice(decoding, CHECKED)]
        expected = [self._index.pts_of(frame) for frame in range(len(decoded) + decoding.damaged)]
        missing = [pts for pts in expected if pts not in decoded]
        present = [pts for pts in expected if pts in decoded]
        return present == decoded and decoded[:1] == expected[:1] and len(missing) <= decoding.damaged

    @cached_property
    def _start(self) -> int:
        return self._index.pts_of(0) or 0

    @cached_property
    def _count(self) -> int:
        """By the container's header or its packets if these are reliable, otherwise by decoding."""
        if self._is_indexed:
            count = len(self._entries) or self._index.count()
            if self._is_indexed:  # still true, with the packets read
                return count
        count = 0
        with suppress(MediaError):
            for _ in self._decode(0):
                count += 1
        return count

    @cached_property
    def _entries(self) -> list[int]:
        """Decoding times of all frames from the header of an MP4; empty for other containers."""
        with self._open() as container:
            stream = video_stream(container)
            if "mp4" not in container.format.name or stream is None:
                return []
            return [entry.timestamp for entry in stream.index_entries if not entry.is_discard]

    def _missing_frame(self, frame: int) -> MediaError:
        # The header of a truncated file lists more frames than the file has.
        if 0 <= frame < self._count:
            return self._broken_off(self._index.count() - 1)
        return NoSuchFrame(self.name, frame, self._count)

    def _broken_off(self, frame: int) -> MediaError:
        where = f"after frame {frame}" if frame >= 0 else "before its first frame"
        return MediaError(
            f"{self.name} cannot be decoded {where}: the rest is missing or damaged. Use the frames before "
            f"it, or repair the file (ffmpeg -i {self.name} repaired.mp4)."
        )


class _Damage(Exception):
    """A packet could not be decoded by a decoder with several threads."""


class FileStamp(NamedTuple):
    """Identifies a file, to detect that it was replaced."""

    inode: int
    size: int
    modified: int


def _file_stamp(file: VideoFile) -> FileStamp | None:
    """None for a file that is in memory, on a server, or missing."""
    with suppress(OSError, ValueError):
        if isinstance(file, str) and "://" not in file:
            state = os.stat(file)
            return FileStamp(state.st_ino, state.st_size, state.st_mtime_ns)
    return None


def _source_name(file: VideoFile) -> str:
    if isinstance(file, bytes):
        return "the video"
    return file if "://" in file else printable(Path(file).name)


def _reopen(kind: type[Video], file: VideoFile, intensity_range: IntensityRange | None) -> Video:
    return kind(file, intensity_range=intensity_range)
