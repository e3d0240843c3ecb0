"""Outlines fill to the masks that they were drawn around, holes and all."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from masklet.media import PolygonsJson, YoloTxts, open_frames, outlines
from masklet.media.writers.polygons import Ring, join_rings
from media.made import box_mask, made_masks, numbered

SIZE = (48, 64)
RING = box_mask(4, 4, 40, 40) & ~box_mask(10, 10, 20, 20) & ~box_mask(24, 24, 30, 36)
PARTS = RING | box_mask(50, 2, 60, 12) | box_mask(12, 12, 16, 16)  # an island beside, one in the hole


def filled(rings: list[Ring], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside, by the even-odd rule."""
    height, width = size
    ys, xs = np.mgrid[:height, :width] + 0.5
    inside = np.zeros(size, dtype=bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 != y1:
                spans = (np.minimum(y0, y1) <= ys) & (ys < np.maximum(y0, y1))
                inside ^= spans & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
    return inside


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def blob(size: tuple[int, int] = (120, 160)) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]]
    angle, distance = np.arctan2(ys - 60, xs - 80), np.hypot(ys - 60, xs - 80)
    return (distance < 45 + 8 * np.sin(5 * angle)) & (distance > 15)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_without_tolerance_they_fill_to_the_same_mask(mask: np.ndarray) -> None:
    rings = [ring for polygon in outlines(mask, 0) for ring in polygon]
    assert (filled(rings, mask.shape) == mask).all()
    if rings:
        assert (filled([join_rings(rings)], mask.shape) == mask).all()


def test_parts_and_holes() -> None:
    polygons = outlines(PARTS, 0)
    assert sorted(len(polygon) for polygon in polygons) == [1, 1, 3]
    assert outlines(np.zeros(SIZE, dtype=bool)) == []


@pytest.mark.parametrize("tolerance, points, agreement", [(0.75, 100, 0.98), (2.0, 50, 0.95)])
def test_tolerance_saves_points(tolerance: float, points: int, agreement: float) -> None:
    mask = blob()
    rings = [ring for polygon in outlines(mask, tolerance) for ring in polygon]
    assert sum(map(len, rings)) < points < sum(map(len, outlines(mask, 0)[0]))
    assert overlap(filled(rings, mask.shape), mask) > agreement


def test_no_object_is_too_small_for_its_tolerance() -> None:
    mask = box_mask(5, 5, 6, 6) | box_mask(20, 9, 40, 10)
    rings = [ring for polygon in outlines(mask, 3.0) for ring in polygon]
    assert len(rings) == 2 and all(len(ring) >= 3 for ring in rings)


class TestPolygonsJson:
    def test_read_back(self, tmp_path: Path) -> None:
        source = open_frames([numbered(0), numbered(1)])
        with PolygonsJson(tmp_path / "polygons.json", source, tolerance=0) as writer:
            writer.write(source[0], made_masks(0, {1: RING, 7: PARTS}))
            writer.write(source[1], made_masks(1, {1: np.zeros(SIZE, dtype=bool)}))
        first, second = json.loads((tmp_path / "polygons.json").read_text())["frames"]
        one, seven = first["objects"]
        assert (one["id"], seven["id"]) == (1, 7)
        for obj, mask in [(one, RING), (seven, PARTS)]:
            rings = [np.array(ring) for polygon in obj["polygons"] for ring in polygon]
            assert (filled(rings, SIZE) == mask).all()
        assert second["objects"] == [{"id": 1, "polygons": []}]

    def test_pycocotools_fills_them(self) -> None:
        (polygon,) = outlines(RING, 0)
        outer, *holes = [
            coco.decode(coco.frPyObjects([ring.ravel().tolist()], *SIZE))[..., 0] > 0 for ring in polygon
        ]
        assert overlap(outer & ~np.logical_or.reduce(holes), RING) > 0.9


class TestYoloTxts:
    def test_read_back(self, tmp_path: Path) -> None:
        source = open_frames([numbered(0), numbered(1)])
        with YoloTxts(tmp_path, source, tolerance=0) as writer:
            writer.write(source[0], made_masks(0, {3: RING, 9: PARTS, 4: np.zeros(SIZE, dtype=bool)}))
            writer.write(source[1], made_masks(1, {3: np.zeros(SIZE, dtype=bool)}))
        lines = (tmp_path / "00000.txt").read_text().splitlines()
        for line, mask in zip(lines, [RING, PARTS], strict=True):
            kind, *values = line.split()
            assert kind == "0"
            outline = np.array(values, dtype=float).reshape(-1, 2)
            assert outline.min() >= 0 and outline.max() <= 1
            assert (filled([outline * SIZE[::-1]], SIZE) == mask).all()
            # As trainers draw them.
            drawn = np.zeros(SIZE, dtype=np.uint8)
            cv2.fillPoly(drawn, [(outline * SIZE[::-1]).astype(np.int32)], 1)
            assert overlap(drawn > 0, mask) > 0.8
        assert (tmp_path / "00001.txt").read_text() == ""

    def test_labels_are_named_as_their_images(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        PIL.Image.fromarray(numbered(0)).save(tmp_path / "images" / "cat 1.jpg")
        source = open_frames(tmp_path / "images")
        with YoloTxts(tmp_path / "labels", source) as writer:
            writer.write(source[0], made_masks(0, {1: RING}))
        names = sorted(path.name for path in (tmp_path / "labels").iterdir())
        assert names == ["cat 1.txt", "classes.txt"]

    def test_classes_have_names(self, tmp_path: Path) -> None:
        source = open_frames([numbered(0)])
        with YoloTxts(tmp_path, source, {3: "dog", 9: "ball"}) as writer:
            writer.write(source[0], made_masks(0, {9: RING, 3: RING, 4: RING}))
        lines = (tmp_path / "00000.txt").read_text().splitlines()
        classes = (tmp_path / "classes.txt").read_text().split()
        assert [classes[int(line.split()[0])] for line in lines] == ["ball", "dog", "object"]
