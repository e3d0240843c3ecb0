"""The base of all writers: they get frames and masks one at a time, and files are complete when closed."""

from __future__ import annotations

import json
import unicodedata
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, TextIO, TypedDict, TypeVar, cast

import numpy as np

from masklet import rle
from masklet.errors import MediaError, PromptError
from masklet.files import StrPath, atomic_write, make_folder, write_errors
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
        >>> import numpy as np
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
            image: The frame, RGB, uint8 (H, W, 3). Formats without pictures do not read it.
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


def check_picture(image: object, masks: Masks) -> None:
    """Raise for a picture that is not the frame of these masks.

    Raises:
        MediaError: It is not a uint8 RGB array, or has another size than the masks.
    """
    shape = (*masks.size, 3)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == shape:
        return
    came = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise MediaError(f"the picture of these masks must be a uint8 array of shape {shape}, RGB. Got {came}.")


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


def is_stack(source: Source) -> bool:
    """Whether a source is a TIFF, whose pages are read as depth if it does not describe them."""
    return Path(source.name).suffix.lower() in (".tif", ".tiff")


class CocoMask(TypedDict):
    """One object on one frame, with COCO's keys."""

    segmentation: rle.RLE
    area: int
    bbox: list[float]  # x, y, width, height
    score: float  # predicted IoU


class MaskSpool:
    """Masks by object and frame, in an unnamed temporary file; only their offsets are in memory.

    Args:
        path: The file that will be written from the masks; the temporary file is in its folder.

    Raises:
        MediaError: The folder cannot be written to.
    """

    def __init__(self, path: StrPath) -> None:
        self._path = path
        folder = make_folder(Path(path).parent)
        with write_errors(path):
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - open until `close`
        self._offsets: dict[int, dict[int, int]] = {}
        self.sizes: dict[int, tuple[int, int]] = {}  # (H, W) of every frame

    @property
    def ids(self) -> list[int]:
        """The objects that have masks, in order."""
        return sorted(self._offsets)

    @property
    def frames(self) -> list[int]:
        """The frames that were added, in order."""
        return sorted(self.sizes)

    def add(self, masks: Masks) -> None:
        """Add the masks of a frame; they replace earlier ones of the same frame and object.

        Raises:
            MediaError: The temporary file cannot be written.
        """
        self._check_open()
        self.sizes[masks.frame] = masks.size
        rows = zip(masks.ids, masks.rle(), masks.boxes.tolist(), masks.iou.tolist(), strict=True)
        for id, code, (x0, y0, x1, y1), iou in rows:
            box = [x0, y0, x1 - x0, y1 - y0]
            mask = CocoMask(segmentation=code, area=rle.area(code), bbox=box, score=round(iou, 4))
            with write_errors(self._path):
                offset = self._file.seek(0, 2)
                self._file.write(json.dumps(mask).encode() + b"\n")
            self._offsets.setdefault(id, {})[masks.frame] = offset

    def get(self, id: int, frame: int) -> CocoMask | None:
        """The mask of an object on a frame; None if it was not tracked or is not visible."""
        offset = self._offsets[id].get(frame)
        if offset is None:
            return None
        self._file.seek(offset)
        mask = cast(CocoMask, json.loads(self._file.readline()))
        return mask if mask["area"] else None

    def masks_on(self, frame: int) -> Iterator[tuple[int, CocoMask]]:
        """The visible objects of a frame, by id."""
        for id in self.ids:
            if mask := self.get(id, frame):
                yield id, mask

    def close(self) -> None:
        self._file.close()

    @property
    def is_closed(self) -> bool:
        return self._file.closed

    def _check_open(self) -> None:
        if self.is_closed:
            raise closed_error(self._path)


class SpooledWriter(Writer):
    """A file that is written from all masks when the writer is closed.

    Args:
        path: The file.
        source: Where the frames come from.
        names: Classes of the objects by id, if the format has classes.

    Raises:
        MediaError: The folder cannot be written to, or a class has a control character.
    """

    def __init__(self, path: StrPath, source: Source, names: Names | None = None) -> None:
        self._path = path
        self._source = source
        self._categories = Categories(names or {})
        self._spool = MaskSpool(path)

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks, self._source)
        self._spool.add(masks)

    def close(self) -> None:
        if self._spool.is_closed:
            return
        with atomic_write(self._path) as part:
            self.write_file(part)
        self._spool.close()

    @abstractmethod
    def write_file(self, path: Path) -> None:
        """Write all masks of the spool.

        Args:
            path: A temporary file, which is renamed when this method returns.
        """

    @property
    def _length(self) -> int:
        """The number of frames of the source, or of a stream up to the last written frame."""
        written = max(self._spool.frames, default=-1) + 1
        return max(written, len(self._source)) if isinstance(self._source, Sized) else written


class SpooledJson(SpooledWriter):
    """A JSON file that is written from all masks at the end, piece by piece."""

    def write_file(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8") as file:
            dump_json(self.content(), file)

    @abstractmethod
    def content(self) -> Mapping[str, Any] | Iterator[Any]:
        """The file's content; iterators become lists."""

    def _category_id(self, id: int) -> int:
        return self._categories.number(id) + 1

    def _category_list(self) -> list[dict[str, Any]]:
        ids = {self._categories.name(id): self._category_id(id) for id in self._spool.ids} or {UNNAMED: 1}
        return [{"id": id, "name": name, "supercategory": "object"} for name, id in ids.items()]


def dump_json(value: Any, file: TextIO) -> None:
    """Write JSON piece by piece, so that no long list is in memory.

    Args:
        value: What `json.dumps` takes; iterators become lists, also within mappings.
        file: An open text file.
    """
    if isinstance(value, Mapping):
        for count, (key, item) in enumerate(value.items()):
            file.write(f"{', ' if count else '{'}{json.dumps(key)}: ")
            dump_json(item, file)
        file.write("}" if value else "{}")
    elif isinstance(value, Iterator):
        file.write("[")
        for count, item in enumerate(value):
            file.write(",\n" if count else "\n")
            dump_json(item, file)
        file.write("]")
    else:
        file.write(json.dumps(value))
