"""Large images in tiles: objects on seams are found once, whole, and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import masklet
from masklet import Grid
from masklet.auto.tiles import split_into_tiles

from .painted import Connected

TILE = 256
GRID = Grid(points_per_side=12, multimask_output=False)
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)]
Disc = tuple[int, int, int]  # x, y, radius


def paint(discs: list[Disc], size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """An image of discs, and the mask of each."""
    image, masks = np.zeros((*size, 3), dtype=np.uint8), []
    for number, (x, y, radius) in enumerate(discs):
        mask = np.zeros(size, dtype=np.uint8)
        cv2.circle(mask, (x, y), radius, 1, -1)
        image[mask > 0] = COLORS[number % len(COLORS)]
        masks.append(mask > 0)
    return image, masks


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def assert_found(discs: list[Disc], size: tuple[int, int]) -> None:
    """Each disc is one mask, and there are no others."""
    image, truth = paint(discs, size)
    segments = masklet.everything(Connected(), image, GRID, tiles=TILE)
    assert len(segments) == len(truth)
    for mask in truth:
        assert max(iou(mask, segment) for _, segment in segments.items()) > 0.85


@st.composite
def apart(draw: st.DrawFn) -> list[Disc]:
    """Discs that do not touch, in an image of 500 x 600."""
    discs: list[Disc] = []
    for _ in range(draw(st.integers(1, 12))):
        radius = draw(st.integers(16, 90))
        x, y = (draw(st.integers(radius + 4, side - radius - 4)) for side in (600, 500))
        if all((x - a) ** 2 + (y - b) ** 2 > (radius + c + 16) ** 2 for a, b, c in discs):
            discs.append((x, y, radius))
    return discs


@settings(max_examples=4, deadline=None)
@given(apart())
def test_each_disc_is_found_once_wherever_the_seams_are(discs: list[Disc]) -> None:
    assert_found(discs, (500, 600))


def test_an_object_larger_than_a_tile_is_one_mask() -> None:
    assert_found([(300, 300, 260), (640, 60, 30)], (600, 700))


def test_the_largest_share_is_of_the_image_and_not_of_a_tile() -> None:
    image, truth = paint([(300, 300, 260), (640, 60, 40)], (600, 700))
    grid = replace(GRID, max_area=truth[1].mean() + 0.01)  # the small disc is a twelfth of a tile
    segments = masklet.everything(Connected(), image, grid, tiles=TILE)
    assert len(segments) == 1 and iou(segments[1], truth[1]) > 0.85


def test_two_arms_that_meet_in_another_tile_are_one_mask() -> None:
    image = np.zeros((256, 448, 3), dtype=np.uint8)
    image[40:80, 20:400] = image[160:200, 20:400] = image[40:200, 360:400] = (255, 0, 0)
    segments = masklet.everything(Connected(), image, GRID, tiles=TILE)
    assert len(segments) == 1 and iou(segments[1], image[..., 0] > 0) > 0.9


def test_a_part_and_the_whole_stay_two_masks_across_a_seam() -> None:
    """Every third candidate is the part: what the network offers beside the whole."""

    class Parts(Connected):
        def decode(self, *arguments, **options):  # type: ignore[no-untyped-def]
            decoded = super().decode(*arguments, **options)
            logits = decoded.logits.clone()
            logits[:, 2] = torch.where(torch.arange(64)[:, None] < 24, logits[:, 2], -80.0)
            return replace(decoded, logits=logits)

    image = np.zeros((256, 448, 3), dtype=np.uint8)
    image[40:200, 20:400] = (0, 255, 0)
    segments = masklet.everything(Parts(), image, Grid(points_per_side=12), tiles=TILE, sort="area")
    whole, part = image[..., 1] > 0, np.zeros((256, 448), dtype=bool)
    part[40:96, 20:400] = True
    assert len(segments) == 2
    assert iou(segments[1], whole) > 0.9 and iou(segments[2], part) > 0.9


def test_an_image_smaller_than_a_tile_is_searched_as_without_tiles() -> None:
    image, _ = paint([(90, 80, 30), (180, 160, 40)], (200, 240))
    tiled, plain = (masklet.everything(Connected(), image, GRID, tiles=tiles) for tiles in (TILE, None))
    assert len(tiled) == len(plain) == 2
    assert (tiled.label_map() == plain.label_map()).all()
    np.testing.assert_allclose(tiled.points, plain.points)


def test_nothing_to_find() -> None:
    segments = masklet.everything(Connected(), np.zeros((300, 600, 3), np.uint8), GRID, tiles=TILE)
    assert len(segments) == 0 and not segments.label_map().any()


def test_progress_comes_tile_by_tile() -> None:
    shares: list[float] = []
    image, _ = paint([(90, 80, 30)], (300, 600))
    masklet.everything(Connected(), image, GRID, tiles=TILE, progress=shares.append)
    tiles = split_into_tiles((300, 600), TILE)
    assert shares == [(number + 1) / len(tiles) for number in range(len(tiles))]


def test_memory_does_not_grow_with_the_image_times_its_objects() -> None:
    """36 masks of 0.8 million pixels would be 29 MB."""
    side = 894
    image, _ = paint([(x, y, 40) for x in range(80, side, 150) for y in range(80, side, 150)], (side, side))
    tracemalloc.start()
    segments = masklet.everything(Connected(), image, GRID, tiles=TILE)
    labels = segments.label_map()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(segments) == 36 and len(np.unique(labels)) == 37
    assert peak < 5 * labels.nbytes


def test_tiles_that_make_no_sense_are_refused() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    with pytest.raises(ValueError, match=r"at least 64 pixels\. Got 8"):
        masklet.everything(Connected(), image, GRID, tiles=8)
    with pytest.raises(ValueError, match="tiles can be used only with an image"):
        masklet.everything(Connected(), [image, image], GRID, tiles=TILE)


@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(64, 1500))
def test_tiles_cover_the_image_and_overlap(size: tuple[int, int], side: int) -> None:
    tiles = split_into_tiles(size, side)
    for axis in (0, 1):
        ends = sorted({(tile[axis], tile[axis + 2]) for tile in tiles})
        assert ends[0][0] == 0 and ends[-1][1] == size[1 - axis]
        assert all(end - start <= side for start, end in ends)
        overlaps = [end - start for (_, end), (start, _) in pairwise(ends)]
        assert all(overlap >= side // 4 - 1 for overlap in overlaps)
