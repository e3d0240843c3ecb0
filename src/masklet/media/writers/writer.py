"""What all writers have in common: frames and masks go in one at a time, files are complete when closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from masklet.media.readers.source import Image
from masklet.types import Masks

AnyWriter = TypeVar("AnyWriter", bound="Writer")

Names = Mapping[int, str]  # object id -> its class, such as "dog"; several objects may share one

UNNAMED = "object"


class Writer(ABC):
    """Writes masks to files. Use it in a `with` block: files are complete and valid after it, also on Ctrl-C.

    Frames may come in any order and more than once; later masks replace earlier ones. A writer that needs
    frames in order says so.
    """

    @abstractmethod
    def write(self, image: Image, masks: Masks) -> None:
        """Write the masks of one frame."""

    def close(self) -> None:  # noqa: B027 - many writers have nothing left to do
        """Finish the files. A second call does nothing."""

    def __enter__(self: AnyWriter) -> AnyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Writers(Writer):
    """Several writers as one. All are closed, even if one fails."""

    def __init__(self, *writers: Writer) -> None:
        self._writers = writers

    def write(self, image: Image, masks: Masks) -> None:
        for writer in self._writers:
            writer.write(image, masks)

    def close(self) -> None:
        with ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)


class BackgroundWriter(Writer):
    """Writes in a thread, so that tracking does not wait for files. Errors are raised by a later call.

    Args:
        writer: Does the writing.
        queue_size: Frames that may wait; `write` blocks while the queue is full.
    """

    def __init__(self, writer: Writer, *, queue_size: int = 4) -> None:
        self._writer = writer
        self._queue_size = queue_size
        self._queue: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)

    def write(self, image: Image, masks: Masks) -> None:
        while len(self._queue) >= self._queue_size:
            self._queue.popleft().result()
        self._queue.append(self._thread.submit(self._writer.write, image, masks))

    def close(self) -> None:
        try:
            while self._queue:
                self._queue.popleft().result()
        finally:
            self._thread.shutdown()
            self._writer.close()


class Categories:
    """Numbers for classes of objects, from 0 on; an object without a class is an "object".

    >>> categories = Categories({1: "dog", 2: "ball", 3: "dog"})
    >>> [categories.number(id) for id in (3, 2, 9)], categories.names
    ([0, 1, 2], ['dog', 'ball', 'object'])
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}

    @property
    def names(self) -> list[str]:
        return list(self._numbers)

    def name(self, id: int) -> str:
        return self._names.get(id, UNNAMED)

    def number(self, id: int) -> int:
        return self._numbers.setdefault(self.name(id), len(self._numbers))
