"""Decodes frames of untrusted files in a separate process.

`DecoderProcess` is the server's side: it sends requests through a pipe and waits for answers. `_serve` is the
other process: it holds one file open. Its memory is limited, it writes no files, and it is killed if an
answer takes too long; the next request starts a new one. Requests wait at a `PriorityLock`.
"""

from __future__ import annotations

import ctypes
import heapq
import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from fractions import Fraction
from functools import cached_property
from io import BytesIO
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Condition
from typing import Any

import av
import numpy as np
import PIL.Image

from masklet.errors import MaskletError, MediaError
from masklet.media import Frames, Image, find_images, is_image, open_frames
from masklet.media.readers.decoding import open_file
from masklet.media.readers.microscopy import StackAxes
from masklet.studio.errors import ApiError, not_found
from masklet.studio.settings import Limits

Response = tuple[dict[str, Any], bytes | None]
Received = tuple[dict[str, Any], bytes]
Size = tuple[int, int, int]  # height, width, frames

JPEG_QUALITY = 85
CACHED_BYTES = 16 * 2**20  # decoded frames, once for the model and once for the page
THUMBNAIL_HEIGHT = 72
MAX_JPEG_SIDE = 8192
M_ARENA_MAX = -8  # an option of glibc's mallopt
# The first bytes of supported files. FFmpeg would also read playlists, which refer to other files and
# addresses.
SIGNATURES = (
    (0, b"\x89PNG"),
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"GIF8"),
    (0, b"BM"),
    (0, b"II*\x00"),  # TIFF
    (0, b"MM\x00*"),
    (0, b"RIFF"),  # AVI, WebP
    (4, b"ftyp"),  # MP4, QuickTime, AVIF
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (4, b"free"),
    (4, b"skip"),
    (0, b"\x1aE\xdf\xa3"),  # Matroska, WebM
    (0, b"\x00\x00\x01"),  # MPEG
    (0, b"\x00\x00\x00\x01"),  # H.264, HEVC
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"0&\xb2u"),  # ASF, WMV
    (0, b"YUV4MPEG2"),
    (0, b"DKIF"),  # IVF
)

MAX_SOUND_BYTES = 512 * 2**20
START_SECONDS = 180.0  # seconds for starting a process, on a busy machine
TS_PACKET = 188  # bytes; each packet of an MPEG transport stream begins with 0x47

PIL.Image.init()  # reads the kinds of images once, in the process that all decoders are forks of

_START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # as on Windows
_processes: Any = multiprocessing.get_context(_START)
if _START == "forkserver":
    _processes.set_forkserver_preload(["masklet.studio.inference.decoder"])


def start_fork_server() -> None:
    """Start to import the decoders' modules, so that the first file does not wait for them."""
    if _START == "forkserver":
        forkserver.ensure_running()


class Urgency(IntEnum):
    """Priorities for the decoder: a click does not wait for the thumbnails of a timeline."""

    model = 0
    image = 1
    thumbnail = 2


class PriorityLock:
    """Given to the waiter with the highest priority, or the earliest frame of equal ones.

    A file is decoded fastest in the order of its frames.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._queue: list[tuple[Urgency, int, int]] = []
        self._tickets = 0
        self._is_taken = False

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return len(self._queue)

    @contextmanager
    def hold(self, urgency: Urgency = Urgency.model, frame: int = 0) -> Iterator[None]:
        with self._condition:
            self._tickets += 1
            ticket = (urgency, frame, self._tickets)
            heapq.heappush(self._queue, ticket)
            self._condition.wait_for(lambda: not self._is_taken and self._queue[0] == ticket)
            heapq.heappop(self._queue)
            self._is_taken = True
        try:
            yield
        finally:
            with self._condition:
                self._is_taken = False
                self._condition.notify_all()


class DecoderProcess:
    """A file's frames, from a process that may fail. After a failure the next call starts a new one.

    Args:
        locate: Finds the file; called before it is opened.
        name: Its name in errors.
        expected: The size that the file must have.
        channel: The one channel to read of a TIFF with several; None for all, in colours.
    """

    def __init__(
        self,
        locate: Callable[[], Path],
        limits: Limits,
        *,
        name: str,
        expected: Size | None = None,
        channel: int | None = None,
    ) -> None:
        self._locate = locate
        self._name = name
        self._limits = limits
        self._expected = expected
        self._channel = channel
        self._lock = PriorityLock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def describe(self) -> dict[str, Any]:
        """name, width, height, frames, fps, pixel_aspect, channels, intensity_range"""
        return self._request("describe")[0]

    def stack(self) -> dict[str, Any]:
        """axes: channels, depth and time, or None; pixel_size: x, y and z, or None"""
        return self._request("stack")[0]

    def frame_info(self, frame: int) -> dict[str, Any]:
        """time in seconds, file name"""
        return self._request("frame_info", frame=frame)[0]

    def times(self, start: int, stop: int) -> list[float]:
        """The times of frames, in seconds of the file."""
        return list(self._request("times", Urgency.thumbnail, start=start, stop=stop)[0]["times"])

    def decode(self, frame: int) -> None:
        """Decode a frame into the process's cache, so that `read` returns at once."""
        self._request("decode", frame=frame)

    def read(self, frame: int) -> Image:
        head, body = self._request("read", frame=frame)
        return np.frombuffer(body, dtype=np.uint8).reshape(head["shape"])

    def jpeg(self, frame: int, width: int, height: int) -> bytes:
        """A JPEG that fits into width and height, and is no larger than the frame."""
        urgency = Urgency.thumbnail if height <= THUMBNAIL_HEIGHT else Urgency.image
        return bytes(self._request("jpeg", urgency, frame=frame, width=width, height=height)[1])

    def sound(self, start: int, stop: int, length: float) -> bytes | None:
        """The sound of some frames as Matroska, starting at second 0; None if the file has no sound.

        Args:
            start: The first frame.
            stop: The frame after the last.
            length: Seconds for which the last frame is shown.
        """
        head, body = self._request("sound", start=start, stop=stop, length=length)
        return bytes(body) if head["has_sound"] else None

    def close(self) -> None:
        with self._lock.hold():
            self._stop()

    def _request(self, method: str, urgency: Urgency = Urgency.model, **arguments: float) -> Received:
        with self._lock.hold(urgency, int(arguments.get("frame", 0))):
            try:
                pipe = self._connect()
                pipe.send_bytes(json.dumps({"method": method, **arguments}).encode())
                if not pipe.poll(self._limits.decode_seconds):
                    raise TimeoutError
                head = json.loads(pipe.recv_bytes())
                body = pipe.recv_bytes() if head.get("body") else b""
            except (EOFError, OSError) as error:  # a TimeoutError is an OSError
                self._stop()
                slow = f"more than {self._limits.decode_seconds:g} seconds"
                large = f"more than {self._limits.decode_bytes >> 20} MiB of memory, or the file is damaged"
                reason = slow if isinstance(error, TimeoutError) else large
                raise ApiError(400, "decoder", f"reading {self._name} took {reason}.") from None
        if head.get("missing"):
            raise not_found(head["error"])
        if "error" in head:
            raise MediaError(head["error"])
        return head, body

    def _connect(self) -> Connection:
        if self._pipe is None:
            limits, path = self._limits, str(self._locate())
            self._pipe, child_pipe = _processes.Pipe()
            process: BaseProcess = _processes.Process(
                target=_serve,
                args=(child_pipe, path, self._name, limits, self._expected, self._channel),
                daemon=True,
            )
            process.start()
            self._process = process
            child_pipe.close()
            if not self._pipe.poll(START_SECONDS):
                raise TimeoutError
            self._pipe.recv_bytes()
        return self._pipe

    def _stop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._pipe = self._process = None


class OpenFile:
    """One open file, in the decoder's process. The model and the page have a reader and a cache each."""

    def __init__(self, path: str, limits: Limits, expected: Size | None, channel: int | None) -> None:
        place = Path(path)
        pixels, frames = limits.pixels, limits.frames
        for file in [find_images(place)[0]] if place.is_dir() else [place]:
            _check_signature(file)
            _check_image_size(file, pixels)
        self._path = path
        self._channel = channel
        self.model_frames = open_frames(path, channel=channel, kept_bytes=CACHED_BYTES)
        count, (height, width) = len(self.model_frames), self.model_frames.size
        if count > frames:
            raise MediaError(f"{place.name} has {count} frames; the limit is {frames}. Cut it first.")
        if height * width > pixels:
            raise _too_many_pixels(place.name, width, height, pixels)
        if expected not in (None, (height, width, count)):
            raise MediaError(_replaced(place.name, expected, (height, width, count)))
        self.model_frames[0]  # a file that cannot be decoded at all fails here

    @cached_property
    def page_frames(self) -> Frames:
        return open_frames(self._path, channel=self._channel, kept_bytes=CACHED_BYTES)

    def describe(self) -> Response:
        frames = self.model_frames
        height, width = frames.size
        size = {"width": width, "height": height, "frames": len(frames)}
        return {
            "name": frames.name,
            **size,
            "fps": frames.fps,
            "pixel_aspect": str(frames.pixel_aspect),
            "channels": list(frames.axes.channels) if frames.axes else [],
            "intensity_range": frames.intensity_range,
        }, None

    def stack(self) -> Response:
        axes, size = self.model_frames.axes, self.model_frames.pixel_size
        if axes is None and Path(self._path).suffix.lower() in (".tif", ".tiff"):
            axes = StackAxes(("",), len(self.model_frames), 1, {})  # also if users have renamed the file
        names = ("channels", "depth", "time", "seconds")
        known = {name: getattr(axes, name) for name in names} if axes else None
        lengths = None if size is None else [size.x, size.y, size.z]
        return {"axes": known, "pixel_size": lengths, "has_times": self.model_frames.has_times}, None

    def frame_info(self, frame: int) -> Response:
        return {"time": self.model_frames.time(frame), "file": self.model_frames.file_name(frame)}, None

    def times(self, start: int, stop: int) -> Response:
        return {"times": [self.model_frames.time(frame) for frame in range(start, stop)]}, None

    def decode(self, frame: int) -> Response:
        self.model_frames[frame]
        return {}, None

    def read(self, frame: int) -> Response:
        image = self.model_frames[frame]
        return {"shape": list(image.shape)}, image.tobytes()

    def jpeg(self, frame: int, width: int, height: int) -> Response:
        image = PIL.Image.fromarray(self.page_frames[frame])
        image.thumbnail((width, height), PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
        buffer = BytesIO()
        image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
        return {}, buffer.getvalue()

    def sound(self, start: int, stop: int, length: float) -> Response:
        path = Path(self._path)
        if path.is_dir() or is_image(path):
            return {"has_sound": False}, None
        recording = self.model_frames.recording
        origin = 0.0 if recording is None else recording.start
        begin, end = self.model_frames.time(start), self.model_frames.time(stop - 1) + length
        copy = _copy_sound(path, origin + begin, origin + end)
        return {"has_sound": copy is not None}, copy


def _copy_sound(path: Path, start: float, stop: float) -> bytes | None:
    """Copy the first audio stream from one second of a file to another, without encoding it again.

    Returns:
        A Matroska file of the stream, whose times are relative to `start`; None if there is no sound.
    """
    buffer = BytesIO()
    packets = 0
    with open_file(str(path), path.name) as source:
        if not source.streams.audio:
            return None
        stream = source.streams.audio[0]
        with av.open(buffer, "w", format="matroska") as copy:
            output = copy.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.pts is None or packet.time_base is None:
                    continue
                if not start <= packet.pts * packet.time_base < stop:
                    continue
                shift = int(Fraction(start).limit_denominator(10**6) / packet.time_base)
                packet.pts -= shift
                if packet.dts is not None:
                    packet.dts -= shift
                packet.stream = output
                copy.mux(packet)
                packets += 1
                if buffer.tell() > MAX_SOUND_BYTES:
                    raise MediaError(f"the sound of {path.name} is too long to be copied.")
    return buffer.getvalue() if packets else None


def _serve(
    pipe: Connection, path: str, name: str, limits: Limits, expected: Size | None, channel: int | None
) -> None:
    """Answer requests until the pipe is closed. Runs in the decoder's process."""
    _limit_resources(limits.decode_bytes)
    file: OpenFile | None = None
    try:
        pipe.send_bytes(b"ready")
        while True:
            request = json.loads(pipe.recv_bytes())
            try:
                file = file or OpenFile(path, limits, expected, channel)
                method: Callable[..., Response] = getattr(file, request.pop("method"))
                head, body = method(**request)
            except MaskletError as error:
                message = str(error).replace(f"{Path(path).parent}/", "").replace(Path(path).name, name)
                head, body = {"error": message, "missing": isinstance(error, IndexError)}, None
            except MemoryError:
                head, body = {"error": f"{name} needs too much memory."}, None
            pipe.send_bytes(json.dumps({**head, "body": body is not None}).encode())
            if body is not None:
                pipe.send_bytes(body)
    except (EOFError, OSError):
        return


def _limit_resources(memory: int) -> None:
    """Drop privileges that reading a file does not need."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; only the time of an answer is limited there
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc: every thread would reserve 64 MiB of addresses, which count below
        mallopt(M_ARENA_MAX, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def _replaced(name: str, expected: Size | None, size: Size) -> str:
    assert expected is not None
    was, now = (f"{width} x {height} with {frames} frames" for height, width, frames in (expected, size))
    return (
        f"{name} was replaced: it was {was}, and is now {now}. Restore the old file, or delete the video "
        "here and open the new one."
    )


def _check_signature(file: Path) -> None:
    with file.open("rb") as opened:
        start = opened.read(2 * TS_PACKET)
    if not start:
        raise MediaError(f"{file.name} is empty: it has 0 bytes. Copy it again.")
    has_signature = any(start[offset:].startswith(signature) for offset, signature in SIGNATURES)
    transport_stream = start[:1] == start[TS_PACKET : TS_PACKET + 1] == b"\x47"
    if not has_signature and not transport_stream:
        raise MediaError(f"{file.name} is not a video or image in a format that the studio supports.")


def _check_image_size(file: Path, pixels: int) -> None:
    """Raise for a large image before it is decoded, by the size in its header."""
    if is_image(file):
        try:
            with PIL.Image.open(file) as image:
                width, height = image.size
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
            return  # reading it reports the error
        if width * height > pixels:
            raise _too_many_pixels(file.name, width, height, pixels)


def _too_many_pixels(name: str, width: int, height: int, pixels: int) -> MediaError:
    return MediaError(f"{name} is {width} x {height} pixels; the limit is {pixels:,}. Scale it down first.")
