"""The model's thread: what is asked for comes first, and what may be asked for next when it is idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import pytest

from masklet.studio.inference.worker import Priority, Worker
from masklet.studio.settings import Limits

PATIENCE = 30.0  # seconds, far more than anything here takes


def once(function: Callable[[], object]) -> Iterator[None]:
    function()
    yield


@pytest.fixture(name="worker")
def provide_worker() -> Iterator[Worker]:
    worker = Worker(Limits())
    yield worker
    worker.close()


def test_work_ahead_runs_when_nothing_is_asked_for(worker: Worker) -> None:
    done = Event()
    worker.add_ahead("ann", once(done.set))
    assert done.wait(PATIENCE)


def test_work_ahead_waits_for_others_and_is_dropped_by_the_persons_next_request(worker: Worker) -> None:
    order, go, done = list[str](), Event(), Event()
    first = worker.call("bob", Priority.encode, lambda: go.wait(PATIENCE))
    worker.add_ahead("ann", once(lambda: order.append("dropped")))
    worker.add_ahead("cid", once(lambda: (order.append("ahead"), done.set())))
    asked = worker.call("ann", Priority.prompt, lambda: order.append("asked"))
    go.set()
    assert first.result(PATIENCE)
    asked.result(PATIENCE)
    assert done.wait(PATIENCE) and order == ["asked", "ahead"]


def test_only_the_newest_work_ahead_of_a_person_runs(worker: Worker) -> None:
    order, go, done = list[str](), Event(), Event()
    worker.call("bob", Priority.encode, lambda: go.wait(PATIENCE))
    worker.add_ahead("ann", once(lambda: order.append("old")))
    worker.add_ahead("ann", once(lambda: (order.append("new"), done.set())))
    go.set()
    assert done.wait(PATIENCE) and order == ["new"]


def test_work_ahead_that_fails_leaves_the_thread_alive(worker: Worker) -> None:
    def fail() -> None:
        raise RuntimeError("no matter")

    worker.add_ahead("ann", once(fail))
    done = Event()
    worker.add_ahead("bob", once(done.set))
    assert done.wait(PATIENCE)
    assert worker.call("ann", Priority.prompt, lambda: 7).result(PATIENCE) == 7


@pytest.mark.parametrize(
    ("person", "order"),
    [("bob", ["first", "asked", "second", "third"]), ("ann", ["first", "asked", "closed"])],
)
def test_who_asks_goes_first_between_two_slices_of_work_ahead(
    worker: Worker, person: str, order: list[str]
) -> None:
    """Of the person who asks, the rest is dropped, and no sooner than that was answered."""
    done = list[str]()
    begun, go, ended = Event(), Event(), Event()

    def slices() -> Iterator[None]:
        try:
            done.append("first")
            begun.set()
            go.wait(PATIENCE)
            for name in ("second", "third"):
                yield
                done.append(name)
        except GeneratorExit:
            done.append("closed")
            raise
        finally:
            ended.set()

    worker.add_ahead("ann", slices())
    assert begun.wait(PATIENCE)
    asked = worker.call(person, Priority.prompt, lambda: done.append("asked"))
    go.set()
    asked.result(PATIENCE)
    assert ended.wait(PATIENCE) and done == order
