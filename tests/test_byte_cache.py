"""The cache holds what was used last, and never more bytes than it may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masklet.byte_cache import ByteCache

actions = st.lists(st.tuples(st.sampled_from(["get", "put", "pop"]), st.integers(0, 5), st.integers(1, 9)))


@given(actions, st.integers(0, 3))
def test_it_equals_a_list_in_order_of_use(actions: list[tuple[str, int, int]], min_items: int) -> None:
    evicted: list[tuple[int, str]] = []
    cache: ByteCache[int, str] = ByteCache(
        12, size=len, min_items=min_items, on_evict=lambda key, value: evicted.append((key, value))
    )
    model: list[tuple[int, str]] = []
    gone: list[tuple[int, str]] = []
    for action, key, length in actions:
        entry = next((pair for pair in model if pair[0] == key), None)
        if action == "get":
            assert cache.get(key) == (entry and entry[1])
        if action == "pop":
            assert cache.pop(key) == (entry and entry[1])
        if entry is not None:
            model.remove(entry)
        if action == "get" and entry is not None:
            model.append(entry)
        if action == "put":
            cache.put(key, "x" * length)
            model.append((key, "x" * length))
            while sum(len(value) for _, value in model) > 12 and len(model) > min_items:
                gone.append(model.pop(0))
        assert cache.nbytes == sum(len(value) for _, value in model)
        assert len(cache) == len(model) and all(key in cache for key, _ in model)
    assert evicted == gone
    cache.clear()
    assert len(cache) == cache.nbytes == 0
