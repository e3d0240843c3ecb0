"""Reading ahead: a thread makes an iterator's next values while the caller works on those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")


def read_ahead(values: Iterator[Value], count: int) -> Iterator[Value]:
    """The same values in the same order, up to `count` of them made before they are asked for.

    An error is raised where its value would have come. Where the caller stops early, what is being made is
    finished and dropped, and a generator is closed.

    Example:
        >>> list(read_ahead(iter("abc"), 2))
        ['a', 'b', 'c']
    """
    end = object()
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
    futures = deque(thread.submit(next, values, end) for _ in range(count))
    try:
        while (value := futures.popleft().result()) is not end:
            futures.append(thread.submit(next, values, end))
            yield value  # type: ignore[misc]  # it is not the end
    finally:
        thread.shutdown(cancel_futures=True)
        if isinstance(values, Generator):
            values.close()
