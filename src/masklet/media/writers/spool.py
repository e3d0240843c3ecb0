"""Writers whose file is made of all masks at the end; until then the masks are in a temporary file."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO, TypedDict, cast

from masklet import rle
from masklet.files import StrPath, atomic_write, make_folder, write_errors
from masklet.media.readers.source import Image, Source
from masklet.media.writers.writer import UNNAMED, Categories, Names, Writer, check_masks, closed_error
from masklet.types import Masks


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
        names: Classes of the objects by id, for formats that have classes; without one, "object".

    Raises:
        MediaError: The file cannot be written, or a class has a control character.
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
