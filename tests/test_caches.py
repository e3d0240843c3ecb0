"""The cache holds what was used last, and never more than it may."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Semaphore

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet.caches import Busy, LruCache, OnceCache

actions = st.lists(st.tuples(st.sampled_from(["get", "put", "pop"]), st.integers(0, 5), st.integers(1, 9)))


@given(actions, st.integers(0, 3))
def test_it_equals_a_list_in_order_of_use(actions: list[tuple[str, int, int]], min_items: int) -> None:
    evicted: list[tuple[int, str]] = []
    cache: LruCache[int, str] = LruCache(
        12, size=len, min_items=min_items, on_evict=lambda key, value: evicted.append((key, value))
    )
    model: list[tuple[int, str]] = []
    expected: list[tuple[int, str]] = []
    for action, key, length in actions:
        entry = next((pair for pair in model if pair[0] == key), None)
        if action == "get":
            assert cache.get(key) == (entry and entry[1])
            if entry is not None:
                assert cache[key] == entry[1]
        if action == "pop":
            assert cache.pop(key) == (entry and entry[1])
        if entry is not None:
            model.remove(entry)
        if action == "get" and entry is not None:
            model.append(entry)
        if action == "put":
            cache[key] = "x" * length
            model.append((key, "x" * length))
            while sum(len(value) for _, value in model) > 12 and len(model) > min_items:
                expected.append(model.pop(0))
        assert evicted == expected
        assert cache.held == sum(len(value) for _, value in model)
        assert len(cache) == len(model) and all(key in cache for key, _ in model)
    cache.clear()
    assert len(cache) == cache.held == 0


def test_a_value_is_made_once_however_many_ask() -> None:
    cache: OnceCache[str, str] = OnceCache(100, size=len, makers=2)
    made: list[str] = []
    begun = Barrier(4)

    def make() -> str:
        made.append("a")
        return "value"

    def ask() -> str:
        begun.wait()
        return cache.get("a", make, seconds=30)

    with ThreadPoolExecutor(4) as pool:
        assert [future.result() for future in [pool.submit(ask) for _ in range(4)]] == ["value"] * 4
    assert made == ["a"]


def test_only_a_few_values_are_made_at_a_time() -> None:
    cache: OnceCache[int, str] = OnceCache(100, size=len, makers=2)
    inside, release, entered = [], Event(), Semaphore(0)

    def make() -> str:
        inside.append(1)
        entered.release()
        release.wait()
        return "value"

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(cache.get, key, make, seconds=30) for key in range(2)]
        entered.acquire()
        entered.acquire()
        with pytest.raises(Busy):
            cache.get(2, make, seconds=0.01)
        release.set()
        assert [future.result() for future in busy] == ["value"] * 2
    assert len(inside) == 2 and cache.get(2, lambda: "later", seconds=1) == "later"


def test_what_could_not_be_made_is_tried_again() -> None:
    cache: OnceCache[str, str] = OnceCache(100, size=len, makers=1)
    with pytest.raises(ValueError, match="no"):
        cache.get("a", lambda: (_ for _ in ()).throw(ValueError("no")), seconds=1)
    assert cache.get("a", lambda: "yes", seconds=1) == "yes"
