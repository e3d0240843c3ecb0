"""Caches of the most recently used values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import BoundedSemaphore, Lock, RLock
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def _one(value: object) -> int:
    return 1


class LruCache(Generic[Key, Value]):
    """A mapping that evicts the least recently used values when it is full. Thread-safe.

    >>> cache = LruCache(10, size=len)
    >>> for key, value in [("a", "12345"), ("b", "1234"), ("c", "123")]:
    ...     cache[key] = value
    >>> cache.get("a"), cache["b"], cache.held
    (None, '1234', 7)

    Args:
        max_size: The maximum total size of the values.
        size: The size of a value, such as its bytes. By default values are counted.
        min_items: Always keep this many values, however large they are.
        on_evict: Called with the key and the value that is evicted.

    Attributes:
        held: The total size of the values.
    """

    def __init__(
        self,
        max_size: int,
        size: Callable[[Value], int] = _one,
        *,
        min_items: int = 0,
        on_evict: Callable[[Key, Value], object] | None = None,
    ) -> None:
        self.max_size = max_size
        self.held = 0
        self._size = size
        self._min_items = min_items
        self._on_evict = on_evict
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": RLock()}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __getitem__(self, key: Key) -> Value:
        with self._lock:
            self._values.move_to_end(key)
            return self._values[key]

    def __setitem__(self, key: Key, value: Value) -> None:
        with self._lock:
            self.pop(key)
            self._values[key] = value
            self.held += self._size(value)
            while self.held > self.max_size and len(self._values) > self._min_items:
                key, evicted = self._values.popitem(last=False)
                self.held -= self._size(evicted)
                if self._on_evict is not None:
                    self._on_evict(key, evicted)

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used one; None if it is not in the cache."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def pop(self, key: Key) -> Value | None:
        """Remove a value and return it; None if it is not in the cache."""
        with self._lock:
            value = self._values.pop(key, None)
            if value is not None:
                self.held -= self._size(value)
            return value

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()
            self.held = 0


class Busy(Exception):
    """Too many values are already being made to start another one in time."""


class OnceCache(Generic[Key, Value]):
    """An `LruCache` that makes its values: each only once, even if several threads request it, and only a few
    at a time.

    >>> cache = OnceCache(100, size=len, makers=1)
    >>> cache.get("a", lambda: "made", seconds=1.0), cache.get("a", lambda: "again", seconds=1.0)
    ('made', 'made')

    Args:
        max_size: The maximum total size of the values.
        size: The size of a value.
        makers: The number of values that may be made at the same time.
    """

    STRIPES = 64  # number of locks; each key has one of them

    def __init__(self, max_size: int, size: Callable[[Value], int], *, makers: int) -> None:
        self._values: LruCache[Key, Value] = LruCache(max_size, size)
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
            self._values[key] = value
            return value
        finally:
            lock.release()
