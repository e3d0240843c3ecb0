"""The model's thread: what is asked for comes first, and what may be asked for next when it is idle."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from masklet.studio.inference.worker import Priority, Worker
from masklet.studio.settings import Limits

PATIENCE = 30.0  # seconds, far more than anything here takes


@pytest.fixture(name="worker")
def provide_worker() -> Iterator[Worker]:
    worker = Worker(Limits())
    yield worker
    worker.close()


def test_work_ahead_runs_when_nothing_is_asked_for(worker: Worker) -> None:
    done = Event()
    worker.call_ahead("ann", done.set)
    assert done.wait(PATIENCE)


def test_work_ahead_waits_for_others_and_is_dropped_by_the_persons_next_request(worker: Worker) -> None:
    order, go, done = list[str](), Event(), Event()
    first = worker.call("bob", Priority.encode, lambda: go.wait(PATIENCE))
    worker.call_ahead("ann", lambda: order.append("dropped"))
    worker.call_ahead("cid", lambda: (order.append("ahead"), done.set()))
    asked = worker.call("ann", Priority.prompt, lambda: order.append("asked"))
    go.set()
    assert first.result(PATIENCE)
    asked.result(PATIENCE)
    assert done.wait(PATIENCE) and order == ["asked", "ahead"]


def test_only_the_newest_work_ahead_of_a_person_runs(worker: Worker) -> None:
    order, go, done = list[str](), Event(), Event()
    worker.call("bob", Priority.encode, lambda: go.wait(PATIENCE))
    worker.call_ahead("ann", lambda: order.append("old"))
    worker.call_ahead("ann", lambda: (order.append("new"), done.set()))
    go.set()
    assert done.wait(PATIENCE) and order == ["new"]


def test_work_ahead_that_fails_leaves_the_thread_alive(worker: Worker) -> None:
    def fail() -> None:
        raise RuntimeError("no matter")

    worker.call_ahead("ann", fail)
    done = Event()
    worker.call_ahead("bob", done.set)
    assert done.wait(PATIENCE)
    assert worker.call("ann", Priority.prompt, lambda: 7).result(PATIENCE) == 7
