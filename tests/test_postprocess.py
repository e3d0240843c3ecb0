"""Tidied masks: what goes, what stays, and that all kinds of arrays agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from masklet import rle
from masklet.auto import RleMasks
from masklet.postprocess import drop_islands, fill_holes, keep_largest, non_overlap, tidy
from masklet.types import Masks


def drawn(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


SPOTTED = drawn(
    "#####..#",
    "#.###..#",
    "####...#",
    "#..##...",
    "#####.#.",
    ".....#..",
)
masks = arrays(bool, st.tuples(st.integers(0, 3), st.integers(1, 7), st.integers(1, 7)))


class TestFillHoles:
    def test_up_to_an_area(self) -> None:
        assert (fill_holes(SPOTTED, 1) != SPOTTED).sum() == 1 and fill_holes(SPOTTED, 1)[1, 1]
        assert (fill_holes(SPOTTED, 2) != SPOTTED).sum() == 3

    def test_what_touches_the_edge_is_no_hole(self) -> None:
        corner = drawn("...#", "#..#", "####")
        assert (fill_holes(corner, 99) == corner).all()

    def test_a_diagonal_wall_is_closed(self) -> None:
        wall = drawn(".....", "..#..", ".#.#.", "..#..", ".....")
        assert fill_holes(wall, 1)[2, 2]


class TestDropIslands:
    def test_up_to_an_area(self) -> None:
        assert not drop_islands(SPOTTED, 3)[:3, 7].any()
        assert drop_islands(SPOTTED, 2)[:3, 7].all()

    def test_diagonal_neighbours_are_one_piece(self) -> None:
        assert drop_islands(SPOTTED, 2)[4, 6] and drop_islands(SPOTTED, 2)[5, 5]

    def test_the_largest_stays(self) -> None:
        specks = drawn("#..", "..#", "..#")
        assert (drop_islands(specks, 99) == drawn("...", "..#", "..#")).all()


def test_keep_largest() -> None:
    kept = keep_largest(SPOTTED)
    assert kept.sum() == SPOTTED.sum() - 3 and not kept[0, 7]


@pytest.mark.parametrize("step", [lambda m: fill_holes(m, 0), lambda m: drop_islands(m, 0)])
def test_no_area_no_change(step) -> None:
    assert step(SPOTTED) is SPOTTED


@pytest.mark.parametrize(
    "step",
    [lambda m: fill_holes(m, 3), lambda m: drop_islands(m, 3), keep_largest],
    ids=["fill", "drop", "keep"],
)
class TestAllSteps:
    @given(batch=masks)
    def test_arrays_and_tensors_agree(self, step, batch: np.ndarray) -> None:
        tensor = step(torch.from_numpy(batch))
        assert tensor.dtype == torch.bool and tensor.shape == batch.shape
        assert (step(batch) == tensor.numpy()).all()
        assert all((step(one) == each).all() for one, each in zip(batch, step(batch), strict=True))

    @given(batch=masks)
    def test_twice_is_once(self, step, batch: np.ndarray) -> None:
        assert (step(step(batch)) == step(batch)).all()

    def test_empty_and_full(self, step) -> None:
        for mask in (np.zeros((4, 5), bool), np.ones((4, 5), bool)):
            assert (step(mask) == mask).all()

    def test_logits_are_not_masks(self, step) -> None:
        with pytest.raises(ValueError, match="pass logits > 0"):
            step(np.ones((4, 5), np.float32))

    @pytest.mark.gpu
    def test_on_a_gpu(self, step) -> None:
        mask = torch.from_numpy(np.random.default_rng(0).random((3, 40, 50)) > 0.4)
        result = step(mask.cuda())
        assert result.is_cuda and (result.cpu() == step(mask)).all()


class TestNonOverlap:
    @given(arrays(np.float32, (3, 4, 5), elements=st.floats(-4, 4, width=32)))
    def test_the_highest_logit_wins(self, logits: np.ndarray) -> None:
        result = non_overlap(logits)
        assert isinstance(result, np.ndarray) and result.dtype == np.float32
        assert ((result > 0).sum(axis=0) <= 1).all()
        assert ((result > 0).any(axis=0) == (logits > 0).any(axis=0)).all()
        best = logits.argmax(axis=0)  # numpy: the first of equals
        assert ((result > 0).argmax(axis=0) == np.where(logits.max(axis=0) > 0, best, 0)).all()
        assert (non_overlap(torch.from_numpy(logits)).numpy() == result).all()

    def test_one_mask_is_alone(self) -> None:
        logits = torch.randn(1, 4, 5)
        assert non_overlap(logits) is logits

    @pytest.mark.gpu
    def test_on_a_gpu(self) -> None:
        logits = torch.randint(-3, 4, (5, 40, 50)).float()  # many equals
        assert (non_overlap(logits.cuda()).cpu() == non_overlap(logits)).all()


class TestTidy:
    @pytest.fixture
    def masks(self) -> Masks:
        arrays = np.stack([SPOTTED, np.ones_like(SPOTTED)])
        logits = torch.where(torch.from_numpy(arrays), 4.0, -4.0)
        logits[1] /= 2
        return Masks(5, (3, 8), logits, SPOTTED.shape, torch.tensor([0.9, 0.8]), torch.tensor([4.0, 3.0]))

    def test_nothing_is_done_unasked(self, masks: Masks) -> None:
        assert (tidy(masks).logits == masks.logits).all()

    def test_islands_are_dropped_before_holes_are_filled(self, masks: Masks) -> None:
        result = tidy(masks, holes=2, islands=3)
        assert (result[3] == fill_holes(drop_islands(SPOTTED, 3), 2)).all()
        assert (tidy(masks, largest=True)[3] == keep_largest(SPOTTED)).all()
        assert (result.frame, result.ids, result.size) == (5, (3, 8), SPOTTED.shape)
        assert result.iou is masks.iou and result.score is masks.score

    def test_exclusive_masks_do_not_overlap(self, masks: Masks) -> None:
        result = tidy(masks, exclusive=True)
        assert not (result[3] & result[8]).any()
        assert (result[3] == SPOTTED).all() and (result[8] == ~SPOTTED).all()

    @pytest.mark.parametrize("size", [(37, 53), (1, 9), (64, 31)])
    def test_of_equals_the_first_has_the_pixel_at_any_size(self, size: tuple[int, int]) -> None:
        low_res = torch.randint(-2, 3, (1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
        low_res = torch.cat([low_res.flip(1), low_res, low_res, low_res.flip(2)])
        masks = Masks(0, (4, 9, 2, 7), low_res, size, torch.ones(4), torch.ones(4))
        result = tidy(masks, exclusive=True)
        claims = np.sum([mask for _, mask in result.items()], axis=0)
        assert (claims == (masks.logits > 0).any(dim=0).numpy()).all()
        assert not result[2].any() and (result.label_map() == masks.label_map()).all()

    def test_a_filled_hole_yields_to_what_is_seen_in_it(self, masks: Masks) -> None:
        result = tidy(masks, holes=2, exclusive=True)
        assert result[8][1, 1] and not result[3][1, 1]

    def test_no_objects(self, masks: Masks) -> None:
        assert len(tidy(masks.select(), holes=9, islands=9, exclusive=True)) == 0


def test_masks_that_are_kept_as_run_lengths_are_tidied_too() -> None:
    """As those of `everything` are."""
    left, whole = drawn("##..", "##.."), drawn("####", "####")
    logits = torch.tensor([[[3.0]], [[1.0]]])
    codes = (rle.encode(left), rle.encode(whole))
    masks = RleMasks(0, (1, 2), logits, left.shape, torch.ones(2), torch.ones(2), codes)
    apart = tidy(masks, exclusive=True)
    assert isinstance(apart, RleMasks) and [rle.decode(code).sum() for code in apart.rle()] == [4, 4]
    np.testing.assert_array_equal(apart.numpy(), [left, ~left])
    np.testing.assert_array_equal(apart.label_map(), np.where(left, 1, 2))
