"""A lock that is given to the waiter with the highest priority."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import Condition


class Urgency(IntEnum):
    """Priorities for the decoder: a click does not wait for the thumbnails of a timeline."""

    model = 0
    image = 1
    thumbnail = 2


class PriorityLock:
    """Given to the waiter with the highest priority, or the earliest frame of equal ones.

    A file is decoded fastest in the order of its frames.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._queue: list[tuple[Urgency, int, int]] = []
        self._tickets = 0
        self._is_taken = False

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return len(self._queue)

    @contextmanager
    def hold(self, urgency: Urgency = Urgency.model, frame: int = 0) -> Iterator[None]:
        with self._condition:
            self._tickets += 1
            ticket = (urgency, frame, self._tickets)
            heapq.heappush(self._queue, ticket)
            self._condition.wait_for(lambda: not self._is_taken and self._queue[0] == ticket)
            heapq.heappop(self._queue)
            self._is_taken = True
        try:
            yield
        finally:
            with self._condition:
                self._is_taken = False
                self._condition.notify_all()
