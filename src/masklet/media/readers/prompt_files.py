"""Prompts for many inputs from a file: a table (CSV), JSON Lines, or COCO. docs/cli.md lists the columns."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from masklet.errors import MediaError, PromptError
from masklet.files import parse_json
from masklet.media.annotations.coco import (
    LONGEST_NUMBER,
    CocoAnnotation,
    CocoFile,
    LabelSizeError,
    check_image_size,
)
from masklet.media.readers.frames import Frames
from masklet.media.readers.mask_files import read_label_map
from masklet.media.readers.source import frame_file_name
from masklet.types import Prompt

log = logging.getLogger(__name__)

COLUMNS = ("source", "frame", "object", "class", "x", "y", "label", "x0", "y0", "x1", "y1", "mask")
KEYS = ("source", "frame", "object", "class", "positive", "negative", "box", "mask")


EMPTY: tuple[Any, ...] = (None, "", [])  # JSON values that mean "not given"


@dataclass(frozen=True)
class ObjectPrompts:
    """What to segment in one input.

    Attributes:
        by_frame: frame -> object id -> prompt.
        names: Names of the objects by id; objects without a name are left out.
        classes: Classes of the objects by id; by default the names.
    """

    by_frame: Mapping[int, Mapping[int, Prompt]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[int]:
        return sorted({id for prompts in self.by_frame.values() for id in prompts})

    def merge(self, other: ObjectPrompts) -> ObjectPrompts:
        """These prompts combined with others. An object's prompts on the same frame are merged."""
        builder = PromptBuilder()
        for prompts in (self, other):
            for frame, by_id in prompts.by_frame.items():
                for id, prompt in by_id.items():
                    builder.add(frame, id, prompt)
        by_frame = builder.build().by_frame
        return ObjectPrompts(by_frame, {**self.names, **other.names}, {**self.classes, **other.classes})

    def to_json(self) -> dict[str, Any]:
        prompts = {
            frame: {id: prompt.to_json() for id, prompt in by_id.items()}
            for frame, by_id in self.by_frame.items()
        }
        return {"prompts": prompts, "names": dict(self.names), "classes": dict(self.classes)}


class PromptBuilder:
    """Collects prompts of objects that are known by an id, a name, or neither."""

    def __init__(self, reserved: Iterable[int] = ()) -> None:
        self._reserved = set(reserved)  # ids that are not given to named objects
        self._prompts: dict[int, dict[int, Prompt]] = {}
        self._names: dict[int, str] = {}
        self._classes: dict[int, str] = {}

    def add(self, frame: int, id: int, prompt: Prompt) -> None:
        """Add a prompt; its clicks are added to the object's clicks on the same frame.

        Raises:
            PromptError: The object already has another box or mask there, which would be lost.
        """
        by_id = self._prompts.setdefault(frame, {})
        before = by_id.get(id, Prompt())
        for kind in ("box", "mask"):
            if getattr(before, kind) is not None and getattr(prompt, kind) is not None:
                kinds = {"box": "boxes", "mask": "masks"}[kind]
                raise PromptError(
                    f"object {id} has two {kinds} on frame {frame}: give each object its own id or name, or "
                    "remove one."
                )
        by_id[id] = before | prompt

    def resolve(self, name: str | None, id: int | None = None, category: str | None = None) -> int:
        """The id of an object: as given, by its name, or a new one.

        Raises:
            PromptError: The object already has another name or class.
        """
        if id is None and name is not None:
            id = next((other for other, value in self._names.items() if value == name), None)
        if id is None:
            prompted = {id for by_id in self._prompts.values() for id in by_id}
            id = max({*self._reserved, *self._names, *self._classes, *prompted}, default=0) + 1
        for known, text, kind in ((self._names, name, "names"), (self._classes, category, "classes")):
            if text is not None and known.setdefault(id, text) != text:
                raise PromptError(
                    f"object {id} has two {kind}, {known[id]} and {text}: give each object its own id, or "
                    f"use the same {kind} in both."
                )
        return id

    def build(self) -> ObjectPrompts:
        classes = {**self._names, **self._classes}
        return ObjectPrompts(dict(sorted(self._prompts.items())), dict(self._names), classes)


@dataclass(frozen=True)
class PromptRow:
    """One prompt of a file.

    Attributes:
        where: For messages: the file and the line or annotation.
        source: The input that it is for; empty for all inputs.
        frame: A frame, or the file name of one.
        object: Its id or name; None for a new object.
        category: Its class.
        values: The prompt, as `Prompt` has it; a mask may be a path, a COCO annotation, or run lengths.
        image_size: (H, W) of the image that the prompt was made for, if the file has it.
    """

    where: str
    source: str
    frame: int | str
    object: int | str | None
    category: str | None
    values: Mapping[str, Any]
    image_size: tuple[int, int] | None = None

    def prompt(self, folder: Path, size: tuple[int, int]) -> Prompt:
        """The prompt on a frame of a size (H, W)."""
        check_image_size(self.image_size, size, self.where)
        mask = self.values.get("mask")
        if isinstance(mask, CocoAnnotation):
            return Prompt(mask=mask.mask(size))
        if isinstance(mask, str):
            return Prompt.from_json({**self.values, "mask": None}) | Prompt(
                mask=read_label_map(folder / mask) > 0
            )
        return Prompt.from_json(self.values)


def build_prompts(rows: Iterable[PromptRow], folder: Path, frames: Frames) -> ObjectPrompts:
    """The prompts of one input.

    Args:
        rows: Its rows. A repeated row, as in joined files, adds no click.
        folder: The folder to which paths of masks are relative.
        frames: The input.

    Raises:
        PromptError: A prompt is not on the input's frames.
    """
    rows = list(_drop_repeated(rows))
    builder = PromptBuilder(reserved=[row.object for row in rows if isinstance(row.object, int)])
    for row in rows:
        name = row.object if isinstance(row.object, str) else None
        try:
            id = builder.resolve(name, row.object if isinstance(row.object, int) else None, row.category)
            builder.add(_find_frame(row.frame, frames), id, row.prompt(folder, frames.size))
        except LabelSizeError:
            raise  # for the message: it identifies the row
        except (ValueError, TypeError, MediaError) as error:
            raise PromptError(f"{row.where}: {error}") from None
    return builder.build()


def _drop_repeated(rows: Iterable[PromptRow]) -> Iterator[PromptRow]:
    seen = set[str]()
    for row in rows:
        content = repr((row.frame, row.object, row.category, sorted(row.values.items())))
        if row.object is None or content not in seen:  # without a name or id, each row is a new object
            seen.add(content)
            yield row


def read_prompt_rows(path: Path) -> Iterator[PromptRow]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path)
    if suffix in (".jsonl", ".ndjson"):
        return _read_json_lines(path)
    if suffix == ".json":
        return _read_coco(path)
    raise PromptError(f"prompts must be a .csv, .jsonl or .json (COCO) file. Got {path}.")


def _read_csv(path: Path) -> Iterator[PromptRow]:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""))
    columns = [column.strip() for column in _next_cells(reader, path) or ()]
    _check_keys(columns, COLUMNS, f"{path}, line 1")
    if len(set(columns)) < len(columns):
        raise PromptError(f"{path}, line 1 has a column twice. Got {', '.join(columns)}.")
    while (values := _next_cells(reader, path)) is not None:
        where = f"{path}, line {reader.line_num}"
        if len(values) > len(columns):
            raise PromptError(
                f"{where} has {len(values)} cells for {len(columns)} columns: use a decimal point in "
                "numbers, and quotes around text with a comma."
            )
        cells = {key: value.strip() for key, value in zip(columns, values, strict=False) if value.strip()}
        if not cells:
            continue
        row = row_from_cells(where, cells)
        if not row.values:
            raise PromptError(f"{where} has no click (x, y), box (x0, y0, x1, y1) or mask.")
        yield row


def _next_cells(reader: Iterator[list[str]], path: Path) -> list[str] | None:
    """The next line of a table; None after the last."""
    try:
        return next(reader, None)
    except csv.Error as error:
        raise PromptError(f"{path} cannot be read as a table: {error}.") from None


def row_from_cells(where: str, cells: Mapping[str, str]) -> PromptRow:
    """The prompt in one line of a table, with the keys of `COLUMNS`; it may be empty."""
    values: dict[str, Any] = {}
    if point := _take_numbers(cells, ("x", "y"), where):
        label = _to_whole_number(cells.get("label", "1"))
        if label not in (0, 1):
            raise PromptError(
                f"{where}: label must be 1 for a click on the object, or 0 for a click outside it. Got "
                f"{label}."
            )
        values["positive" if label == 1 else "negative"] = [point]
    if box := _take_numbers(cells, ("x0", "y0", "x1", "y1"), where):
        values["box"] = box
    if "mask" in cells:
        values["mask"] = cells["mask"]
    return _make_row(where, cells, values)


def _read_json_lines(path: Path) -> Iterator[PromptRow]:
    for number, line in enumerate(_read_text(path).split("\n"), 1):  # JSON strings may have others
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        entry = parse_line(where, line)
        _check_keys(entry, KEYS, where)
        row = row_from_entry(where, entry)
        if not row.values:
            raise PromptError(f"{where} has no positive or negative clicks, box or mask.")
        yield row


def parse_line(where: str, line: str) -> Mapping[str, Any]:
    """One line of a JSON Lines file."""
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise PromptError(f"{where} is not JSON: {error}.") from None
    if not isinstance(entry, dict):
        raise PromptError(
            f'{where} must be an object such as {{"source": ..., "box": [...]}}. Got {line[:60]}.'
        )
    return entry


def row_from_entry(where: str, entry: Mapping[str, Any]) -> PromptRow:
    """The prompt in one entry, with the keys of `KEYS`; it may be empty."""
    values = {key: entry.get(key) for key in ("positive", "negative", "box", "mask")}
    return _make_row(where, entry, {key: value for key, value in values.items() if value not in EMPTY})


def _read_coco(path: Path) -> Iterator[PromptRow]:
    """A row for each annotation: its mask if it has one, otherwise its box."""
    file = CocoFile.read(path)
    for image in file.images:
        name = PurePosixPath(image.file_name.replace("\\", "/"))
        frame = name.name if image.frame is None else image.frame
        for annotation in file.annotations.get(image.id, ()):
            where = f"{path}, annotation {annotation.id}"
            values = {"box": annotation.box} if annotation.segmentation is None else {"mask": annotation}
            if any(value is not None for value in values.values()):
                object = _object_of(annotation)
                yield PromptRow(where, str(name), frame, object, annotation.category, values, image.size)


def _object_of(annotation: CocoAnnotation) -> int | str | None:
    """The object id in an annotation, as in masklet's own files; None if the annotation is a new object."""
    number = _to_whole_number(annotation.object)
    return number if isinstance(number, int) and number >= 1 else annotation.object


def _make_row(where: str, entry: Mapping[str, Any], values: Mapping[str, Any]) -> PromptRow:
    frame, object = _to_whole_number(entry.get("frame", 0)), _to_whole_number(entry.get("object"))
    if isinstance(frame, bool) or not isinstance(frame, int) or frame < 0:
        raise PromptError(f"{where}: frame must be a whole number from 0. Got {frame!s:.40}.")
    is_id = isinstance(object, int) and not isinstance(object, bool) and object >= 1
    if not (object is None or isinstance(object, str) or is_id):
        raise PromptError(f"{where}: object must be a name, or a whole number from 1. Got {object}.")
    source, category = (_to_text(entry.get(key), f"{where}: {key}") for key in ("source", "class"))
    return PromptRow(where, source, frame, 1 if object in EMPTY else object, category or None, values)


def _to_text(value: Any, name: str) -> str:
    """A string, or a whole number as a string; empty if there is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise PromptError(f"{name} must be text. Got {value!r:.40}.")
    return "" if value is None else str(value)


def _to_whole_number(value: Any) -> Any:
    """Whole numbers as int: a column with gaps contains 7.0 instead of 7."""
    if isinstance(value, str) and re.fullmatch(rf"-?\d{{1,{LONGEST_NUMBER}}}(\.0*)?", value):
        return int(value.partition(".")[0])
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path} cannot be read: {error}.") from None


def _check_keys(keys: Any, allowed: Sequence[str], where: str) -> None:
    unknown = [str(key) for key in keys if key not in allowed]
    if unknown:
        raise PromptError(
            f"{where} has unknown keys: {', '.join(unknown)}. Allowed are {', '.join(allowed)}."
        )


def read_number(text: str) -> float:
    """A number from a table cell.

    Raises:
        ValueError: It is not a number, or has the underscores that Python allows.
    """
    if "_" in text:
        raise ValueError(f"'{text}' is not a number")
    return float(text)


def _take_numbers(cells: Mapping[str, str], names: Sequence[str], where: str) -> list[float]:
    present = [name for name in names if name in cells]
    if not present:
        return []
    try:
        return [read_number(cells[name]) for name in names]
    except (KeyError, ValueError):
        values = ", ".join(f"{name}={cells.get(name, '')}" for name in names)
        raise PromptError(
            f"{where}: expected numbers in pixels for {', '.join(names)}. Got {values}."
        ) from None


def _find_frame(frame: int | str, frames: Frames) -> int:
    """The number of a frame, given by number or file name."""
    if isinstance(frame, int):
        return frame
    if len(frames) == 1:
        return 0
    names = [PurePosixPath(frames.file_name(number)) for number in range(len(frames))]
    for own, asked in (
        ([name.name for name in names], frame),
        ([name.stem for name in names], PurePosixPath(frame).stem),
    ):
        if own.count(asked) == 1:
            return own.index(asked)
    digits = re.search(r"(\d+)\D*$", PurePosixPath(frame).stem)
    has_own_names = any(
        name.name != frame_file_name(number, name.suffix) for number, name in enumerate(names)
    )
    if digits is None or int(digits[1]) >= len(frames) or has_own_names:
        raise ValueError(f"{frames.name} has no frame with the name {frame}.")
    log.warning(
        "%s has no frame with the name %s: it is read as frame number %d, counted from 0.",
        frames.name,
        frame,
        int(digits[1]),
    )
    return int(digits[1])
