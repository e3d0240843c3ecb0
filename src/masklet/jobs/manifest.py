"""The manifest of a job: sources with prompts, detections, or neither (then everything is found)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from masklet.errors import MaskletError, PromptError
from masklet.jobs.stores import (
    is_glob,
    is_local,
    local_path,
    open_filesystem,
    source_stamp,
    store_errors,
)
from masklet.label_maps import HIGHEST_ID
from masklet.media import is_image
from masklet.media.readers.prompt_files import (
    COLUMNS,
    KEYS,
    PromptRow,
    parse_line,
    row_from_cells,
    row_from_entry,
)
from masklet.media.readers.videos import is_video
from masklet.types import Prompt

TABLES = (".parquet", ".csv", ".jsonl", ".ndjson")
FLAT = frozenset(COLUMNS) - frozenset(KEYS)


@dataclass(frozen=True)
class Entry:
    """One source of a manifest.

    Attributes:
        source: A path or URL.
        rows: Its prompts.
        detections: The path or URL of a COCO JSON with boxes or masks of its frames.
        folder: The manifest's folder, to which paths of masks are relative.
    """

    source: str
    rows: tuple[PromptRow, ...] = ()
    detections: str | None = None
    folder: str = field(default=".", compare=False)

    @property
    def id(self) -> str:
        """Equal for the same source with the same prompts."""
        prompts = [[row.frame, row.object, row.category, row.values] for row in self.rows]
        content = json.dumps([self.source, prompts, self.detections], sort_keys=True, default=str)
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:24]

    @property
    def mask_files(self) -> list[Path]:
        """The existing mask files of the prompts."""
        names = [row.values.get("mask") for row in self.rows]
        if not is_local(self.folder):
            return []
        paths = [local_path(self.folder) / name for name in names if isinstance(name, str)]
        return [path for path in paths if path.is_file()]

    def stamp(self) -> str:
        """A stamp that changes with the entry's files, and is fast to read; see `source_stamp`.

        Raises:
            StoreError: One is not there, or its store cannot be reached.
        """
        others = [] if self.detections is None else [self.detections]
        return "|".join(map(source_stamp, [self.source, *others, *map(str, self.mask_files)]))

    def stamp_if_there(self) -> str:
        """The stamp, or an empty string if a file of the entry cannot be reached."""
        try:
            return self.stamp()
        except MaskletError:
            return ""


def read_manifest(manifest: str) -> list[Entry]:
    """The entries of a manifest.

    Args:
        manifest: A table (.parquet, .csv or .jsonl) with a column `source`, or a file, folder or glob of
            videos; each a path or URL.

    Raises:
        PromptError: The manifest cannot be read, or is empty.
    """
    fs, path = open_filesystem(manifest)
    suffix = PurePosixPath(path).suffix.lower()
    with store_errors(manifest):
        is_there = fs.exists(path)
        if not is_there and not is_glob(manifest):
            raise PromptError(f"there is no {manifest}.")
        if suffix not in TABLES or not is_there or fs.isdir(path):
            return [Entry(source) for source in _find_sources(manifest)]
        content = fs.cat_file(path)
    folder = _parent(manifest)
    rows: dict[str, list[PromptRow]] = {}
    detections: dict[str, str] = {}
    for where, record in _read_records(manifest, suffix, content):
        source = record.get("source")
        if not source or not isinstance(source, str):
            raise PromptError(
                f"{where} has no source, the path or URL of a video. It has {', '.join(map(str, record))}."
            )
        source = _resolve(folder, source)
        prompts = rows.setdefault(source, [])
        if location := record.get("detections"):
            location = _resolve(folder, str(location))
            if detections.setdefault(source, location) != location:
                raise PromptError(
                    f"{where}: {source} has other detections in an earlier row, {detections[source]}: put "
                    "them in one file."
                )
        row = _prompt_row(where, {name: value for name, value in record.items() if name != "detections"})
        if row.values:
            prompts.append(row)
    for source in detections:
        if rows[source]:
            raise PromptError(f"{source} has prompts and detections: remove one of them.")
    if not rows:
        raise PromptError(f"{manifest} lists no source.")
    return [Entry(source, tuple(rows[source]), detections.get(source), folder) for source in rows]


def _prompt_row(where: str, record: Mapping[str, Any]) -> PromptRow:
    """The prompt in a record of either form: with a click in columns, or with lists of clicks."""
    is_flat = bool(FLAT & record.keys())
    allowed = COLUMNS if is_flat else KEYS
    if unknown := [name for name in record if name not in allowed]:
        raise PromptError(
            f"{where} has unknown keys: {', '.join(unknown)}. Allowed are detections, {', '.join(allowed)}."
        )
    row = row_from_cells(where, _to_cells(where, record)) if is_flat else row_from_entry(where, record)
    if isinstance(row.object, int) and row.object > HIGHEST_ID:
        raise PromptError(f"{where}: object is at most {HIGHEST_ID}. Got {row.object}.")
    if not row.values and (named := [name for name in ("object", "class") if name in record]):
        raise PromptError(
            f"{where} has {' and '.join(named)} but no click, box or mask: add one, or leave them empty to "
            "segment everything."
        )
    try:  # its frame and a mask's size can only be checked with the video
        Prompt.from_json({name: value for name, value in row.values.items() if name != "mask"})
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from None
    return row


def _to_cells(where: str, record: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a record in the form of a CSV file."""
    for name, value in record.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise PromptError(
                f"{where}: {name} must be text or a number. Got {value!r:.60} ({type(value).__name__})."
            )
    if isinstance(record.get("object"), int) and record["object"] > HIGHEST_ID:
        raise PromptError(f"{where}: object is at most {HIGHEST_ID}. Got {record['object']}.")
    return {name: str(value) for name, value in record.items()}


def _read_records(manifest: str, suffix: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each record without empty values, and its position for messages."""
    if suffix == ".parquet":
        rows: Iterator[tuple[str, dict[str, Any]]] = _read_parquet(manifest, content)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PromptError(f"{manifest} cannot be read: {error}.") from None
        rows = _read_csv(manifest, text) if suffix == ".csv" else _read_lines(manifest, text)
    for where, record in rows:
        filled = {name: value for name, value in record.items() if not _is_empty(value)}
        if filled:
            yield where, filled


def _is_empty(value: Any) -> bool:
    """Whether a table's cell is empty; pandas and polars write NaN for that."""
    return (
        value is None
        or (isinstance(value, str) and not value)
        or (isinstance(value, float) and math.isnan(value))
    )


def _read_parquet(manifest: str, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(content)).read()
        names = table.column_names
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise PromptError(f"{manifest} has the column {twice[0]} twice. Remove one of them.")
        records: list[dict[str, Any]] = table.to_pylist()
    except pa.ArrowException as error:
        raise PromptError(f"{manifest} is not Parquet: {error}.") from None
    yield from ((f"{manifest}, row {number}", record) for number, record in enumerate(records))


def _read_csv(manifest: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [column.strip() for column in reader.fieldnames or ()]
    if "source" not in columns:
        hint = " Columns are separated by commas." if any(";" in column for column in columns) else ""
        raise PromptError(
            f"{manifest} has no column source in its first line. It has {', '.join(columns)}.{hint}"
            if columns
            else f"{manifest} lists no source."
        )
    if len(set(columns)) < len(columns):
        raise PromptError(f"{manifest} has a column twice in its first line. Got {', '.join(columns)}.")
    reader.fieldnames = columns
    for line in reader:
        where = f"{manifest}, line {reader.line_num}"
        if None in line:
            raise PromptError(f"{where} has more cells than the first line has columns.")
        yield where, {name: value.strip() for name, value in line.items() if value}


def _read_lines(manifest: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):  # JSON strings may have other line breaks
        if line.strip():
            where = f"{manifest}, line {number}"
            yield where, dict(parse_line(where, line))


def _find_sources(manifest: str) -> list[str]:
    """The videos and images of a file, folder or glob, in order."""
    fs, path = open_filesystem(manifest)
    if not fs.exists(path):
        paths = fs.glob(path)
    elif fs.isdir(path):
        paths = fs.find(path)
    else:
        paths = [path]
    sources = [name for name in paths if _is_media(name)]
    if not is_local(manifest):
        scheme = manifest.partition("://")[0]
        sources = [name if "://" in name else f"{scheme}://{name.lstrip('/')}" for name in sources]
    if not sources:
        raise PromptError(
            f"{manifest} is not a manifest and contains no videos. A manifest is a .parquet, .csv or .jsonl "
            "with a column source, or a folder or glob of videos."
        )
    return sorted(sources)


def _is_media(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.name.startswith(".") and (is_video(path) or is_image(path))


def _parent(manifest: str) -> str:
    if is_local(manifest):
        return str(local_path(manifest).absolute().parent)
    return manifest.rpartition("/")[0]


def _resolve(folder: str, source: str) -> str:
    """An absolute path for a path relative to the manifest; URLs are not changed."""
    if source.startswith("/") or is_local(source):
        source = str(local_path(source))
    if source.startswith("/"):
        return posixpath.normpath(source)
    return source if "://" in source else f"{folder}/{posixpath.normpath(source)}"
