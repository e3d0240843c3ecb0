"""The process that reads a file of somebody's: whatever the file does, it does here and not in the server.

It holds one file open, and answers requests over a pipe: JSON in; JSON and perhaps bytes out. It may use so
much memory, write nothing, and is killed when an answer takes too long.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from functools import cached_property
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import PIL.Image

from masklet.errors import MaskletError, MediaError
from masklet.media import Frames, find_pictures, open_frames
from masklet.media.readers.pictures import is_picture

Answer = tuple[dict[str, Any], bytes | None]

QUALITY = 85
KEPT = 16 * 2**20  # bytes of decoded frames, for each of the two who read
# What a file must begin with. FFmpeg would also read playlists, which name other files and addresses.
BEGINNINGS = (
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
    (0, b"\x47"),  # MPEG transport stream
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"0&\xb2u"),  # ASF, WMV
    (0, b"YUV4MPEG2"),
    (0, b"DKIF"),  # IVF
)


class Shown:
    """One open file. The model and the people who look at it each have their own place in it."""

    def __init__(self, path: str, pixels: int, frames: int) -> None:
        place = Path(path)
        for file in [find_pictures(place)[0]] if place.is_dir() else [place]:
            _check_beginning(file)
            _check_pixels(file, pixels)
        self._path = path
        self.model = open_frames(path, kept_bytes=KEPT)
        count, (height, width) = len(self.model), self.model.size
        if count > frames:
            raise MediaError(f"{place.name} has {count} frames; up to {frames} can be taken. Cut it first.")
        if height * width > pixels:
            raise _too_large(place.name, width, height, pixels)
        self.model[0]  # what cannot be decoded at all is found now

    @cached_property
    def people(self) -> Frames:
        return open_frames(self._path, kept_bytes=KEPT)

    def about(self) -> Answer:
        frames = self.model
        height, width = frames.size
        said = {"name": frames.name, "width": width, "height": height, "frames": len(frames)}
        return {**said, "fps": frames.fps}, None

    def place(self, frame: int) -> Answer:
        return {"time": self.model.time(frame), "file": self.model.file_name(frame)}, None

    def decode(self, frame: int) -> Answer:
        """Have a frame at hand."""
        self.model[frame]
        return {}, None

    def pixels(self, frame: int) -> Answer:
        image = self.model[frame]
        return {"shape": list(image.shape)}, image.tobytes()

    def jpeg(self, frame: int, width: int, height: int) -> Answer:
        """A JPEG that fits into width and height, and is no larger than the frame."""
        return {}, _jpeg(self.people, frame, (width, height))


def serve(pipe: Connection, path: str, memory: int, pixels: int, frames: int) -> None:
    """Answer until the pipe is closed."""
    _confine(memory)
    shown: Shown | None = None
    try:
        while True:
            request = json.loads(pipe.recv_bytes())
            try:
                shown = shown or Shown(path, pixels, frames)
                ask: Callable[..., Answer] = getattr(shown, request.pop("do"))
                head, body = ask(**request)
            except MaskletError as error:
                head, body = {"error": str(error), "missing": isinstance(error, IndexError)}, None
            except MemoryError:
                head, body = {"error": f"{Path(path).name} needs too much memory to be read."}, None
            pipe.send_bytes(json.dumps({**head, "body": body is not None}).encode())
            if body is not None:
                pipe.send_bytes(body)
    except (EOFError, OSError):
        return


def _confine(memory: int) -> None:
    """Take from this process what reading a file does not need."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        held = int(sizes.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))


def _check_beginning(file: Path) -> None:
    with file.open("rb") as opened:
        begins = opened.read(16)
    if not any(begins[at:].startswith(mark) for at, mark in BEGINNINGS):
        raise MediaError(f"{file.name} is not a video or picture of a kind that the studio takes.")


def _check_pixels(file: Path, pixels: int) -> None:
    """Pictures tell their size before they are decoded."""
    if is_picture(file):
        try:
            with PIL.Image.open(file) as picture:
                width, height = picture.size
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
            return  # reading it says what is wrong
        if width * height > pixels:
            raise _too_large(file.name, width, height, pixels)


def _too_large(name: str, width: int, height: int, pixels: int) -> MediaError:
    return MediaError(
        f"{name} is {width} x {height} pixels; frames may have up to {pixels:,}. Make it smaller first."
    )


def _jpeg(frames: Frames, frame: int, fit: tuple[int, int]) -> bytes:
    picture = PIL.Image.fromarray(frames[frame])
    picture.thumbnail(fit, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
    written = BytesIO()
    picture.save(written, format="JPEG", quality=QUALITY)
    return written.getvalue()
