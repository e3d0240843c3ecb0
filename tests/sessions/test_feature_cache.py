"""The feature cache gives back what it was given, within its budget."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from masklet.config import toy
from masklet.errors import MediaError
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.types import FrameFeatures

MODEL = Sam2(toy())


def features(frame: int) -> FrameFeatures:
    generator = torch.Generator().manual_seed(frame)
    shapes = ((1, 8, 2, 2), (1, 4, 4, 4), (1, 2, 8, 8))
    return FrameFeatures(*(torch.randn(shape, generator=generator) for shape in shapes))


SIZE = features(0).nbytes


def kept(cache: FeatureCache, frames: range = range(10)) -> set[int]:
    return {frame for frame in frames if cache.get(frame, MODEL) is not None}


def assert_same(cache: FeatureCache, frame: int, tolerance: float = 0.0) -> None:
    got = cache.get(frame, MODEL)
    assert got is not None
    for one, other in zip(got, features(frame), strict=True):
        assert one.dtype is torch.float32
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_the_budget_holds_and_the_least_used_goes() -> None:
    cache = FeatureCache(3 * SIZE)
    for frame in range(3):
        cache.put(frame, features(frame), MODEL)
    assert_same(cache, 0)
    cache.put(3, features(3), MODEL)
    assert kept(cache) == {0, 2, 3}


def test_a_frame_put_twice_counts_once() -> None:
    cache = FeatureCache(3 * SIZE)
    for frame in (0, 0, 1, 0):
        cache.put(frame, features(frame), MODEL)
    assert kept(cache) == {0, 1} and cache._kept.held == 2 * SIZE


def test_a_budget_too_small_for_one_keeps_none() -> None:
    cache = FeatureCache(SIZE - 1)
    cache.put(0, features(0), MODEL)
    assert kept(cache) == set()


def test_what_is_spilled_comes_back_the_same(tmp_path: Path) -> None:
    cache = FeatureCache(2 * SIZE, spill=tmp_path / "spill")
    for frame in range(10):
        cache.put(frame, features(frame), MODEL)
    assert cache._kept.held == 2 * SIZE
    for frame in range(10):
        assert_same(cache, frame)


def test_the_disk_has_a_budget_too(tmp_path: Path) -> None:
    cache = FeatureCache(2 * SIZE, spill=tmp_path, disk=3 * SIZE)
    for frame in range(10):
        cache.put(frame, features(frame), MODEL)
    assert kept(cache) == {5, 6, 7, 8, 9}
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    assert_same(cache, 5)


def test_caches_share_a_folder_but_nothing_in_it(tmp_path: Path) -> None:
    """A second video must not get the first one's features."""
    first, second = (FeatureCache(0, spill=tmp_path) for _ in range(2))
    first.put(0, features(0), MODEL)
    assert kept(second) == set()
    second.put(0, features(1), MODEL)
    assert_same(first, 0)


def test_what_was_spilled_goes_with_the_cache(tmp_path: Path) -> None:
    cache = FeatureCache(0, spill=tmp_path)
    cache.put(0, features(0), MODEL)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    gc.disable()  # nothing refers to the cache in a cycle, so its memory is free at once
    try:
        del cache
        assert list(tmp_path.iterdir()) == []
    finally:
        gc.enable()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot be written"):
        FeatureCache(spill=tmp_path / "file")
