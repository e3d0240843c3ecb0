"""What a job tells while it runs and after: its status with stragglers, and its errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from masklet.errors import MaskletError
from masklet.jobs.run import STATUS, read_job
from masklet.jobs.stores import Store
from masklet.jobs.worker import ERRORS

STRAGGLER_FACTOR = 3.0  # times the median of the finished items
STRAGGLER_SECONDS = 10.0  # and at least so long


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
