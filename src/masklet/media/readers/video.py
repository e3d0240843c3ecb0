"""A stored video, decoded by PyAV: played from any frame on, or any frame alone. Knows nothing of caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from masklet.errors import MediaError
from masklet.media.readers.packets import PacketIndex
from masklet.media.readers.source import STILLS_FPS, Image, NoSuchFrame, numbered

AHEAD = 8  # frames that are quicker decoded than jumped over
CHECKED = 32  # frames decoded to see that packets and pictures agree

Decoded = tuple[int, VideoFrame]  # a frame's number and picture


class Video:
    """Frames are numbered in the order they are shown, from 0, and turned upright as the file says.

    path : anything that PyAV opens: a file or a URL
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.name = path if "://" in path else Path(path).name
        with self._open() as container:
            stream = container.streams.video[0]
            rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
            self.fps = min(rates, default=STILLS_FPS)  # either may be far too high, neither too low
            self._tick = float(stream.time_base or 1 / 90_000)  # seconds
        # `read` keeps one decoder going, so that asking for frame after frame is as quick as playing.
        self._cursor: Iterator[Decoded] | None = self._decode(0)
        first = next(self._cursor, None)
        if first is None:
            raise MediaError(f"{self.name} holds no frame that can be decoded.")
        self._last = first
        picture = first[1]
        self._turns = round(picture.rotation / 90) % 4  # quarters, counterclockwise
        self._coded = picture.height, picture.width
        self.size = self._coded if self._turns % 2 == 0 else self._coded[::-1]

    def count(self) -> int:
        return self._count

    def time(self, frame: int) -> float:
        if not self._indexed:
            return frame / self.fps
        shown = self._index.shown(frame)
        if shown is None:
            raise self._absent(frame)
        return (shown - self._start) * self._tick

    def frame_at(self, seconds: float) -> int | None:
        """The frame on show; None behind the time of the last one."""
        if not self._indexed:
            frame = int(seconds * self.fps + 1e-6)
            return frame if frame < self.count() else None
        pts = self._start + round(seconds / self._tick)
        frame = self._index.frame_at(pts)
        is_last = self._index.shown(frame + 1) is None
        return None if is_last and self._index.shown(frame) != pts else frame

    def file_name(self, frame: int) -> str:
        return numbered(frame, ".jpg")

    def read(self, wanted: Sequence[int]) -> Mapping[int, Image]:
        """The last of the wanted frames, and those of the others that are decoded on the way to it."""
        target = wanted[-1]
        pictures = self._towards(target)
        self._cursor = None  # a decoder that fails on the way is not asked again
        found = {}
        for frame, picture in pictures:
            self._last = frame, picture
            if frame in wanted:
                found[frame] = self.rgb(picture)
            if frame >= target:
                break
        if target not in found:
            raise self._absent(target)
        self._cursor = pictures
        return found

    def play(self, start: int) -> Iterator[Image]:
        return (self.rgb(picture) for _, picture in self.pictures(start))

    def pictures(self, start: int) -> Iterator[Decoded]:
        """Every frame from `start` on, by a decoder of its own."""
        return ((frame, picture) for frame, picture in self._decode(start) if frame >= start)

    def rgb(self, picture: VideoFrame) -> Image:
        height, width = self._coded  # should the size change midway, frames keep that of the first
        array = picture.to_ndarray(format="rgb24", width=width, height=height)
        return np.ascontiguousarray(np.rot90(array, self._turns))

    def _towards(self, target: int) -> Iterator[Decoded]:
        """A decoder that comes by the target: the one at hand, or one set back or forth."""
        last = self._last[0]
        if self._cursor is not None and target == last:
            return chain([self._last], self._cursor)
        if self._cursor is not None and target > last and self._is_ahead(target, last):
            return self._cursor
        if self._indexed and self._index.shown(target) is None:
            raise self._absent(target)
        return self._decode(target)

    def _is_ahead(self, target: int, last: int) -> bool:
        """Whether decoding on from `last` reaches the target no later than a jump would."""
        if target - last <= AHEAD or not self._indexed:
            return True
        keys = self._keys_before(target)
        return bool(keys) and self._index.frame_at(keys[0]) <= last

    def _keys_before(self, target: int) -> list[int]:
        shown = self._index.shown(target) if target > 0 and self._indexed else None
        return [] if shown is None else self._index.keys_before(shown)

    def _decode(self, target: int) -> Iterator[Decoded]:
        """Frames from a keyframe at or before the target to the end."""
        key, container, packets = self._packets(target)
        frame, pts = -1, None
        with container:
            try:
                for picture in _pictures(container, packets):
                    pts = picture.pts
                    if key is None:
                        frame += 1
                    elif pts is None or pts < key:
                        continue  # built on frames before the keyframe, which were not decoded
                    else:
                        frame = self._index.frame_at(pts)
                    yield frame, picture
            except av.FFmpegError as error:
                raise self._broken(frame) from error
        if pts is not None and self._entries and pts < max(self._entries):
            raise self._broken(frame)

    def _packets(self, target: int) -> tuple[int | None, InputContainer, Iterator[Packet]]:
        """Packets from a keyframe before the target on, and its pts; or from the start, and None."""
        for key in self._keys_before(target):
            container = self._open()
            with suppress(av.FFmpegError):
                container.seek(key, stream=container.streams.video[0])
                packets = container.demux(video=0)
                first = next((packet for packet in packets if packet.is_keyframe), None)
                # Some containers land late: then the keyframe before is tried.
                if first is not None and first.pts is not None and first.pts <= key:
                    return first.pts, container, chain([first], packets)
            container.close()
        container = self._open()
        return None, container, container.demux(video=0)

    def _open(self) -> InputContainer:
        try:
            container = av.open(self._path)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(
                f"{self._path} is not a video, or is cut short: {error.strerror or error}."
            ) from error
        if not container.streams.video:
            raise MediaError(f"{self._path} holds no video. Give a file with pictures in it.")
        container.streams.video[0].thread_type = "AUTO"
        return container

    @cached_property
    def _index(self) -> PacketIndex:
        return PacketIndex(self._open().demux(video=0))

    @property
    def _indexed(self) -> bool:
        return self._agrees and self._index.exact

    @cached_property
    def _agrees(self) -> bool:
        """Whether pictures and packets are one to one; not so where some are hidden or cannot be decoded."""
        decoded: list[int | None] = []
        with suppress(av.FFmpegError), self._open() as container:
            pictures = _pictures(container, container.demux(video=0))
            decoded.extend(picture.pts for picture in islice(pictures, CHECKED))
        return [self._index.shown(frame) for frame in range(len(decoded))] == decoded

    @cached_property
    def _start(self) -> int:
        return self._index.shown(0) or 0

    @cached_property
    def _count(self) -> int:
        """By the container's head, or by its packets, where these can be trusted; else by decoding."""
        if self._indexed:
            count = len(self._entries) or self._index.count()
            if self._indexed:  # still so, with the packets read
                return count
        count = 0
        with suppress(MediaError):
            for _ in self._decode(0):
                count += 1
        return count

    @cached_property
    def _entries(self) -> list[int]:
        """Decoding times of all frames, as an MP4 lists them in its head; empty for other containers."""
        with self._open() as container:
            if "mp4" not in container.format.name:
                return []
            entries = container.streams.video[0].index_entries
            return [entry.timestamp for entry in entries if not entry.is_discard]

    def _absent(self, frame: int) -> MediaError:
        # A file that breaks off promises more frames than it has.
        if 0 <= frame < self._count:
            return self._broken(self._index.count() - 1)
        return NoSuchFrame(self.name, frame, self._count)

    def _broken(self, frame: int) -> MediaError:
        where = f"after frame {frame}" if frame >= 0 else "before its first frame"
        return MediaError(
            f"{self.name} breaks off {where}: what follows is missing or damaged. "
            f"Use the frames up to there, or mend the file (ffmpeg -i {self.name} mended.mp4)."
        )


def _pictures(container: InputContainer, packets: Iterator[Packet]) -> Iterator[VideoFrame]:
    """All pictures that decode; then, where the packets are damaged, the decoder's error."""
    trouble, started = None, False
    while trouble is None:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            pictures = packet.decode()
        except av.FFmpegError as error:
            if not started:  # as players do, skip what comes before the first whole picture
                continue
            trouble, pictures = error, container.streams.video[0].decode(None)
        for picture in pictures:
            started = True
            yield picture
    raise trouble
