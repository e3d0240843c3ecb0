"""What a job is to do: sources, each with prompts, with detections, or with neither (then: everything)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from masklet.errors import PromptError
from masklet.jobs.stores import is_local, local_path, open_filesystem
from masklet.media import is_picture
from masklet.media.readers.prompt_files import (
    COLUMNS,
    KEYS,
    PromptRow,
    parse_line,
    row_from_cells,
    row_from_entry,
)

TABLES = (".parquet", ".csv", ".jsonl", ".ndjson")
FLAT = frozenset(COLUMNS) - frozenset(KEYS)


@dataclass(frozen=True)
class Entry:
    """One source of a manifest.

    Attributes:
        source: A path or URL.
        rows: Its prompts.
        detections: The path or URL of a COCO JSON with boxes or masks of its frames.
        folder: The manifest's folder, from which paths of masks start.
    """

    source: str
    rows: tuple[PromptRow, ...] = ()
    detections: str | None = None
    folder: str = field(default=".", compare=False)

    @property
    def id(self) -> str:
        """The same for the same source with the same prompts."""
        prompts = [[row.frame, row.object, row.category, row.values] for row in self.rows]
        content = json.dumps([self.source, prompts, self.detections], sort_keys=True, default=str)
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:24]


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
    if suffix not in TABLES or "*" in path:
        return [Entry(source) for source in _find_sources(manifest)]
    folder = _parent(manifest)
    try:
        with fs.open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise PromptError(f"{manifest} cannot be read: {error}.") from None
    rows: dict[str, list[PromptRow]] = {}
    detections: dict[str, str] = {}
    for where, record in _read_records(manifest, suffix, content):
        source = record.get("source")
        if not source or not isinstance(source, str):
            raise PromptError(f"{where} has no source: the path or URL of a video.")
        source = _resolve(folder, source)
        prompts = rows.setdefault(source, [])
        if location := record.get("detections"):
            detections[source] = _resolve(folder, str(location))
        row = _prompt_row(where, {name: value for name, value in record.items() if name != "detections"})
        if row.values:
            prompts.append(row)
    for source in detections:
        if rows[source]:
            raise PromptError(f"{source} has prompts and detections: leave one of them out.")
    if not rows:
        raise PromptError(f"{manifest} lists no source.")
    return [Entry(source, tuple(rows[source]), detections.get(source), folder) for source in rows]


def _prompt_row(where: str, record: Mapping[str, Any]) -> PromptRow:
    """The prompt of a record in either form: with a click in columns, or with lists of clicks."""
    is_flat = bool(FLAT & record.keys())
    allowed = COLUMNS if is_flat else KEYS
    if unknown := [name for name in record if name not in allowed]:
        raise PromptError(f"{where} has {', '.join(unknown)}. Allowed are detections, {', '.join(allowed)}.")
    return row_from_cells(where, _as_text(record)) if is_flat else row_from_entry(where, record)


def _as_text(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in record.items()}


def _read_records(manifest: str, suffix: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each record without what is empty, and where it is for messages."""
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            records: Iterable[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
        except pa.ArrowException as error:
            raise PromptError(f"{manifest} is not Parquet: {error}.") from None
        rows: Iterator[tuple[str, dict[str, Any]]] = (
            (f"{manifest}, row {number}", record) for number, record in enumerate(records)
        )
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PromptError(f"{manifest} cannot be read: {error}.") from None
        rows = _read_csv(manifest, text) if suffix == ".csv" else _read_lines(manifest, text)
    for where, record in rows:
        filled = {name: value for name, value in record.items() if value is not None and value != ""}
        if filled:
            yield where, filled


def _read_csv(manifest: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines())
    for line in reader:
        where = f"{manifest}, line {reader.line_num}"
        if None in line:
            raise PromptError(f"{where} has more cells than the first line has columns.")
        yield where, {name: value.strip() for name, value in line.items() if value}


def _read_lines(manifest: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            where = f"{manifest}, line {number}"
            yield where, dict(parse_line(where, line))


def _find_sources(manifest: str) -> list[str]:
    """The videos and pictures of a file, folder or glob, in order."""
    fs, path = open_filesystem(manifest)
    if "*" in path:
        paths = fs.glob(path)
    elif fs.isdir(path):
        paths = [name for name in fs.find(path) if not PurePosixPath(name).name.startswith(".")]
    else:
        paths = [path] if fs.exists(path) else []
    sources = [name for name in paths if _is_media(name)]
    if not is_local(manifest):
        scheme = manifest.partition("://")[0]
        sources = [name if "://" in name else f"{scheme}://{name.lstrip('/')}" for name in sources]
    if not sources:
        raise PromptError(
            f"{manifest} is no manifest and holds no videos. A manifest is a .parquet, .csv or .jsonl with a "
            "column source, or a folder or glob of videos."
        )
    return sorted(sources)


def _is_media(name: str) -> bool:
    path = PurePosixPath(name)
    kind, _ = mimetypes.guess_type(path.name)
    return (kind or "").startswith("video/") or path.suffix.lower() in (".mkv", ".gif") or is_picture(path)


def _parent(manifest: str) -> str:
    if is_local(manifest):
        return str(local_path(manifest).absolute().parent)
    return manifest.rpartition("/")[0]


def _resolve(folder: str, source: str) -> str:
    """A path relative to the manifest as an absolute one; a URL as it is."""
    if "://" in source or source.startswith("/"):
        return source
    return f"{folder}/{source}"
