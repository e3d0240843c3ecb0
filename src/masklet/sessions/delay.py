"""Delayed answers: frames are held back while later frames may still revise their masks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class DelayQueue(Generic[Item]):
    """Frames in order. A frame leaves when it is no longer held back, and all before it have left.

    Policies with a latency revise earlier answers. `VideoSession` holds a frame back until it is decided;
    `Tracker` holds each back for a constant number of frames, and iterates over the queue to revise them.

    Args:
        is_held_back: Says whether a frame must wait. It is asked about the oldest frame only.

    Example:
        >>> newest = 0
        >>> queue = DelayQueue(lambda frame: newest - frame < 2)
        >>> for newest in range(4):
        ...     print(list(queue.push(newest)))
        []
        []
        [0]
        [1]
        >>> list(queue.flush())
        [2, 3]
    """

    def __init__(self, is_held_back: Callable[[Item], bool]) -> None:
        self._is_held_back = is_held_back
        self._items: deque[Item] = deque()

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def push(self, newest: Item) -> Iterator[Item]:
        """Add a frame, and take those that are no longer held back."""
        self._items.append(newest)
        while self._items and not self._is_held_back(self._items[0]):
            yield self._items.popleft()

    def flush(self) -> Iterator[Item]:
        """Take all frames that are left."""
        while self._items:
            yield self._items.popleft()
