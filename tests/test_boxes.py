"""Boxes are held to masks: a box is the pixels that it covers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from masklet.boxes import (
    Box,
    box_area,
    box_iou,
    clip_box,
    intersect_boxes,
    pairwise_iou,
    tight_box,
    unite_boxes,
)
from masklet.types import tight_boxes

HEIGHT, WIDTH = 9, 12
sides = st.integers(0, HEIGHT)
boxes = st.tuples(sides, sides, sides, sides).map(
    lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
)


def mask_of(box: Box) -> np.ndarray:
    x0, y0, x1, y1 = map(int, box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


@given(boxes, boxes)
def test_area_intersection_and_iou_count_pixels(one: Box, other: Box) -> None:
    first, second = mask_of(one), mask_of(other)
    assert box_area(one) == first.sum()
    assert box_area(intersect_boxes(one, other)) == (first & second).sum()
    union = (first | second).sum()
    assert box_iou(one, other) == pytest.approx((first & second).sum() / union if union else 0.0)
    assert box_iou(one, other) == box_iou(other, one)


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_pairwise_iou_is_the_iou_of_each_pair(some: list[Box], others: list[Box]) -> None:
    first, second = (np.array(each, dtype=float).reshape(-1, 4) for each in (some, others))
    expected = np.array([[box_iou(one, other) for other in others] for one in some])
    np.testing.assert_allclose(pairwise_iou(first, second), expected.reshape(len(some), len(others)))


@given(boxes, boxes)
def test_the_united_box_is_tight_around_both(one: Box, other: Box) -> None:
    if box_area(one) and box_area(other):
        assert unite_boxes(one, other) == tight_box(mask_of(one) | mask_of(other))


@given(st.tuples(*[st.integers(-20, 20)] * 4))
def test_a_clipped_box_covers_the_same_pixels_of_the_frame(box: Box) -> None:
    clipped = clip_box(box, (HEIGHT, WIDTH))
    expected = mask_of(box)
    if clipped is None:
        assert not expected.any()
    else:
        x0, y0, x1, y1 = clipped
        assert 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT
        np.testing.assert_array_equal(mask_of(clipped), expected)


@given(st.lists(boxes, min_size=1, max_size=4))
def test_tight_boxes_are_around_the_outermost_pixels(some: list[Box]) -> None:
    masks = np.stack([mask_of(box) for box in some])
    for mask, row in zip(masks, tight_boxes(torch.from_numpy(masks)).tolist(), strict=True):
        ys, xs = np.nonzero(mask)
        expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
        assert tight_box(mask) == expected
        assert tuple(row) == (expected or (0, 0, 0, 0))
