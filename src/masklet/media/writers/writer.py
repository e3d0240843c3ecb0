"""What all writers have in common: a frame's image and masks go in, one frame after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from masklet.media.readers.source import Image
from masklet.types import Masks

AnyWriter = TypeVar("AnyWriter", bound="Writer")


class Writer(ABC):
    """Something that keeps masks. `with` closes it, also after Ctrl-C: what was written is whole and valid.

    Frames may come in any order, and again: later masks replace earlier ones. Who needs an order says so.
    """

    @abstractmethod
    def write(self, image: Image, masks: Masks) -> None:
        """Keep the masks of one frame."""

    def close(self) -> None:  # noqa: B027 - many have nothing left to do
        """Finish the files. A second call does nothing."""

    def __enter__(self: AnyWriter) -> AnyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Writers(Writer):
    """Several writers as one. Each is closed, even should another fail."""

    def __init__(self, *writers: Writer) -> None:
        self._writers = writers

    def write(self, image: Image, masks: Masks) -> None:
        for writer in self._writers:
            writer.write(image, masks)

    def close(self) -> None:
        with ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)


class Behind(Writer):
    """Writes in a thread of its own, a few frames behind, so that whoever finds the masks need not wait.

    What fails there is raised by a later `write`, or by `close`.
    """

    def __init__(self, writer: Writer, *, room: int = 4) -> None:
        self._writer = writer
        self._room = room
        self._waiting: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)

    def write(self, image: Image, masks: Masks) -> None:
        while len(self._waiting) >= self._room:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._writer.write, image, masks))

    def close(self) -> None:
        try:
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown()
            self._writer.close()
