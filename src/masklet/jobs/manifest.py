"""What a job is to do, by which settings: sources with prompts, detections, or neither (then: everything)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from masklet.errors import MaskletError, OptionError, PromptError, check_count
from masklet.jobs.stores import (
    is_glob,
    is_local,
    local_path,
    open_filesystem,
    source_stamp,
    store_errors,
)
from masklet.label_maps import HIGHEST_ID
from masklet.media import is_picture
from masklet.media.readers.microscopy import Channel
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

PARQUET = "parquet"
LATER_SETTINGS = frozenset(  # than the first jobs
    ("image_size", "channel", "intensity_range", "patience", "pixel_size")
)


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

    @property
    def mask_files(self) -> list[Path]:
        """The files that prompts name as masks and that are there."""
        names = [row.values.get("mask") for row in self.rows]
        if not is_local(self.folder):
            return []
        paths = [local_path(self.folder) / name for name in names if isinstance(name, str)]
        return [path for path in paths if path.is_file()]

    def stamp(self) -> str:
        """What tells cheaply whether a file of the entry has changed; see `source_stamp`.

        Raises:
            StoreError: One is not there, or its store cannot be reached.
        """
        others = [] if self.detections is None else [self.detections]
        return "|".join(map(source_stamp, [self.source, *others, *map(str, self.mask_files)]))

    def stamp_if_there(self) -> str:
        """The stamp, or an empty text where a file of the entry cannot be reached."""
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
                    f"{where}: {source} has other detections in an earlier row, {detections[source]}: join "
                    "them in one file."
                )
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
    row = row_from_cells(where, _to_cells(where, record)) if is_flat else row_from_entry(where, record)
    if isinstance(row.object, int) and row.object > HIGHEST_ID:
        raise PromptError(f"{where}: object is at most {HIGHEST_ID}. Got {row.object}.")
    if not row.values and (named := [name for name in ("object", "class") if name in record]):
        raise PromptError(
            f"{where} has {' and '.join(named)} and no click, box or mask, so that they would be lost: add "
            "one, or leave them empty, and everything is segmented."
        )
    try:  # whether it is on the video, and a mask's size, only shows with the video
        Prompt.from_json({name: value for name, value in row.values.items() if name != "mask"})
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from None
    return row


def _to_cells(where: str, record: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a record as a CSV file would have them."""
    for name, value in record.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise PromptError(
                f"{where}: {name} must be text or a number. Got {value!r:.60} ({type(value).__name__})."
            )
    if isinstance(record.get("object"), int) and record["object"] > HIGHEST_ID:
        raise PromptError(f"{where}: object is at most {HIGHEST_ID}. Got {record['object']}.")
    return {name: str(value) for name, value in record.items()}


def _read_records(manifest: str, suffix: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each record without what is empty, and where it is for messages."""
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
    """Whether a table has nothing in a cell; pandas and polars write NaN for that."""
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
        raise PromptError(f"{manifest} names a column twice in its first line. Got {', '.join(columns)}.")
    reader.fieldnames = columns
    for line in reader:
        where = f"{manifest}, line {reader.line_num}"
        if None in line:
            raise PromptError(f"{where} has more cells than the first line has columns.")
        yield where, {name: value.strip() for name, value in line.items() if value}


def _read_lines(manifest: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):  # other line breaks may stand in a JSON text
        if line.strip():
            where = f"{manifest}, line {number}"
            yield where, dict(parse_line(where, line))


def _find_sources(manifest: str) -> list[str]:
    """The videos and pictures of a file, folder or glob, in order."""
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
            f"{manifest} is no manifest, and no videos are there. A manifest is a .parquet, .csv or .jsonl "
            "with a column source, or a folder or glob of videos."
        )
    return sorted(sources)


def _is_media(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.name.startswith(".") and (is_video(path) or is_picture(path))


def _parent(manifest: str) -> str:
    if is_local(manifest):
        return str(local_path(manifest).absolute().parent)
    return manifest.rpartition("/")[0]


def _resolve(folder: str, source: str) -> str:
    """A path relative to the manifest as an absolute one; a URL as it is."""
    if source.startswith("/") or is_local(source):
        source = str(local_path(source))
    if source.startswith("/"):
        return posixpath.normpath(source)
    return source if "://" in source else f"{folder}/{posixpath.normpath(source)}"


@dataclass(frozen=True)
class JobSettings:
    """What decides the results.

    Attributes:
        model: A name, path or hub id that every machine can load.
        dtype: The precision of the weights.
        setting: How far a backend may round: exact, balanced, fast.
        formats: "parquet" or names of `masklet.media.FORMATS`.
        fps: Take so many frames of each second.
        policy: The memory policy.
        cuts: Detect scene cuts while tracking.
        exclusive: Let no two masks overlap.
        split: Videos with more frames are split at scene cuts into parts of at most about so many frames.
        preset: The grid of `everything`.
        every: Of `everything`: frames from key frame to key frame.
        max_objects: Of `everything`: objects tracked at a time.
        max_pixels: Allow pictures with more pixels than 2**28.
        image_size: Side of the square that the network sees; None for what it was trained at.
        channel: Of microscope files; see `masklet.media.read_image`.
        intensity_range: What becomes black and white, for more than 8 bits; None chooses it for each source.
        patience: Of `everything`: frames until a lost object is given up.
        pixel_size: Micrometres along x, y and z, where None leaves it unsaid; None for what each source says.
    """

    model: str = "nano"
    dtype: str = "float32"
    setting: Literal["exact", "balanced", "fast"] = "exact"
    formats: tuple[str, ...] = (PARQUET,)
    fps: float | None = None
    policy: str = "recency"
    cuts: bool = False
    exclusive: bool = False
    split: int | None = None
    preset: str = "balanced"
    every: int | None = None
    max_objects: int = 32
    max_pixels: int | None = None
    image_size: int | None = None
    channel: Channel | None = None
    intensity_range: tuple[float, float] | None = None
    patience: int | None = None
    pixel_size: tuple[float, float, float | None] | None = None

    def check(self) -> None:
        """Raise an error where a name is unknown, before anything is started."""
        from masklet.auto import PRESETS
        from masklet.media import find_format
        from masklet.tracking.policies import find_policy

        find_policy(self.policy)
        for name in self.formats:
            if name != PARQUET:
                find_format(name)
        if self.preset not in PRESETS:
            raise MaskletError(f"there is no preset '{self.preset}'. Choose from {', '.join(PRESETS)}.")
        if self.split is not None and self.split < 1:
            raise MaskletError(f"split is a number of frames from 1 on. Got {self.split}.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise MaskletError(f"fps must be a number above 0. Got {self.fps}.")
        for name in ("every", "patience", "max_objects"):
            if (value := getattr(self, name)) is not None:
                check_count(value, name)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it. What came later is left out where it is not used, so that earlier jobs go on."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {
            name: value for name, value in content.items() if value is not None or name not in LATER_SETTINGS
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> JobSettings:
        fields = {**content, "formats": tuple(content["formats"])}
        for name in ("intensity_range", "pixel_size"):
            if content.get(name) is not None:
                fields[name] = tuple(content[name])
        return cls(**fields)


@dataclass(frozen=True)
class Cluster:
    """Where and how widely a job runs; none of it changes a result.

    Attributes:
        address: Of a Ray cluster, such as "auto" or "ray://head:10001"; None starts Ray on this machine.
        actors: Models at work at a time; None for what the machines have room for.
        cpus_per_actor: CPU cores of each.
        gpus_per_actor: GPUs of each, such as 0.5; None for 1 where there are GPUs.
        attempts: How often an item may fail by no fault of its own, such as a killed worker, in one run.
        timeout: Seconds after which an item counts as failed.
        retry_errors: Run items again that earlier runs could not read.
        object_store_bytes: Of Ray on this machine. Videos never pass through it.
    """

    address: str | None = None
    actors: int | None = None
    cpus_per_actor: float = 1
    gpus_per_actor: float | None = None
    attempts: int = 3
    timeout: float | None = None
    retry_errors: bool = False
    object_store_bytes: int = 100 * 2**20

    def check(self) -> None:
        """Raise an error where a number is out of its range."""
        if self.actors is not None:
            check_count(self.actors, "actors")
        check_count(self.attempts, "attempts")
        for name in ("cpus_per_actor", "timeout"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise OptionError(f"{name} must be a number above 0. Got {value}.")
        if self.gpus_per_actor is not None and not 0 <= self.gpus_per_actor < math.inf:
            raise OptionError(f"gpus_per_actor must be a number from 0 on. Got {self.gpus_per_actor}.")
