"""A cache of the most recently used values, limited in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import BoundedSemaphore, Lock, RLock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteCache(Generic[Key, Value]):
    """A mapping that removes the least recently used values when it exceeds its bytes. Thread-safe.

    >>> cache = ByteCache(10, size=len)
    >>> for key, value in [("a", "12345"), ("b", "1234"), ("c", "123")]:
    ...     cache.put(key, value)
    >>> cache.get("a"), cache.get("b"), cache.nbytes
    (None, '1234', 7)

    Args:
        max_bytes: The maximum total size of the values.
        size: The bytes of a value.
        min_items: Always keep this many values, however large they are.
    """

    def __init__(self, max_bytes: int, size: Callable[[Value], int], *, min_items: int = 0) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._size = size
        self._min_items = min_items
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used one; None if it is not in the cache."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Key, value: Value) -> None:
        """Add a value, or replace that of this key, and remove old values if the cache is full."""
        with self._lock:
            self.pop(key)
            self._values[key] = value
            self.nbytes += self._size(value)
            while self.nbytes > self.max_bytes and len(self._values) > self._min_items:
                self.pop(next(iter(self._values)))

    def pop(self, key: Key) -> Value | None:
        """Remove a value and return it; None if it is not in the cache."""
        with self._lock:
            value = self._values.pop(key, None)
            if value is not None:
                self.nbytes -= self._size(value)
            return value

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()
            self.nbytes = 0


class Busy(Exception):
    """Too many values are already being made to start another one in time."""


class OnceCache(Generic[Key, Value]):
    """A `ByteCache` that makes its values: each only once, even if several threads request it, and only a few
    at a time.

    >>> cache = OnceCache(100, size=len, makers=1)
    >>> cache.get("a", lambda: "made", seconds=1.0), cache.get("a", lambda: "again", seconds=1.0)
    ('made', 'made')

    Args:
        max_bytes: The maximum total size of the values.
        size: The bytes of a value.
        makers: The number of values that may be made at the same time.
    """

    STRIPES = 64  # number of locks; each key has one of them

    def __init__(self, max_bytes: int, size: Callable[[Value], int], *, makers: int) -> None:
        self._values: ByteCache[Key, Value] = ByteCache(max_bytes, size)
        self._makers = BoundedSemaphore(makers)
        self._locks = [Lock() for _ in range(self.STRIPES)]

    def get(self, key: Key, make: Callable[[], Value], *, seconds: float) -> Value:
        """The value of a key; it is made if it is not in the cache.

        Args:
            key: The value's key.
            make: Makes the value. Its exceptions are passed on, and nothing is cached.
            seconds: How long to wait for other threads.

        Raises:
            Busy: Other threads did not finish in time.
        """
        value = self._values.get(key)
        if value is not None:
            return value
        lock = self._locks[hash(key) % self.STRIPES]
        if not lock.acquire(timeout=seconds):
            raise Busy
        try:
            value = self._values.get(key)
            if value is not None:
                return value
            if not self._makers.acquire(timeout=seconds):
                raise Busy
            try:
                value = make()
            finally:
                self._makers.release()
            self._values.put(key, value)
            return value
        finally:
            lock.release()
