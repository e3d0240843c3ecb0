"""Frames of files that are not trusted, read in a process of their own; see `decoder`."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from masklet.errors import MediaError
from masklet.media import Frames, Image, NoSuchFrame
from masklet.studio import decoder
from masklet.studio.errors import Refusal
from masklet.studio.settings import Limits

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["masklet.studio.decoder"])


def warm_up() -> None:
    """Begin to import what decoders need, so that the first file need not wait for it."""
    forkserver.ensure_running()


class Footage:
    """A file's frames, by way of a process that may fail: that is an error, and the next ask starts anew."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self._limits = limits
        self._lock = Lock()
        self._process: ForkServerProcess | None = None
        self._pipe: Connection | None = None

    def about(self) -> dict[str, Any]:
        """name, width, height, frames, fps"""
        return self._ask("about")[0]

    def place(self, frame: int) -> dict[str, Any]:
        """time in seconds, file name"""
        return self._ask("place", frame=frame)[0]

    def decode(self, frame: int) -> None:
        """Have a frame decoded, so that `pixels` need not wait for it."""
        self._ask("decode", frame=frame)

    def pixels(self, frame: int) -> Image:
        head, body = self._ask("pixels", frame=frame)
        return np.frombuffer(body, dtype=np.uint8).reshape(head["shape"])

    def jpeg(self, frame: int, width: int, height: int) -> bytes:
        return bytes(self._ask("jpeg", frame=frame, width=width, height=height)[1])

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _ask(self, do: str, **said: int) -> tuple[dict[str, Any], bytes]:
        with self._lock:
            try:
                pipe = self._opened()
                pipe.send_bytes(json.dumps({"do": do, **said}).encode())
                if not pipe.poll(self._limits.decode_seconds):
                    raise TimeoutError
                head = json.loads(pipe.recv_bytes())
                body = pipe.recv_bytes() if head.get("body") else b""
            except (EOFError, OSError) as error:  # a TimeoutError is an OSError
                self._stop()
                slow = f"more than {self._limits.decode_seconds:g} seconds"
                large = f"more than {self._limits.decode_bytes >> 20} MiB of memory, or the file is damaged"
                reason = slow if isinstance(error, TimeoutError) else large
                raise Refusal(400, "decoder", f"reading {self.path.name} took {reason}.") from None
        if head.get("missing"):
            raise Refusal(404, "missing", head["error"])
        if "error" in head:
            raise MediaError(head["error"])
        return head, body

    def _opened(self) -> Connection:
        if self._pipe is None:
            limits = self._limits
            self._pipe, theirs = _PROCESSES.Pipe()
            self._process = _PROCESSES.Process(
                target=decoder.serve,
                args=(theirs, str(self.path), limits.decode_bytes, limits.pixels, limits.frames),
                daemon=True,
            )
            self._process.start()
            theirs.close()
        return self._pipe

    def _stop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._pipe = self._process = None


class RemoteReader:
    """`Footage` as `masklet.media.Frames` reads it."""

    def __init__(self, footage: Footage, name: str, size: tuple[int, int], fps: float, count: int) -> None:
        self.name = name
        self.size = size
        self.fps = fps
        self._footage = footage
        self._count = count

    def count(self) -> int:
        return self._count

    def time(self, frame: int) -> float:
        return float(self._footage.place(frame)["time"])

    def file_name(self, frame: int) -> str:
        return str(self._footage.place(frame)["file"])

    def read(self, wanted: Sequence[int]) -> Mapping[int, Image]:
        frame = wanted[-1]
        if not 0 <= frame < self._count:
            raise NoSuchFrame(self.name, frame, self._count)
        return {frame: self._footage.pixels(frame)}

    def play(self, start: int) -> Iterator[Image]:
        return (self._footage.pixels(frame) for frame in range(start, self._count))


class RemoteFrames(Frames):
    """Frames that are kept where they are decoded, and not here again."""

    def __getitem__(self, frame: int) -> Image:
        return self._reader.read([frame])[frame]
