"""What of a job is done and what is to do, by what is published; what nobody asks for any more is removed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from masklet.jobs.manifest import Entry
from masklet.jobs.records import (
    ERRORS,
    FILES,
    MASKS,
    ItemError,
    ItemRecord,
    MaskFiles,
    VideoSplit,
    read_errors,
    read_records,
    remove_record,
)
from masklet.jobs.stores import REQUESTS, Store
from masklet.jobs.worker import Item


@dataclass
class Plan:
    """What is to be done, and what was.

    Attributes:
        waiting: Items to run.
        done: Items that are done, now or by an earlier run.
        failed: Items that cannot be done, with the reason.
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
        """Place an item, and the parts of one that was split, by what earlier runs published.

        Args:
            item: To place.
            errors: Of earlier runs, by item.
            stamps: Of sources, where they were read already.
            retry_errors: Whether what could not be read is to run again.
        """
        record, error, source = self.records.get(item.id), errors.get(item.id), item.entry.source

        def stamp() -> str:
            return stamps[source] if source in stamps else item.entry.stamp_if_there()

        # Results stay where their source is gone or cannot be reached: nobody can say that it has changed.
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
    """Compare a manifest with what is published."""
    plan = Plan()
    results = {f"{folder}/{name}" for folder in (MASKS, FILES) for name in store.names(folder)}
    for record in read_records(store):
        if isinstance(record.results, MaskFiles) and record.results.path not in results:
            remove_record(store, record)  # somebody removed its results: it is run again
        else:
            plan.records[record.item] = record
    errors = {error.item: error for error in read_errors(store)}
    recorded = [entry for entry in entries if entry.id in plan.records or entry.id in errors]
    with ThreadPoolExecutor(REQUESTS) as pool:  # one by one, 100,000 requests to a store take hours
        found = pool.map(Entry.stamp_if_there, recorded)
        stamps = {entry.source: stamp for entry, stamp in zip(recorded, found, strict=True)}
    for entry in entries:
        plan.add(Item(entry), errors, stamps, retry_errors=retry_errors)
    return plan


def remove_outdated(store: Store, plan: Plan, entries: list[Entry]) -> None:
    """Remove what the manifest does not ask for any more, since its prompts were changed.

    These are errors of entries that it had before, and results of its sources with other prompts, where those
    with the present ones are done. Results of sources that it does not name any more stay.
    """
    length = len(entries[0].id)  # that of a part is longer
    ids, failed = {entry.id for entry in entries}, {id[:length] for id in plan.failed}
    sources = {entry.source for entry in entries if entry.id not in failed}
    for name in store.names(ERRORS):
        if name[:length] not in ids:
            store.remove(f"{ERRORS}/{name}")
    for record in plan.records.values():
        if record.source in sources and record.item[:length] not in ids:
            remove_record(store, record)
