"""J and F against their definitions written out slowly, and against cases counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial import cKDTree

from masklet.errors import MediaError
from masklet.evaluate.metrics import (
    Agreement,
    ObjectScore,
    boundary,
    boundary_f,
    jaccard,
    measure_agreement,
    scored_frames,
)


def slow_jaccard(truth, mask):
    inside, answer = set(map(tuple, np.argwhere(truth))), set(map(tuple, np.argwhere(mask)))
    return len(inside & answer) / len(inside | answer) if inside | answer else 1.0


def slow_edge(mask):
    """Pixel by pixel; a neighbour outside the image is not compared with."""
    height, width = mask.shape
    edge = []
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(v < height and u < width and mask[v, u] != mask[y, x] for v, u in neighbours):
                edge.append((y, x))
    return edge


def slow_f(truth, mask):
    """Matches by nearest neighbours among boundary points: no raster, no dilation, no distance map."""
    radius = int(np.ceil(0.008 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
    expected, actual = slow_edge(truth), slow_edge(mask)
    if not expected or not actual:
        return float(bool(expected) == bool(actual))
    precision = np.mean(cKDTree(expected).query(actual)[0] <= radius + 1e-9)
    recall = np.mean(cKDTree(actual).query(expected)[0] <= radius + 1e-9)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def disc(shape, y, x, radius):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def block(height, width, top, left, bottom, right):
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@given(
    array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(
        lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
    )
)
def test_equals_the_slow_definition_on_noise(pair):
    truth, mask = pair
    assert jaccard(truth, mask) == pytest.approx(slow_jaccard(truth, mask))
    assert boundary_f(truth, mask) == pytest.approx(slow_f(truth, mask))
    assert list(map(tuple, np.argwhere(boundary(mask)))) == slow_edge(mask)


circles = st.tuples(st.integers(-5, 25), st.integers(0, 60), st.integers(0, 20))


@settings(max_examples=30, deadline=None)
@given(circles, circles, st.sampled_from([(20, 60), (20, 480), (8, 1200)]))
def test_equals_the_slow_definition_on_shapes_at_tolerances_of_1_4_and_10_pixels(first, second, shape):
    truth, mask = disc(shape, *first), disc(shape, *second)
    assert boundary_f(truth, mask) == pytest.approx(slow_f(truth, mask))


@given(arrays(bool, (12, 9)), arrays(bool, (12, 9)))
def test_is_symmetric_and_full_marks_are_for_equal_masks(truth, mask):
    assert measure_agreement(truth, mask) == measure_agreement(mask, truth)
    assert measure_agreement(mask, mask) == Agreement(1.0, 1.0)
    assert (jaccard(truth, mask) == 1.0) == bool((truth == mask).all())


def test_a_shifted_square_counted_by_hand():
    truth, mask = block(40, 40, 10, 10, 20, 20), block(40, 40, 10, 14, 20, 24)
    assert jaccard(truth, mask) == 60 / 140
    # The tolerance is ceil(0.008 * 56.6) = 1, and each boundary is a ring of 40 pixels. Of the truth's, both
    # horizontal sides match on columns 12 to 19, and the right side on two more, next to the corners' rows.
    assert boundary_f(truth, mask) == pytest.approx((8 + 8 + 2) / 40)


def test_the_tolerance_is_a_disk_that_includes_its_rim():
    shape = (30, 1195)  # ceil(0.008 * 1195.4) = 10
    truth, mask = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    truth[5:7, 100:102], mask[5:7, 110:112] = True, True
    assert boundary_f(truth, mask) == 1.0
    assert boundary_f(truth, np.roll(mask, 1, axis=1)) < 1.0
    assert boundary_f(truth, np.roll(mask, 1, axis=0)) < 1.0  # 10 to the right and 1 below is beyond the disk


def test_empty_and_full_masks():
    empty, full, square = (
        np.zeros((20, 20), dtype=bool),
        np.ones((20, 20), dtype=bool),
        block(20, 20, 5, 5, 9, 9),
    )
    assert measure_agreement(empty, empty) == Agreement(1.0, 1.0)
    assert measure_agreement(square, empty) == measure_agreement(empty, square) == Agreement(0.0, 0.0)
    assert measure_agreement(full, empty) == Agreement(0.0, 1.0)  # neither has a boundary


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(MediaError, match=r"\(H, W\) = \(4, 6\).*Got \(6, 4\)"):
        jaccard(np.zeros((4, 6), dtype=bool), np.zeros((6, 4), dtype=bool))


def test_which_frames_count():
    assert scored_frames([8, 0, 4, 12], "inner") == [4, 8]
    assert scored_frames([8, 0, 4, 12], "all") == [0, 4, 8, 12]
    assert scored_frames([0], "inner") == []


def test_a_tally_starts_where_the_truth_or_the_answer_shows_the_object():
    empty, square = np.zeros((20, 20), dtype=bool), block(20, 20, 5, 5, 9, 9)
    tally = ObjectScore()
    tally.add(1, empty, empty)
    assert tally.mean() is None
    tally.add(2, empty, square)
    tally.add(3, square, square)
    tally.add(4, empty, empty)
    assert list(tally.frames) == [2, 3, 4]
    assert tally.mean() == Agreement(2 / 3, 2 / 3)


def test_an_object_that_the_truth_never_shows_is_not_scored():
    empty, square = np.zeros((20, 20), dtype=bool), block(20, 20, 5, 5, 9, 9)
    tally = ObjectScore()
    tally.add(1, empty, square)
    assert tally.mean() is None
