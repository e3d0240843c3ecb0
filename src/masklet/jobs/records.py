"""The JSON files of a job: the job, a record of each item that is done, a row for each error, the status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

from masklet.errors import MaskletError
from masklet.jobs.settings import JobSettings
from masklet.jobs.stores import Store, StoreError

Content = TypeVar("Content")

RECORDS, ERRORS, MASKS, FILES = "records", "errors", "masks", "files"  # folders of a job's store
JOB, STATUS = "job.json", "status.json"
TABLE = "masks.parquet"  # in an item's folder, next to other formats

STRAGGLER_FACTOR = 3.0  # times the median of the finished items
STRAGGLER_SECONDS = 10.0  # and at least this long

ErrorKind = Literal["input", "system", "timeout"]


@dataclass(frozen=True)
class VideoSplit:
    """A long video that was split.

    Attributes:
        parts: Its parts as (start, stop), which are separate items.
    """

    parts: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        return {"status": "split", "parts": self.parts}


@dataclass(frozen=True)
class MaskFiles:
    """The published masks of an item.

    Attributes:
        part: The number of the part; 0 for a video that is not split.
        frames: Of the part.
        masks: Of all frames and objects.
        masked: The first frame with masks and the one after the last; None in jobs of earlier versions.
        size: (H, W); None in jobs of earlier versions.
        names: Of image files; None for the frames of a video.
        file: The Parquet file; None where a folder holds the masks.
        folder: The folder, where formats other than Parquet were chosen.
        files: How many are in the folder.
    """

    part: int
    frames: int
    masks: int
    masked: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    names: tuple[str, ...] | None = None
    file: str | None = None
    folder: str | None = None
    files: int | None = None

    @property
    def path(self) -> str:
        """The file or folder in the store."""
        path = self.folder if self.file is None else self.file
        assert path is not None
        return path

    @property
    def table(self) -> str:
        """The Parquet file, where there is one."""
        return self.path if self.folder is None else f"{self.folder}/{TABLE}"

    def to_json(self) -> dict[str, Any]:
        optional = ("file", "folder", "files")
        content = {k: v for k, v in asdict(self).items() if v is not None or k not in optional}
        return {"status": "done", **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MaskFiles:
        masked, size, names = (content.get(name) for name in ("masked", "size", "names"))
        return cls(
            part=content["part"],
            frames=content["frames"],
            masks=content["masks"],
            masked=None if masked is None else (masked[0], masked[1]),
            size=None if size is None else (size[0], size[1]),
            names=None if names is None else tuple(names),
            file=content.get("file"),
            folder=content.get("folder"),
            files=content.get("files"),
        )


@dataclass(frozen=True)
class ItemRecord:
    """The result of an item that did not fail.

    Attributes:
        key: The name of its results, a hash of content and settings. It is the record's file name.
        item: The item's id.
        source: As the manifest has it.
        stamp: Tells whether the source has changed since; see `source_stamp`.
        host: The machine that ran it.
        began: When, in seconds since 1970.
        seconds: How long it took.
        results: Its masks, or its parts.
        processor_seconds: Of all cores; None in jobs of earlier versions.
    """

    key: str
    item: str
    source: str
    stamp: str
    host: str
    began: float
    seconds: float
    results: MaskFiles | VideoSplit
    processor_seconds: float | None = None

    @property
    def masks(self) -> MaskFiles:
        """The results of an item that was not split."""
        assert isinstance(self.results, MaskFiles)
        return self.results

    def to_json(self) -> dict[str, Any]:
        content = asdict(replace(self, results=VideoSplit(())))
        del content["key"], content["results"]
        return {**content, **self.results.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], key: str) -> ItemRecord:
        results: MaskFiles | VideoSplit
        if content["status"] == "split":
            results = VideoSplit(tuple((start, stop) for start, stop in content["parts"]))
        else:
            results = MaskFiles.from_json(content)
        return cls(
            key=key,
            item=content["item"],
            source=content["source"],
            stamp=content["stamp"],
            host=content["host"],
            began=content["began"],
            seconds=content["seconds"],
            results=results,
            processor_seconds=content.get("processor_seconds"),
        )


@dataclass(frozen=True)
class ItemError:
    """A row of the errors table: why an item failed.

    Attributes:
        item: The item's id.
        source: As the manifest has it.
        part: The number of the part; 0 for a video that is not split.
        kind: The cause: the input, the system, or a timeout.
        error: The reason.
        attempts: How often it was tried.
        time: Of the last attempt, in seconds since 1970.
        stamp: Tells whether the source has changed since; see `source_stamp`.
    """

    item: str
    source: str
    part: int
    kind: ErrorKind
    error: str
    attempts: int
    time: float
    stamp: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RunningItem:
    """An item at work.

    Attributes:
        item: Its title.
        seconds: Since it began.
        frames: Done, and all; zeros while it is fetched.
        attempt: The number of the attempt, from 1 on.
    """

    item: str
    seconds: float
    frames: tuple[int, int]
    attempt: int


@dataclass(frozen=True)
class JobStatus:
    """The progress of a job, written by its driver every two seconds.

    Attributes:
        time: When it was written, in seconds since 1970.
        host: The driver's machine.
        process: The driver's process id.
        is_running: Whether the driver was at work.
        began: When this run of the driver began.
        waiting: Items to do.
        done: Items that are done, also by earlier runs.
        done_before: Those of earlier runs.
        failed: Items that cannot be done.
        median_seconds: Of the items that are done; None while there is none.
        running: Items at work.
    """

    time: float
    host: str
    process: int
    is_running: bool
    began: float
    waiting: int
    done: int
    done_before: int
    failed: int
    median_seconds: float | None
    running: tuple[RunningItem, ...] = ()

    @property
    def unfinished(self) -> int:
        """Items that are waiting or running."""
        return self.waiting + len(self.running)

    @property
    def total(self) -> int:
        return self.done + self.failed + self.unfinished

    @property
    def stragglers(self) -> list[RunningItem]:
        """The running items that have taken far longer than the median of the finished ones."""
        if self.median_seconds is None:
            return []
        limit = max(STRAGGLER_FACTOR * self.median_seconds, STRAGGLER_SECONDS)
        return [running for running in self.running if running.seconds > limit]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> JobStatus:
        running = tuple(
            RunningItem(**{**item, "frames": (item["frames"][0], item["frames"][1])})
            for item in content["running"]
        )
        return cls(**{**content, "running": running})


def read_job(store: Store) -> tuple[str, JobSettings]:
    """The manifest and settings of the job whose results a store has."""
    job = store.read_json(JOB)
    if job is None:
        raise MaskletError(f"{store.url} contains no job: start one with masklet jobs run.")
    try:
        return str(job["manifest"]), JobSettings.from_json(job["settings"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MaskletError(
            f"{store.url}/{JOB} is from a job that this version of masklet cannot resume: choose another "
            "folder."
        ) from error


def read_record(store: Store, key: str) -> ItemRecord | None:
    """The record of an item's results; None where there are none."""
    return _read(store, f"{RECORDS}/{key}.json", partial(ItemRecord.from_json, key=key))


def read_records(store: Store) -> list[ItemRecord]:
    return [
        _parse(store, f"{RECORDS}/{key}.json", content, partial(ItemRecord.from_json, key=key))
        for key, content in store.read_folder(RECORDS).items()
    ]


def write_record(store: Store, record: ItemRecord) -> None:
    store.write_json(f"{RECORDS}/{record.key}.json", record.to_json())


def remove_record(store: Store, record: ItemRecord) -> None:
    """Remove a record and the masks that it is of."""
    store.remove(f"{RECORDS}/{record.key}.json")
    if isinstance(record.results, MaskFiles):
        store.remove(record.results.path)


def read_errors(store: Store) -> list[ItemError]:
    """The errors table: a row for each item that failed, by source."""
    errors = [
        _parse(store, f"{ERRORS}/{name}.json", content, lambda one: ItemError(**one))
        for name, content in store.read_folder(ERRORS).items()
    ]
    return sorted(errors, key=lambda error: (error.source, error.part))


def read_status(store: Store) -> JobStatus | None:
    """The last status of a job; None where it has not begun."""
    return _read(store, STATUS, JobStatus.from_json)


def last_status(store: Store) -> JobStatus:
    """The last status of a job, as its driver has written it.

    Raises:
        MaskletError: The store has no job, or one that has not begun.
    """
    manifest, _ = read_job(store)
    status = read_status(store)
    if status is None:
        raise MaskletError(f"the job of {manifest} has not started: run masklet jobs resume {store.url}")
    return status


def _read(store: Store, name: str, parse: Callable[[Any], Content]) -> Content | None:
    content = store.read_json(name)
    return None if content is None else _parse(store, name, content, parse)


def _parse(store: Store, name: str, content: Any, parse: Callable[[Any], Content]) -> Content:
    try:
        return parse(content)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(
            f"{store.url}/{name} is not a file that this version of masklet wrote: remove it."
        ) from error
