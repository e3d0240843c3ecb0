"""What a job's results tell: its status with stragglers, its errors, and all masks in few files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from masklet.errors import MaskletError
from masklet.jobs.manifest import PARQUET, read_manifest
from masklet.jobs.run import STATUS, make_plan, read_job
from masklet.jobs.stores import Store
from masklet.jobs.worker import ERRORS, FILES, table_name

STRAGGLER_FACTOR = 3.0  # times the median of the finished items
STRAGGLER_SECONDS = 10.0  # and at least so long
FILE_ROWS = 5_000_000  # of a merged file


@dataclass(frozen=True)
class Straggler:
    """An item at work for much longer than others took.

    Attributes:
        item: Its title.
        seconds: Since it began.
        frames: Done, and all; zeros while it is fetched.
    """

    item: str
    seconds: float
    frames: tuple[int, int]


def find_stragglers(status: Mapping[str, Any]) -> list[Straggler]:
    """The items at work that took far longer so far than half of the finished ones did."""
    median = status["median_seconds"]
    if median is None:
        return []
    limit = max(STRAGGLER_FACTOR * median, STRAGGLER_SECONDS)
    return [
        Straggler(running["item"], running["seconds"], tuple(running["frames"]))
        for running in status["running"]
        if running["seconds"] > limit
    ]


def read_status(store: Store) -> dict[str, Any]:
    """The last status of a job, as its driver has written it."""
    status = store.read_json(STATUS)
    if status is None:
        manifest, _ = read_job(store)
        raise MaskletError(f"the job of {manifest} has not begun: masklet jobs resume {store.url}")
    return status


def describe_status(status: Mapping[str, Any]) -> Iterator[str]:
    """The lines that `masklet jobs status` prints."""
    total = status["done"] + status["failed"] + status["waiting"] + len(status["running"])
    yield (
        f"{status['done']} of {total} items are done, {status['failed']} failed, "
        f"{len(status['running'])} at work, {status['waiting']} waiting"
    )
    hours = (status["time"] - status["began"]) / 3600
    done_now = status["done"] - status["done_before"]
    if done_now and hours > 0:
        rate = done_now / hours
        left = (status["waiting"] + len(status["running"])) / rate
        yield f"{rate:,.0f} items an hour" + (f", {left:.1f} hours to go" if left else "")
    silent = time.time() - status["time"]
    if status["is_running"] and silent > 60:
        yield f"the driver wrote its status last {silent:.0f} seconds ago: if it is gone, masklet jobs resume"
    for straggler in find_stragglers(status):
        done, all_frames = straggler.frames
        yield (
            f"slow: {straggler.item}, {straggler.seconds:.0f} s so far, frame {done} of {all_frames}; "
            f"the median is {status['median_seconds']:.0f} s"
        )


def read_errors(store: Store) -> list[dict[str, Any]]:
    """The errors table: a row for each item that failed, by source."""
    return sorted(store.read_folder(ERRORS).values(), key=lambda row: (row["source"], row["part"]))


def merge_tables(store: Store, target: Store, *, is_partial: bool = False) -> list[str]:
    """Copy the masks of all items into few Parquet files, in the order of the manifest.

    Args:
        store: The results.
        target: Gets masks-00000.parquet and so on, and errors.parquet.
        is_partial: Whether items may be missing.

    Returns:
        The files.

    Raises:
        MaskletError: Items are not done yet, or the job writes no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from masklet.jobs.tables import SCHEMA

    manifest, settings = read_job(store)
    if PARQUET not in settings.formats:
        raise MaskletError(
            f"only Parquet can be merged. This job writes {', '.join(settings.formats)}, "
            f"a folder for each item in {store.url}/{FILES}."
        )
    plan = make_plan(read_manifest(manifest), store)
    if plan.waiting and not is_partial:
        raise MaskletError(
            f"{len(plan.waiting)} items are not done: masklet jobs resume, or merge --partial what is there."
        )
    names = [table_name(plan.records[id]) for id in sorted(plan.done, key=_source_of(plan.records))]
    files = list[str]()
    while names:
        file = f"masks-{len(files):05d}.parquet"
        with target.writing(file) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            rows = 0
            while names and rows < FILE_ROWS:
                with store.open(names.pop(0)) as source:
                    for batch in pq.ParquetFile(source).iter_batches(65536):
                        writer.write_batch(batch)
                        rows += batch.num_rows
        files.append(file)
    errors = read_errors(store)
    if errors:
        with target.writing("errors.parquet") as part:
            pq.write_table(pa.Table.from_pylist(errors), part)
        files.append("errors.parquet")
    return files


def _source_of(records: Mapping[str, Mapping[str, Any]]) -> Any:
    return lambda id: (records[id]["source"], records[id]["part"])
