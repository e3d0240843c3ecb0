"""Prompts for many inputs from a file: a table (CSV), JSON Lines, or COCO. docs/cli.md lists the columns."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from masklet.cli.items import Item
from masklet.cli.prompts import ObjectPrompts, PromptBuilder
from masklet.errors import PromptError

if TYPE_CHECKING:
    from masklet.media import Frames
    from masklet.types import Prompt

COLUMNS = ("source", "frame", "object", "class", "x", "y", "label", "x0", "y0", "x1", "y1", "mask")
KEYS = ("source", "frame", "object", "class", "positive", "negative", "box", "mask")


@dataclass(frozen=True)
class _Row:
    """One prompt of a file.

    Attributes:
        where: For messages: the file and the line or annotation.
        source: The input that it names; empty for all inputs.
        frame: A frame, or the file name of one.
        object: Its id or name; None for an object of its own.
        category: Its class.
        values: The prompt, as `Prompt` has it; a mask may be a path, a COCO annotation, or run lengths.
    """

    where: str
    source: str
    frame: int | str
    object: int | str | None
    category: str | None
    values: Mapping[str, Any]

    def prompt(self, folder: Path, size: tuple[int, int]) -> Prompt:
        """The prompt on a frame of a size (H, W)."""
        from masklet.media import read_label_map
        from masklet.media.readers.coco import CocoAnnotation
        from masklet.types import Prompt

        mask = self.values.get("mask")
        if isinstance(mask, CocoAnnotation):
            return Prompt(mask=mask.mask(size))
        if isinstance(mask, str):
            return Prompt.from_json({**self.values, "mask": None}) | Prompt(
                mask=read_label_map(folder / mask) > 0
            )
        return Prompt.from_json(self.values)


@dataclass(frozen=True)
class PromptTable:
    """The prompts of a file, by input.

    Attributes:
        path: The file.
        rows: Its prompts, by the source of the item that they are of.
    """

    path: Path
    rows: Mapping[str, Sequence[_Row]]

    @classmethod
    def read(cls, path: Path, items: Sequence[Item]) -> PromptTable:
        """Read a file, and find the input of each prompt.

        Raises:
            PromptError: It cannot be read, or an input that it names is not there, or may be one of several.
        """
        rows: dict[str, list[_Row]] = {item.source: [] for item in items}
        for row in _read_rows(path):
            matches = [item for item in items if not row.source or _is_named(item, row.source)]
            if not matches:
                names = ", ".join(item.source for item in items[:3])
                raise PromptError(
                    f"{row.where} is for '{row.source}', which is not among the inputs ({names}"
                    f"{', ...' if len(items) > 3 else ''}): give it as an input, or leave the line out."
                )
            if row.source and len(matches) > 1:
                raise PromptError(
                    f"{row.where} is for '{row.source}', which may be {matches[0].source} or "
                    f"{matches[1].source}: write more of the path."
                )
            for item in matches:
                rows[item.source].append(row)
        return cls(path, rows)

    def prompts_of(self, item: Item, frames: Frames) -> ObjectPrompts:
        """The prompts of one input.

        Raises:
            PromptError: There are none, or one is not on the input's frames.
        """
        builder = PromptBuilder()
        for row in self.rows[item.source]:
            name = row.object if isinstance(row.object, str) else None
            id = builder.resolve(name, row.object if isinstance(row.object, int) else None, row.category)
            try:
                builder.add(_find_frame(row.frame, frames), id, row.prompt(self.path.parent, frames.size))
            except (ValueError, TypeError) as error:
                raise PromptError(f"{row.where}: {error}") from None
        prompts = builder.build()
        if not prompts.by_frame:
            raise PromptError(f"{self.path} has no prompt for {item.source}.")
        return prompts


def _read_rows(path: Path) -> Iterator[_Row]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path)
    if suffix in (".jsonl", ".ndjson"):
        return _read_json_lines(path)
    if suffix == ".json":
        return _read_coco(path)
    raise PromptError(f"prompts come from a .csv, .jsonl or .json (COCO) file. Got {path}.")


def _read_csv(path: Path) -> Iterator[_Row]:
    reader = csv.DictReader(_read_text(path).splitlines())
    _check_keys(reader.fieldnames or (), COLUMNS, f"{path}, line 1")
    for line in reader:
        where = f"{path}, line {reader.line_num}"
        cells = {key: value.strip() for key, value in line.items() if key and value and value.strip()}
        if not cells:
            continue
        values: dict[str, Any] = {}
        if point := _take_numbers(cells, ("x", "y"), where):
            label = cells.get("label", "1")
            if label not in ("0", "1"):
                raise PromptError(f"{where}: label is 1 for a click on the object, 0 beside it. Got {label}.")
            values["positive" if label == "1" else "negative"] = [point]
        if box := _take_numbers(cells, ("x0", "y0", "x1", "y1"), where):
            values["box"] = box
        if "mask" in cells:
            values["mask"] = cells["mask"]
        if not values:
            raise PromptError(f"{where} has no click (x, y), box (x0, y0, x1, y1) or mask.")
        yield _make_row(where, cells, values)


def _read_json_lines(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise PromptError(f"{where} is not JSON: {error}.") from None
        if not isinstance(entry, dict):
            raise PromptError(
                f'{where} must be an object such as {{"source": ..., "box": [...]}}. Got {line}.'
            )
        _check_keys(entry, KEYS, where)
        values = {key: entry[key] for key in ("positive", "negative", "box", "mask") if entry.get(key)}
        if not values:
            raise PromptError(f"{where} has no positive or negative clicks, box or mask.")
        yield _make_row(where, entry, values)


def _read_coco(path: Path) -> Iterator[_Row]:
    """A row for each annotation: its mask where it has one, else its box."""
    from masklet.media.readers.coco import CocoFile

    file = CocoFile.read(path)
    for image in file.images:
        name = PurePosixPath(image.file_name.replace("\\", "/"))
        frame = name.name if image.frame is None else image.frame
        for annotation in file.annotations.get(image.id, ()):
            where = f"{path}, annotation {annotation.id}"
            values = {"box": annotation.box} if annotation.segmentation is None else {"mask": annotation}
            if any(value is not None for value in values.values()):
                yield _Row(where, str(name), frame, None, annotation.category, values)


def _make_row(where: str, entry: Mapping[str, Any], values: Mapping[str, Any]) -> _Row:
    frame, object = entry.get("frame", 0), entry.get("object")
    if isinstance(frame, str) and frame.isdecimal():
        frame = int(frame)
    if isinstance(object, str) and object.isdecimal():
        object = int(object)
    if isinstance(frame, bool) or not isinstance(frame, int):
        raise PromptError(f"{where}: frame is a whole number from 0 on. Got {frame}.")
    if object is not None and (isinstance(object, bool) or not isinstance(object, int | str)):
        raise PromptError(f"{where}: object is a name, or a whole number from 1 on. Got {object}.")
    category = entry.get("class")
    return _Row(
        where,
        str(entry.get("source") or ""),
        frame,
        1 if object is None else object,
        category and str(category),
        values,
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path} cannot be read: {error}.") from None


def _check_keys(keys: Any, allowed: Sequence[str], where: str) -> None:
    unknown = [str(key) for key in keys if key not in allowed]
    if unknown:
        raise PromptError(f"{where} has {', '.join(unknown)}. Allowed are {', '.join(allowed)}.")


def _take_numbers(cells: Mapping[str, str], names: Sequence[str], where: str) -> list[float]:
    present = [name for name in names if name in cells]
    if not present:
        return []
    try:
        return [float(cells[name]) for name in names]
    except (KeyError, ValueError):
        values = ", ".join(f"{name}={cells.get(name, '')}" for name in names)
        raise PromptError(
            f"{where}: expected numbers in pixels for {', '.join(names)}. Got {values}."
        ) from None


def _is_named(item: Item, source: str) -> bool:
    """Whether an entry means an item: by its path or the end of it; a video's frame by its folder."""
    own = PurePosixPath(Path(item.source).as_posix()).parts
    parts = PurePosixPath(source.replace("\\", "/")).parts
    if item.source == source or own[-len(parts) :] == parts:
        return True
    stem = (*own[:-1], Path(own[-1]).stem) if own else ()
    return bool(parts[:-1]) and stem[-len(parts[:-1]) :] == parts[:-1]


def _find_frame(frame: int | str, frames: Frames) -> int:
    """The number of a frame that is given by its number or file name."""
    if isinstance(frame, int):
        return frame
    if len(frames) == 1:
        return 0
    for number in range(len(frames)):
        if PurePosixPath(frames.file_name(number)).name == frame:
            return number
    digits = re.search(r"(\d+)\D*$", PurePosixPath(frame).stem)
    if digits is None:
        raise ValueError(f"{frames.name} has no frame that is called {frame}.")
    return int(digits[1])
