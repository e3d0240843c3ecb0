"""One pass over a video's packets. Images are rotated upright, and damaged packets skipped."""

from __future__ import annotations

import heapq
import io
import os
import re
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from masklet.errors import MediaError
from masklet.media.readers.intensity import RawImage
from masklet.media.readers.source import SQUARE, printable

Threading = Literal["AUTO", "SLICE"]
# Values that H.273 reserves and that damaged headers contain: players use the usual matrix for them.
RESERVED_MATRICES, UNSPECIFIED_MATRIX = (3, *range(15, 256)), 2
SUPPORTED_RANGES = (ColorRange.UNSPECIFIED, ColorRange.MPEG, ColorRange.JPEG)
# Demuxers that open the files or addresses listed in a text, and how such texts begin.
REFERRING_FORMATS = {"concat", "dash", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp"}
PLAYLIST = re.compile(
    rb"(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat version|v=0\r?\n|\[playlist\]"
    rb"|(<\?xml.*)?<(MPD|playlist|asx|smil)\b)",
    re.DOTALL | re.IGNORECASE,
)
VideoFile = str | bytes  # a path or URL, or the whole file in memory


def open_container(file: VideoFile, name: str, threading: Threading = "AUTO") -> InputContainer:
    """Open a video for decoding; raises MediaError if it is not a video."""
    try:
        container = open_file(file, name)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{name} is not a video, or is truncated: {reason}.") from error
    stream = video_stream(container)
    if stream is None:
        container.close()
        raise MediaError(f"{name} contains no video stream. Give a video file.")
    if getattr(stream, "codec_context", None) is None:
        container.close()
        raise MediaError(
            f"{name} has a video codec that this build of FFmpeg does not support. Convert the file first."
        )
    stream.thread_type = threading
    return container


def open_file(file: VideoFile, name: str) -> InputContainer:
    """Open a container with FFmpeg, and no other files that it refers to.

    A playlist from a web server is read: FFmpeg itself lets it name nothing but web addresses.

    Raises:
        MediaError: The file is a playlist on this machine.
        av.FFmpegError: It cannot be opened.
    """
    if not _is_local(file):
        return av.open(str(file), "r", metadata_errors="replace")
    try:
        options = {"format_whitelist": _self_contained_formats()}
        return av.open(_openable(file), "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if PLAYLIST.match(_head(file)):
            raise MediaError(
                f"{name} is a playlist, which lists other files and contains no video. Give one of the "
                "listed videos, or join its parts into one file first (ffmpeg -i ... -c copy)."
            ) from error
        raise


@cache
def _self_contained_formats() -> str:
    names = {name for entry in av.formats_available for name in entry.split(",")}
    return ",".join(sorted(names - REFERRING_FORMATS))


def _is_local(file: VideoFile) -> bool:
    return isinstance(file, bytes) or "://" not in file or file.lower().startswith("file://")


def _head(file: VideoFile) -> bytes:
    if isinstance(file, bytes):
        return file[:1024]
    path = file[len("file://") :] if file.lower().startswith("file://") else file
    with suppress(OSError), open(os.fsencode(path), "rb") as opened:
        return opened.read(1024)
    return b""


def video_stream(container: InputContainer) -> VideoStream | None:
    """The stream that a player shows, which is not a cover image if there is another.

    A stream without a decoder does not count: damaged headers name codecs that do not exist.
    """
    stream = container.streams.best("video")
    return stream if isinstance(stream, VideoStream) and stream.codec_context is not None else None


class DecodingPass:
    """Iterate over it for the images of these packets.

    Attributes:
        damaged: Packets that could not be decoded so far.
        last_dts: The decoding time of the last packet that was read.
    """

    def __init__(self, container: InputContainer, packets: Iterator[Packet]) -> None:
        stream = video_stream(container)
        assert stream is not None
        self._container, self._stream, self._packets = container, stream, packets
        self._decoder = _alpha_decoder(stream) or stream
        self.damaged = 0
        self.last_dts: int | None = None

    def __iter__(self) -> Iterator[VideoFrame]:
        while (packet := self._next_packet()) is not None:
            if packet.dts is not None:
                self.last_dts = packet.dts if self.last_dts is None else max(self.last_dts, packet.dts)
            if packet.size:
                yield from self._decode(packet)
        yield from self._decode(None)

    def _next_packet(self) -> Packet | None:
        try:
            return next(self._packets, None)
        except av.FFmpegError:
            self.damaged += 1
            self._packets = self._container.demux(self._stream)  # continue after the damage
        try:
            return next(self._packets, None)
        except av.FFmpegError:
            return None

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except av.EOFError:
            return []
        except av.FFmpegError:
            self.damaged += 1
            return []


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """A decoder that supports transparency in WebM; FFmpeg's own decoders of VP8 and VP9 ignore it."""
    names = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
    name = names.get(stream.codec_context.name)
    metadata = {key.lower(): value for key, value in stream.metadata.items()}
    if metadata.get("alpha_mode") != "1" or name is None:
        return None
    decoder = av.CodecContext.create(name, "r")
    return decoder if isinstance(decoder, VideoCodecContext) else None


@dataclass(frozen=True)
class Geometry:
    """How a video's coded images are displayed; taken from the first image.

    Attributes:
        coded: (H, W) as coded.
        is_transposed, is_mirrored, is_upside_down: Applied in this order, as in the display matrix.
    """

    coded: tuple[int, int]
    is_transposed: bool = False
    is_mirrored: bool = False
    is_upside_down: bool = False
    coded_aspect: Fraction = SQUARE

    @classmethod
    def of(cls, decoded: VideoFrame, coded_aspect: Fraction | None) -> Geometry:
        """Make it from a video's first image and the container's pixel aspect."""
        aspect = coded_aspect if coded_aspect and coded_aspect > 0 else SQUARE
        coded = decoded.height, decoded.width
        try:
            matrix = decoded.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV does not know all kinds of side data
            turns = round(decoded.rotation / 90) % 4  # counterclockwise; without mirroring
            return cls(coded, turns in (1, 3), turns in (2, 3), turns in (1, 2), aspect)
        if not isinstance(matrix, SideData):
            return cls(coded, coded_aspect=aspect)
        a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))  # x' = a x + c y, y' = b x + d y
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(coded, is_mirrored=a < 0, is_upside_down=d < 0, coded_aspect=aspect)
        return cls(coded, is_transposed=True, is_mirrored=c < 0, is_upside_down=b < 0, coded_aspect=aspect)

    @property
    def size(self) -> tuple[int, int]:
        return (self.coded[1], self.coded[0]) if self.is_transposed else self.coded

    @property
    def pixel_aspect(self) -> Fraction:
        return 1 / self.coded_aspect if self.is_transposed else self.coded_aspect

    def turn(self, array: np.ndarray) -> np.ndarray:
        if self.is_transposed:
            array = array.swapaxes(0, 1)
        if self.is_mirrored:
            array = array[:, ::-1]
        return np.ascontiguousarray(array[::-1] if self.is_upside_down else array)

    def raw(self, decoded: VideoFrame, name: str) -> RawImage:
        """An image's pixels, upright. If the size changes midway, later images are resized to the first.

        Raises:
            MediaError: Its colours cannot be converted to RGB.
        """
        if decoded.colorspace in RESERVED_MATRICES:
            decoded.colorspace = UNSPECIFIED_MATRIX
        if decoded.color_range not in SUPPORTED_RANGES:
            decoded.color_range = ColorRange.UNSPECIFIED
        try:
            return self._to_rgb(decoded)
        except av.FFmpegError as error:
            raise MediaError(
                f"{name} has colours that cannot be converted to RGB ({decoded.format.name}, matrix "
                f"{decoded.colorspace}): {error.strerror}. Convert the video to BT.709 first."
            ) from error

    def _to_rgb(self, decoded: VideoFrame) -> RawImage:
        height, width = self.coded
        pixels = decoded.format
        if any(component.bits > 8 for component in pixels.components) and (
            pixels.is_rgb or len(pixels.components) == 1
        ):
            wide = "rgb48le" if pixels.is_rgb else "gray16le"
            return RawImage(self.turn(decoded.to_ndarray(format=wide, width=width, height=height)))
        if any(component.is_alpha for component in pixels.components):
            rgba = self.turn(decoded.to_ndarray(format="rgba", width=width, height=height))
            alpha = rgba[..., 3]
            return RawImage(rgba[..., :3], None if (alpha == 255).all() else alpha.astype(np.float32) / 255)
        return RawImage(self.turn(decoded.to_ndarray(format="rgb24", width=width, height=height)))


class _OpenFile(io.FileIO):
    """A file that is closed together with its container."""

    def __del__(self) -> None:
        self.close()


def _openable(file: VideoFile) -> str | io.IOBase:
    if isinstance(file, bytes):
        return io.BytesIO(file)
    if printable(file) != file:  # FFmpeg takes names in UTF-8 only
        return _OpenFile(os.fsencode(file))
    return file if "://" in file else f"file:{file}"  # otherwise text before a colon would be a protocol


class PacketIndex:
    """Presentation times (pts) of a video's frames and keyframes, in order; read only as far as needed.

    Attributes:
        exact: False if packets have no usable times, as in a raw H.264 file; then nothing here is reliable.
    """

    def __init__(self, packets: Iterator[Packet]) -> None:
        self.exact = True
        self._packets = packets
        self._pts = array("q")
        self._keyframe_pts = array("q")
        self._pending: list[int] = []  # read, but a frame with an earlier time may still follow

    def pts_of(self, frame: int) -> int | None:
        """The pts of a frame, or None after the last."""
        while len(self._pts) <= frame and self._read_packet():
            pass
        return self._pts[frame] if frame < len(self._pts) else None

    def frame_at(self, pts: int) -> int:
        """The frame on show at a time; -1 before the first."""
        while (not self._pts or self._pts[-1] <= pts) and self._read_packet():
            pass
        return bisect_right(self._pts, pts) - 1

    def keyframes_before(self, pts: int) -> list[int]:
        """The last few keyframes from which a frame can be decoded, the nearest first."""
        self.frame_at(pts)
        end = bisect_right(self._keyframe_pts, pts)
        return list(reversed(self._keyframe_pts[max(0, end - 3) : end]))

    def count(self) -> int:
        while self._read_packet():
            pass
        return len(self._pts)

    def _read_packet(self) -> bool:
        """Read one packet; False at the end."""
        try:
            packet = next(self._packets, None)
        except av.FFmpegError:  # a truncated file: use what was read
            packet = None
        if packet is None:
            while self._pending:
                self._add_first_pending()
            self._packets = iter(())
            return False
        if not packet.size or packet.is_discard:  # no image, or cut away by the container's edit list
            return True
        if packet.pts is None:
            self.exact = False
            return True
        heapq.heappush(self._pending, packet.pts)
        if packet.is_keyframe:
            self._keyframe_pts.insert(bisect_left(self._keyframe_pts, packet.pts), packet.pts)
        # No later packet is shown before its own decoding time.
        while packet.dts is not None and self._pending and self._pending[0] <= packet.dts:
            self._add_first_pending()
        return True

    def _add_first_pending(self) -> None:
        pts = heapq.heappop(self._pending)
        if self._pts and pts <= self._pts[-1]:
            self.exact = False  # two frames with one time, or decreasing times
            return
        self._pts.append(pts)
