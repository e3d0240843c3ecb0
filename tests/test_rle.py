"""Run lengths: what was encoded comes back, and nothing foreign reaches pycocotools' C code unchecked."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from masklet import rle
from masklet.boxes import tight_box
from masklet.errors import MediaError

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))
HUGE = 10**9


def uncompressed(mask: np.ndarray) -> list[int]:
    """The runs of a mask, written out in numpy."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


@given(MASKS)
def test_what_was_encoded_comes_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)


@given(MASKS)
def test_uncompressed_runs_are_read_too(mask: np.ndarray) -> None:
    size, runs = list(mask.shape), uncompressed(mask)
    np.testing.assert_array_equal(rle.decode({"size": size, "counts": runs}), mask)
    as_bytes = rle.encode(mask)["counts"].encode()
    np.testing.assert_array_equal(rle.decode({"size": size, "counts": as_bytes}), mask)


def test_a_long_mask_with_long_runs_comes_back() -> None:
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[5:2900, 100:3999] = True
    mask[::7, ::13] = False
    np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)


@given(MASKS, st.data())
def test_changed_text_is_a_mask_or_a_sentence(mask: np.ndarray, data: st.DataObject) -> None:
    counts = list(rle.encode(mask)["counts"])
    for _ in range(data.draw(st.integers(1, 3))):
        counts[data.draw(st.integers(0, len(counts) - 1))] = data.draw(st.characters(max_codepoint=300))
    try:
        decoded = rle.decode({"size": list(mask.shape), "counts": "".join(counts)})
    except MediaError:
        return
    assert decoded.shape == mask.shape


@pytest.mark.parametrize(
    "code",
    [
        {"size": [HUGE, HUGE], "counts": "0"},
        {"size": [HUGE, HUGE], "counts": [HUGE * HUGE]},
        {"size": [4, 4], "counts": [17]},
        {"size": [4, 4], "counts": [-1, 17]},
        {"size": [4, 4], "counts": [2**31, -(2**31) + 16]},
        {"size": [4, 4], "counts": [0.5, 15.5]},
        {"size": [4, 4], "counts": [float("nan")]},
        {"size": [4, 4], "counts": [[16]]},
        {"size": [4, 4], "counts": "b'abc'"},
        {"size": [4, 4], "counts": "o" * 40},
        {"size": [4, 4], "counts": ""},
        {"size": [4, 4], "counts": None},
        {"size": [4], "counts": [4]},
        {"size": [4, None], "counts": [4]},
        {"size": "44", "counts": [16]},
        {"size": [-4, -4], "counts": [16]},
        {"counts": [16]},
        [16],
        None,
    ],
    ids=lambda code: repr(code)[:40],
)
def test_a_malformed_mask_is_a_sentence(code: Any) -> None:
    with pytest.raises(MediaError, match="mask"):
        rle.decode(code)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_mask_without_pixels_is_empty(size: tuple[int, int]) -> None:
    assert rle.decode({"size": list(size), "counts": [0]}).shape == size


@pytest.mark.parametrize("counts, part", [([-1, 17], "Got 16, and negative ones"), ([0, 17], r"Got 17\.")])
def test_the_message_tells_negative_runs_from_a_wrong_sum(counts: list[int], part: str) -> None:
    with pytest.raises(MediaError, match=part):
        rle.decode({"size": [4, 4], "counts": counts})


def test_outlines_are_filled_together() -> None:
    mask = rle.from_polygons([[1, 1, 5, 1, 5, 5, 1, 5], [6.0, 6.0, 9.0, 6.0, 9.0, 9.0, 6.0, 9.0]], (10, 10))
    assert mask[1:5, 1:5].all() and mask[6:9, 6:9].all() and not mask[5, 5]


def test_outlines_of_points_and_lines_cover_nothing() -> None:
    assert not rle.from_polygons([[3, 3], [1, 1, 8, 8]], (10, 10)).any()


@pytest.mark.parametrize(
    "polygon",
    [[2**31, 0, 5, 5, 0, 5], [0, 0, float("inf"), 5, 5, 5], [0, 0, 1], "abc", [None] * 6, [[[0, 0]]]],
    ids=repr,
)
def test_an_outline_that_cannot_be_filled_is_a_sentence(polygon: Any) -> None:
    with pytest.raises(MediaError, match="outline"):
        rle.from_polygons([polygon], (10, 10))


def test_an_outline_may_leave_the_image() -> None:
    assert rle.from_polygons([[-20, -20, 30, -20, 30, 30, -20, 30]], (10, 10)).all()


def test_an_outline_may_be_pairs() -> None:
    flat = rle.from_polygons([[1, 1, 5, 1, 5, 5, 1, 5]], (10, 10))
    assert flat.any() and (rle.from_polygons([[[1, 1], [5, 1], [5, 5], [1, 5]]], (10, 10)) == flat).all()


def test_an_outline_reaches_four_sides_beyond_the_image_and_no_further() -> None:
    side = 300
    reach = 5 * side
    rle.from_polygons([[0, 0, reach, 0, reach, reach]], (side, side))
    with pytest.raises(MediaError, match="near its image"):
        rle.from_polygons([[0, 0, reach + 1, 0, reach, reach]], (side, side))


@given(st.lists(MASKS, min_size=1, max_size=4))
def test_boxes_and_areas_are_those_of_the_masks(masks: list[np.ndarray]) -> None:
    codes = [rle.encode(mask) for mask in masks]
    tight = [tight_box(mask) or (0, 0, 0, 0) for mask in masks]
    np.testing.assert_array_equal(rle.boxes(codes), np.array(tight, dtype=float))
    assert [rle.area(code) for code in codes] == [mask.sum() for mask in masks]


@given(
    MASKS, st.tuples(st.integers(0, 5), st.integers(0, 5)), st.tuples(st.integers(0, 5), st.integers(0, 5))
)
def test_a_window_is_encoded_as_the_whole_is(
    mask: np.ndarray, corner: tuple[int, int], beyond: tuple[int, int]
) -> None:
    (x, y), (right, below) = corner, beyond
    whole = np.pad(mask, ((y, below), (x, right)))
    size = whole.shape[0], whole.shape[1]
    assert rle.encode_at(mask, corner, size) == rle.encode(whole)


@given(st.lists(arrays(bool, (7, 9)), max_size=4))
def test_painted_masks_lie_on_top_of_those_before(masks: list[np.ndarray]) -> None:
    labels = np.zeros((7, 9), dtype=np.int32)
    for value, mask in enumerate(masks, start=3):
        labels[mask] = value
    painted = rle.paint([rle.encode(mask) for mask in masks], range(3, 3 + len(masks)), (7, 9))
    np.testing.assert_array_equal(painted, labels)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64])
def test_whole_numbers_are_masks_above_zero(dtype: type[np.generic], unchecked: None) -> None:
    labels = np.array([[0, 1], [2, 100]]).astype(dtype) * (256 if dtype is np.uint16 else 1)
    assert rle.encode(labels) == rle.encode(labels > 0)
    assert rle.encode(labels.tolist()) == rle.encode(torch.from_numpy(labels > 0)) == rle.encode(labels > 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "mask", [np.full((2, 2), 0.9), np.full((2, 2), np.nan), np.ones((1, 2, 2), bool), None]
)
def test_what_is_no_mask_is_not_encoded(mask: np.ndarray, unchecked: None) -> None:
    """Probabilities below 1 became an empty mask."""
    with pytest.raises(MediaError, match=r"must be bool \(H, W\)"):
        rle.encode(mask)
