"""The thread that owns the model, and its queue: prompts first, then encoding, then propagation.

A job is a generator that runs one slice at a time, so a prompt waits only for one frame of a propagation.
Within a priority, people take turns, regardless of how many jobs each has.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import IntEnum
from threading import Condition, Thread
from typing import Generic, TypeVar

from masklet.studio.errors import ApiError, as_api_error
from masklet.studio.settings import Limits

Value = TypeVar("Value")
log = logging.getLogger(__name__)

PROMPTS_IN_A_ROW = 8  # after which the lowest priority gets a turn
REST = 0.06  # seconds without a request after which work ahead starts


class Priority(IntEnum):
    """Lower values run first."""

    prompt = 0
    encode = 1
    propagate = 2


class Job:
    """Work in slices. It ends with its iterator, or when it is stopped between two slices."""

    def __init__(self, slices: Iterator[object]) -> None:
        self.slices = slices
        self.done: Future[None] = Future()
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> bool:
        """One slice; whether there may be more."""
        try:
            if not self.stopped:
                next(self.slices)
                return True
            close = getattr(self.slices, "close", None)
            if close is not None:
                close()
        except StopIteration:
            pass
        except BaseException as error:
            if as_api_error(error) is None:
                log.exception("the model's thread failed at a job")
            self.done.set_exception(error)
            return False
        self.done.set_result(None)
        return False


class FairQueue(Generic[Value]):
    """A queue in which people take turns."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Value]] = OrderedDict()

    def add(self, person: str, item: Value) -> None:
        self._waiting.setdefault(person, deque()).append(item)

    def take(self) -> tuple[str, Value]:
        person, items = next(iter(self._waiting.items()))
        item = items.popleft()
        del self._waiting[person]
        if items:
            self._waiting[person] = items  # after all others
        return person, item

    def count(self, person: str | None = None) -> int:
        if person is not None:
            return len(self._waiting.get(person, ()))
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)


class PendingPrompts:
    """Prompts that are not answered yet, by video and person.

    A person who paints and then tracks immediately expects the painted object to be tracked. Both requests
    may run at the same time, so tracking waits until the prompts of the same person are answered.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._changed = Condition()

    @contextmanager
    def answering(self, video: str, person: str) -> Iterator[None]:
        """A prompt is answered within."""
        with self._changed:
            self._counts[video, person] += 1
        try:
            yield
        finally:
            with self._changed:
                self._counts[video, person] -= 1
                if not self._counts[video, person]:
                    del self._counts[video, person]
                self._changed.notify_all()

    def wait(self, video: str, person: str, seconds: float) -> None:
        """Wait until no prompt of a person is pending, or for so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: (video, person) not in self._counts, seconds)


class Worker:
    """One thread that runs jobs by priority."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: dict[Priority, FairQueue[Job]] = {priority: FairQueue() for priority in Priority}
        self._ahead: OrderedDict[str, Iterator[object]] = OrderedDict()
        self._ahead_begun: dict[str, Job] = {}  # by person
        self._changed = Condition()
        self._closed = False
        self._in_a_row = 0
        self._thread = Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def call(self, person: str, priority: Priority, function: Callable[[], Value]) -> Future[Value]:
        """Run a function on the model's thread, in one slice.

        Args:
            person: The id of who asks; people take turns.
            priority: Jobs of a higher priority go first.
            function: Called without arguments.

        Returns:
            A future of what the function returns or raises.

        Raises:
            ApiError: Too much is waiting, from this person or from all.
        """
        result: Future[Value] = Future()

        def once() -> Iterator[None]:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
                if as_api_error(error) is None:
                    log.exception("the model's thread failed")
            yield from ()

        self.add(person, priority, Job(once()))
        return result

    def add(self, person: str, priority: Priority, job: Job) -> Job:
        """Queue a job, which runs slice by slice.

        Raises:
            ApiError: Too much is waiting, from this person or from all.
        """
        limits = self._limits
        with self._changed:
            self._drop_ahead(person)
            queue = self._queues[priority]
            if queue.count() >= limits.queue or queue.count(person) >= limits.person_queue:
                raise ApiError(
                    429, "queue", "too many requests are waiting for the model. Try again shortly.", retry=1
                )
            queue.add(person, job)
            self._changed.notify()
        return job

    def add_ahead(self, person: str, slices: Iterator[object]) -> None:
        """Compute a possible next request in idle time.

        Prompts go first between two slices. The rest is dropped where the person asks for something, after
        that was answered.
        """
        with self._changed:
            self._drop_ahead(person)
            if len(self._ahead) < self._limits.queue:
                self._ahead[person] = slices
            self._changed.notify()

    def _drop_ahead(self, person: str) -> None:
        self._ahead.pop(person, None)
        begun = self._ahead_begun.pop(person, None)
        if begun is not None:
            begun.stop()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            priority, person, job = taken
            is_unfinished = job.run()
            with self._changed:
                if is_unfinished:
                    self._queues[priority].add(person, job)
                elif self._ahead_begun.get(person) is job:
                    del self._ahead_begun[person]

    def _take(self) -> tuple[Priority, str, Job] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_wanted() or bool(self._ahead))
            while not self._changed.wait_for(self._is_wanted, REST if self._ahead else None):
                if self._ahead:
                    person, slices = self._ahead.popitem(last=False)
                    self._ahead_begun[person] = Job(slices)
                    return Priority.encode, person, self._ahead_begun[person]
            if self._closed:
                return None
            ready = [priority for priority in Priority if self._queues[priority]]
            priority = ready[-1] if self._in_a_row >= PROMPTS_IN_A_ROW else ready[0]
            self._in_a_row = self._in_a_row + 1 if priority is Priority.prompt else 0
            person, job = self._queues[priority].take()
            return priority, person, job

    def _is_wanted(self) -> bool:
        return self._closed or any(self._queues.values())
