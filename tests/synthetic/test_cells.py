"""Cells under a microscope: grey, labelled where they are, the same for the same seed."""

import numpy as np
from numpy.random import default_rng

from masklet.synthetic.cells import FEWEST, MOST, compose_cells


def test_a_clip_of_cells_is_a_function_of_its_seed() -> None:
    first, again, other = (compose_cells(default_rng(seed), 64, 3) for seed in (1, 1, 2))
    assert (first.images == again.images).all() and (first.masks == again.masks).all()
    assert first.images.shape == other.images.shape and (first.images != other.images).any()


def test_cells_are_grey_and_no_two_share_a_pixel() -> None:
    for seed in range(6):
        clip = compose_cells(default_rng(seed), 96, 3)
        assert clip.images.shape == (3, 96, 96, 3) and clip.images.dtype == np.uint8
        assert (clip.images == clip.images[..., :1]).all()
        assert FEWEST <= clip.objects <= MOST and clip.masks.shape == (3, clip.objects, 96, 96)
        assert clip.masks.sum(axis=1).max() <= 1 and clip.masks[0].any()


def test_a_cell_moves_from_frame_to_frame_but_little() -> None:
    clip = compose_cells(default_rng(0), 128, 4)
    moved = (clip.masks[0] ^ clip.masks[3]).sum(axis=(1, 2)) / clip.masks[0].sum(axis=(1, 2)).clip(1)
    assert 0 < np.median(moved) < 0.6


def test_the_masks_are_where_the_cells_are() -> None:
    """Inside of an outline grey levels differ from those of the same place without the cell."""
    clip = compose_cells(default_rng(3), 128, 2)
    inside = clip.masks[0].any(axis=0)
    grey = clip.images[0, ..., 0].astype(float)
    assert grey[inside].std() > 1.2 * grey[~inside].std()
