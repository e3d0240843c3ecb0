"""The items of a job: what is done and what is to do, by what is published, and what becomes of each."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from masklet.jobs.manifest import Entry
from masklet.jobs.records import (
    ERRORS,
    FILES,
    MASKS,
    STATUS,
    ErrorKind,
    ItemError,
    ItemRecord,
    JobStatus,
    MaskFiles,
    RunningItem,
    VideoSplit,
    read_errors,
    read_records,
    remove_record,
)
from masklet.jobs.stores import REQUESTS, Store, StoreError
from masklet.jobs.worker import Item, Outcome, make_error


@dataclass
class Plan:
    """The waiting, finished and failed items.

    Attributes:
        waiting: Items to run.
        done: Items that are done, now or by an earlier run.
        failed: Items that failed, with the reason.
        records: The published record of each item, by id.
    """

    waiting: deque[Item] = field(default_factory=deque)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    records: dict[str, ItemRecord] = field(default_factory=dict)

    def add(
        self,
        item: Item,
        errors: Mapping[str, ItemError],
        stamps: Mapping[str, str],
        *,
        retry_errors: bool,
    ) -> None:
        """Classify an item, and the parts of a split one, by the results of earlier runs.

        Args:
            item: To place.
            errors: Of earlier runs, by item.
            stamps: Of sources, where they were read already.
            retry_errors: Whether to run items again that could not be read.
        """
        record, error, source = self.records.get(item.id), errors.get(item.id), item.entry.source

        def stamp() -> str:
            return stamps[source] if source in stamps else item.entry.stamp_if_there()

        # Results are kept if their source is missing or cannot be reached: it is unknown whether it has
        # changed.
        if record is not None and stamp() in (record.stamp, ""):
            if isinstance(record.results, VideoSplit):
                for part in item.parts(record.results.parts):
                    self.add(part, errors, stamps, retry_errors=retry_errors)
            else:
                self.done.add(item.id)
            return
        is_final = error is not None and error.kind == "input" and not retry_errors
        if error is not None and is_final and error.stamp == stamp():
            self.failed[item.id] = error.error
        else:
            self.waiting.append(item)


def make_plan(entries: list[Entry], store: Store, *, retry_errors: bool = False) -> Plan:
    """Compare a manifest with the published results."""
    plan = Plan()
    results = {f"{folder}/{name}" for folder in (MASKS, FILES) for name in store.names(folder)}
    for record in read_records(store):
        if isinstance(record.results, MaskFiles) and record.results.path not in results:
            remove_record(store, record)  # its results were removed: run it again
        else:
            plan.records[record.item] = record
    errors = {error.item: error for error in read_errors(store)}
    recorded = [entry for entry in entries if entry.id in plan.records or entry.id in errors]
    with ThreadPoolExecutor(REQUESTS) as pool:  # 100,000 requests to a store take hours without threads
        found = pool.map(Entry.stamp_if_there, recorded)
        stamps = {entry.source: stamp for entry, stamp in zip(recorded, found, strict=True)}
    for entry in entries:
        plan.add(Item(entry), errors, stamps, retry_errors=retry_errors)
    return plan


def remove_outdated(store: Store, plan: Plan, entries: list[Entry]) -> None:
    """Remove results that the manifest no longer needs, after a change of its prompts.

    These are errors of removed entries, and results of its sources with other prompts, if those with the
    current prompts are done. Results of removed sources are kept.
    """
    length = len(entries[0].id)  # the ids of parts are longer
    ids, failed = {entry.id for entry in entries}, {id[:length] for id in plan.failed}
    sources = {entry.source for entry in entries if entry.id not in failed}
    for name in store.names(ERRORS):
        if name[:length] not in ids:
            store.remove(f"{ERRORS}/{name}")
    for record in plan.records.values():
        if record.source in sources and record.item[:length] not in ids:
            remove_record(store, record)


class Progress:
    """Records the outcomes of items in a plan and in the job's store.

    Args:
        store: Of the job.
        plan: Its items; what waits is to be taken from it.
        attempts: How often an item may fail by no fault of its own.
    """

    def __init__(self, store: Store, plan: Plan, attempts: int) -> None:
        self.store, self.plan = store, plan
        self._most_attempts = attempts
        self._attempts: dict[str, int] = {}
        records = plan.records.values()
        self._seconds = [record.seconds for record in records if isinstance(record.results, MaskFiles)]
        self._began, self._done_before = time.time(), len(plan.done)

    def attempts_of(self, item: Item) -> int:
        """How often an item was tried in this run and failed."""
        return self._attempts.get(item.id, 0)

    def record(self, item: Item, outcome: Outcome) -> None:
        """Record what became of an item."""
        record = outcome.record
        if record is None:
            self.fail(item, outcome.error, outcome.kind)
            return
        self._remove_superseded(item, record.key)
        with suppress(StoreError):
            self.store.remove(f"{ERRORS}/{item.id}.json")
        self.plan.records[item.id] = record
        if isinstance(record.results, VideoSplit):
            for part in item.parts(record.results.parts):
                self.plan.add(part, {}, {}, retry_errors=False)
            return
        self.plan.done.add(item.id)
        self._seconds.append(record.seconds)

    def fail(self, item: Item, error: str, kind: ErrorKind) -> None:
        """Count an attempt. After the last one, the item is in the errors table."""
        attempts = self._attempts[item.id] = self._attempts.get(item.id, 0) + 1
        if kind == "system" and attempts < self._most_attempts:
            self.plan.waiting.append(item)
            return
        self.plan.failed[item.id] = f"{item.title}: {error}"
        with suppress(StoreError):  # a full disk: the item is not done, and the next run tries it again
            row = make_error(item, error, kind, attempts)
            self.store.write_json(f"{ERRORS}/{item.id}.json", row.to_json())

    def _remove_superseded(self, item: Item, key: str) -> None:
        """Remove the results of a source whose content has changed since."""
        earlier = self.plan.records.get(item.id)
        if earlier is not None and earlier.key != key:
            remove_record(self.store, earlier)

    def status(self, running: Sequence[RunningItem] = (), *, is_running: bool) -> JobStatus:
        """The status for `masklet jobs status`.

        Args:
            running: The items at work.
            is_running: Whether items are still to come.
        """
        return JobStatus(
            time=time.time(),
            host=socket.gethostname(),
            process=os.getpid(),
            is_running=is_running,
            began=self._began,
            waiting=len(self.plan.waiting),
            done=len(self.plan.done),
            done_before=self._done_before,
            failed=len(self.plan.failed),
            median_seconds=_median(self._seconds),
            running=tuple(running),
        )

    def publish(self, running: Sequence[RunningItem] | None = None) -> JobStatus:
        """Write the status to the store, and return it. A store that cannot be written is left as it is.

        Args:
            running: The items at work; None at the end of the run.
        """
        status = self.status(running or (), is_running=running is not None)
        with suppress(StoreError):
            self.store.write_json(STATUS, status.to_json())
        return status


def _median(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
