"""Pieces of a mask, compared with OpenCV's; and masks without specks and pinholes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from masklet.components import PINHOLE, SPECK, label_components, remove_specks

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@pytest.mark.parametrize("diagonal", [True, False])
@given(mask=MASKS)
def test_pieces_are_those_of_opencv(diagonal: bool, mask: np.ndarray) -> None:
    pieces = label_components(mask, diagonal=diagonal)
    count, theirs = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8 if diagonal else 4)
    pairs = set(zip(pieces.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    assert len(pairs) == len(set(pieces.ravel().tolist())) == len(set(theirs.ravel().tolist()))
    assert ((pieces == 0) == ~mask).all() and pieces.max() == count - 1


@given(mask=MASKS, data=st.data())
def test_what_is_asked_for_stays(mask: np.ndarray, data: st.DataObject) -> None:
    cells = st.tuples(*(st.integers(0, side - 1) for side in mask.shape))
    positive, negative = data.draw(st.lists(cells, max_size=3)), data.draw(st.lists(cells, max_size=3))
    tidied = remove_specks(mask, positive, negative)
    pieces = label_components(mask, diagonal=True)
    for cell in positive:
        assert not mask[cell] or tidied[pieces == pieces[cell]].all()
    largest = np.bincount(pieces[mask]).argmax() if mask.any() else 0
    assert tidied[mask & (pieces == largest)].all()
    assert (tidied == remove_specks(tidied, positive, negative)).all()


def test_specks_go_and_pinholes_are_filled() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    object_alone = mask.copy()
    mask[10:12, 10:12] = False  # a pinhole, 1 % of it
    mask[30:34, 30:34] = True  # a speck, 4 % of it
    assert PINHOLE > 4 / 400 and SPECK > 16 / 396
    assert (remove_specks(mask) == object_alone).all()
    assert (remove_specks(mask, positive=[(31, 31)], negative=[(10, 11)]) == mask).all()


def test_what_is_large_beside_the_rest_stays_as_does_what_is_open() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:15] = True
    mask[5:25, 20:25] = True  # half as large
    mask[5, 10] = False  # no hole: it is open above
    mask[10:15, 8:12] = False  # a tenth: a hole
    assert (remove_specks(mask) == mask).all()
    assert not remove_specks(np.zeros((3, 4), bool)).any()
