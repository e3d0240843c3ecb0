"""What all writers have in common: a frame's image and masks go in, one frame after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from masklet.media.source import Image
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
