"""The thread that owns the model. People wait in line: prompts first, then encoding, then following.

A job is a generator that is run a slice at a time: so a prompt waits for one frame of somebody's following,
never for all of it. Within a line people take turns, however much each of them asks.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from enum import IntEnum
from threading import Condition, Thread
from typing import Generic, TypeVar

from masklet.errors import MaskletError
from masklet.studio.errors import Refusal
from masklet.studio.settings import Limits

Value = TypeVar("Value")
log = logging.getLogger(__name__)

PATIENCE = 8  # prompts in a row, after which somebody who follows gets a turn


class Line(IntEnum):
    """What goes first."""

    prompt = 0
    look = 1
    follow = 2


class Job:
    """Work to be done in slices. It ends when its iterator does, or when it is stopped between two slices."""

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
            if not isinstance(error, MaskletError):
                log.exception("the model's thread failed at a job")
            self.done.set_exception(error)
            return False
        self.done.set_result(None)
        return False


class Turns(Generic[Value]):
    """A line in which people take turns."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Value]] = OrderedDict()

    def add(self, person: str, each: Value) -> None:
        self._waiting.setdefault(person, deque()).append(each)

    def take(self) -> tuple[str, Value]:
        person, mine = next(iter(self._waiting.items()))
        each = mine.popleft()
        del self._waiting[person]
        if mine:
            self._waiting[person] = mine  # behind all others
        return person, each

    def count(self, person: str | None = None) -> int:
        if person is not None:
            return len(self._waiting.get(person, ()))
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)


class Worker:
    """One thread, three lines."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lines: dict[Line, Turns[Job]] = {line: Turns() for line in Line}
        self._changed = Condition()
        self._closed = False
        self._in_a_row = 0
        self._thread = Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def call(self, person: str, line: Line, function: Callable[[], Value]) -> Future[Value]:
        """Have something done in one go."""
        result: Future[Value] = Future()

        def once() -> Iterator[None]:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
                if not isinstance(error, MaskletError):
                    log.exception("the model's thread failed")
            yield from ()

        self.add(person, line, Job(once()))
        return result

    def add(self, person: str, line: Line, job: Job) -> Job:
        limits = self._limits
        with self._changed:
            turns = self._lines[line]
            if turns.count() >= limits.queue or turns.count(person) >= limits.person_queue:
                raise Refusal(429, "queue", "too much is waiting for the model. Try again shortly.", retry=1)
            turns.add(person, job)
            self._changed.notify()
        return job

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            line, person, job = taken
            if job.run():
                with self._changed:
                    self._lines[line].add(person, job)

    def _next(self) -> tuple[Line, str, Job] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._lines.values()))
            if self._closed:
                return None
            first, *_, last = [line for line in Line if self._lines[line]] * 2
            line = last if self._in_a_row >= PATIENCE else first
            self._in_a_row = self._in_a_row + 1 if line is Line.prompt else 0
            person, job = self._lines[line].take()
            return line, person, job
