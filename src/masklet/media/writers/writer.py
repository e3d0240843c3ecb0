"""The base of all writers: they get frames and masks one at a time, and files are complete when closed."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

import numpy as np

from masklet.errors import MediaError, PromptError
from masklet.media.readers.source import Image, Source
from masklet.prompts import check_id
from masklet.types import Masks

AnyWriter = TypeVar("AnyWriter", bound="Writer")

Names = Mapping[int, str]  # object id -> its class, such as "dog"; several objects may share one

UNNAMED = "object"
# Not allowed in class names: control characters, halves of surrogate pairs, line breaks.
UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")
NONCHARACTERS = "\ufffe\uffff"


class Writer(ABC):
    """Writes masks to files. Use it in a `with` block: files are complete and valid after it, also on Ctrl-C.

    Frames may come in any order and more than once; later masks of an object replace its earlier ones. Where
    a frame has a file of its own, that holds what was written last: give all objects of a frame at once. A
    writer that needs frames in order says so.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from masklet.media import PalettePngs, read_label_map
        >>> image = np.zeros((2, 2, 3), dtype=np.uint8)
        >>> masks = Masks.from_arrays(7, {3: np.eye(2, dtype=bool)}, (2, 2))
        >>> with TemporaryDirectory() as folder:
        ...     with PalettePngs(folder) as writer:
        ...         writer.write(image, masks)
        ...     read_label_map(Path(folder) / "00007.png").tolist()
        [[3, 0], [0, 3]]
    """

    @abstractmethod
    def write(self, image: Image, masks: Masks) -> None:
        """Write the masks of one frame.

        Args:
            image: The frame, RGB, uint8 (H, W, 3). Formats without images do not read it.
            masks: Its masks, of the same size; `masks.frame` is the frame's number, from 0.

        Raises:
            MediaError: The file cannot be written, or the format cannot hold these masks.
        """

    def close(self) -> None:  # noqa: B027 - many writers need no closing
        """Finish the files. A second call does nothing.

        Raises:
            MediaError: The file cannot be written.
        """

    def __enter__(self: AnyWriter) -> AnyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def closed_error(path: object) -> MediaError:
    """The error for writing after `close`."""
    return MediaError(f"{path} is closed: write frames before `close`, or within the `with` block.")


class Writers(Writer):
    """Several writers as one. All are closed, even if one fails.

    Args:
        writers: Each gets every frame.
    """

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
    """Writes in a thread, so that tracking does not wait for files. A later call raises errors.

    Args:
        writer: Does the writing.
        queue_size: Frames that may wait; `write` blocks while the queue is full.

    Raises:
        MediaError: Raised by `write` or `close` if an earlier frame could not be written.
    """

    def __init__(self, writer: Writer, *, queue_size: int = 4) -> None:
        self._writer = writer
        self._queue_size = queue_size
        self._queue: deque[Future[None]] = deque()
        self._is_closed = False
        self._thread = ThreadPoolExecutor(max_workers=1)

    def write(self, image: Image, masks: Masks) -> None:
        if self._is_closed:
            raise closed_error("the writer")
        while len(self._queue) >= self._queue_size:
            self._queue.popleft().result()
        self._queue.append(self._thread.submit(self._writer.write, image, masks))

    def close(self) -> None:
        self._is_closed = True
        try:
            while self._queue:
                self._queue.popleft().result()
        finally:
            self._thread.shutdown()
            self._writer.close()


def check_masks(masks: Masks, source: Source | None = None) -> None:
    """Raise for masks that do not fit the frames of the source.

    Raises:
        MediaError: Their frame is below 0, or they have another size than the frames of the source.
    """
    if masks.frame < 0:
        raise MediaError(
            f"frame numbers must be 0 or more. Got masks of frame {masks.frame}: skip what a tracker with a "
            "delay returns before the first frame."
        )
    if source is not None and tuple(masks.size) != tuple(source.size):
        raise MediaError(
            f"masks must have the size of the frames of {source.name}, (H, W) = {tuple(source.size)}. "
            f"Got {tuple(masks.size)} on frame {masks.frame}."
        )


def check_image(image: object, masks: Masks) -> None:
    """Raise for an image that is not the frame of these masks.

    Raises:
        MediaError: It is not a uint8 RGB array, or has another size than the masks.
    """
    shape = (*masks.size, 3)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == shape:
        return
    came = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise MediaError(f"the image of these masks must be a uint8 array of shape {shape}, RGB. Got {came}.")


def check_class(name: str) -> None:
    """Raise for a class name that files cannot store.

    Raises:
        MediaError: It has a line break or another control character, which would make two lines of one
            class, or no valid XML.
    """
    if any(unicodedata.category(sign) in UNWRITABLE or sign in NONCHARACTERS for sign in name):
        raise MediaError(
            f"the class {name!r} has a line break or a control character, which files cannot store: rename "
            "it."
        )


class Categories:
    """Numbers for classes of objects, from 0 on; an object without a class is an "object".

    Args:
        names: Classes of the objects, by id.

    Raises:
        MediaError: A class is not text, or cannot be written; see `check_class`.

    Example:
        >>> categories = Categories({1: "dog", 2: "ball", 3: "dog"})
        >>> [categories.number(id) for id in (3, 2, 9)], categories.names
        ([0, 1, 2], ['dog', 'ball', 'object'])
    """

    def __init__(self, names: Names) -> None:
        for id, name in _checked_names(names).items():
            if not isinstance(name, str):
                raise MediaError(
                    f"the class of an object must be text, such as 'dog'. Got {name!r} for {id}."
                )
            check_class(name)
        self._names = {id: name for id, name in names.items() if name.strip()}
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(self._names.values()))}

    @property
    def names(self) -> list[str]:
        """The classes, each at its number."""
        return list(self._numbers)

    def name(self, id: int) -> str:
        """The class of an object."""
        return self._names.get(id, UNNAMED)

    def number(self, id: int) -> int:
        """The number of an object's class."""
        return self._numbers.setdefault(self.name(id), len(self._numbers))


def _checked_names(names: object) -> Mapping[int, object]:
    if not isinstance(names, Mapping):
        raise MediaError(f"classes must be given by object id: {{1: 'dog'}}. Got {type(names).__name__}.")
    try:
        return {check_id(id): name for id, name in names.items()}
    except PromptError as error:
        raise MediaError(f"classes must be given by object id, {{1: 'dog'}}: {error}") from error
