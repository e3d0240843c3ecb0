"""What a job tells while it runs and after: its status, and the items that take long."""

from __future__ import annotations

import time
from collections.abc import Iterator

from masklet.errors import MaskletError
from masklet.jobs.records import JobStatus, RunningItem, read_status
from masklet.jobs.run import read_job
from masklet.jobs.stores import Store

STRAGGLER_FACTOR = 3.0  # times the median of the finished items
STRAGGLER_SECONDS = 10.0  # and at least so long


def find_stragglers(status: JobStatus) -> list[RunningItem]:
    """The items at work that took far longer so far than half of the finished ones did."""
    if status.median_seconds is None:
        return []
    limit = max(STRAGGLER_FACTOR * status.median_seconds, STRAGGLER_SECONDS)
    return [running for running in status.running if running.seconds > limit]


def last_status(store: Store) -> JobStatus:
    """The last status of a job, as its driver has written it.

    Raises:
        MaskletError: The store has no job, or one that has not begun.
    """
    manifest, _ = read_job(store)
    status = read_status(store)
    if status is None:
        raise MaskletError(f"the job of {manifest} has not begun: masklet jobs resume {store.url}")
    return status


def describe_status(status: JobStatus) -> Iterator[str]:
    """The lines that `masklet jobs status` prints."""
    yield (
        f"{status.done} of {status.total} items are done, {status.failed} failed, "
        f"{len(status.running)} at work, {status.waiting} waiting"
    )
    hours = (status.time - status.began) / 3600
    done_now = status.done - status.done_before
    if done_now and hours > 0:
        rate = done_now / hours
        left = status.unfinished / rate
        yield f"{rate:,.0f} items an hour" + (f", {left:.1f} hours to go" if left else "")
    silent = time.time() - status.time
    if status.is_running and silent > 60:
        yield f"the driver wrote its status last {silent:.0f} seconds ago: if it is gone, masklet jobs resume"
    for straggler in find_stragglers(status):
        done, all_frames = straggler.frames
        yield (
            f"slow: {straggler.item}, {straggler.seconds:.0f} s so far, frame {done} of {all_frames}; "
            f"the median is {status.median_seconds:.0f} s"
        )
