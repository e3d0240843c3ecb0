"""Everything in an image: what is found, how it is ordered, parted, written, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO

import masklet
from masklet import Grid, MaskletError, Segments, everything
from masklet.auto import everything_in_image, generate_segments, partition_segments
from masklet.auto.contrast import measure_contrasts
from masklet.auto.generator import suppress_duplicates
from masklet.auto.grid import NANO_PRESETS, PRESETS, resolve_grid
from masklet.config import NANO, TINY
from masklet.media import CocoJson, open_frames
from masklet.rle import encode
from toy_models import toy_network

from .painted import BLUE, GREEN, GREY, RED, SIZE, Painted, paint

LEFT, RIGHT, SMALL = np.s_[8:32, 4:24], np.s_[4:44, 36:60], np.s_[16:28, 44:56]
COARSE = Grid(points_per_side=12)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A red blot, and a green one with a blue blot on it."""
    return paint((RED, LEFT), (GREEN, RIGHT), (BLUE, SMALL))


@pytest.fixture(scope="module")
def found(image: np.ndarray) -> Segments:
    return everything_in_image(Painted(), image, COARSE, sort="area")


def overlap(mask: np.ndarray, place: tuple[slice, slice], without: Any = None) -> float:
    truth = np.zeros_like(mask)
    truth[place] = True
    if without is not None:
        truth[without] = False
    return (mask & truth).sum() / (mask | truth).sum()


def test_each_thing_is_found_once(found: Segments) -> None:
    assert found.ids == (1, 2, 3)
    assert overlap(found[1], RIGHT, SMALL) > 0.8
    assert overlap(found[2], LEFT) > 0.8
    assert overlap(found[3], SMALL) > 0.8
    assert (found.iou > 0.9).all() and (found.stability > 0.9).all()


def test_the_result_reads_like_masks(found: Segments) -> None:
    arrays = np.stack([mask for _, mask in found.items()])
    assert ((found.logits > 0).numpy() == arrays).all()
    assert found.areas.tolist() == arrays.sum(axis=(1, 2)).tolist() == sorted(found.areas, reverse=True)
    for (x0, y0, x1, y1), mask in zip(found.boxes.astype(int), arrays, strict=True):
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        assert mask[y0].any() and mask[y1 - 1].any() and mask[:, x0].any() and mask[:, x1 - 1].any()
    some = found.select(3, 1)
    assert some.ids == (3, 1) and (some[3] == found[3]).all() and some.iou[0] == found.iou[2]
    labels = found.label_map()
    assert set(np.unique(labels)) == {0, 1, 2, 3} and (labels[found[3]] == 3).all()


def test_an_image_may_have_no_masks() -> None:
    empty = Segments.empty(0, (4, 6))
    assert (len(empty), empty.records(), empty.label_map().tolist()) == (0, [], [[0] * 6] * 4)


def test_points_lie_on_their_masks(found: Segments) -> None:
    for id, (x, y) in zip(found.ids, found.points, strict=True):
        assert found[id][int(y), int(x)]


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_records_as_the_original_has_them(found: Segments, mode: Any) -> None:
    from pycocotools import mask as coco

    for record, (id, mask) in zip(found.records(mode), found.items(), strict=True):
        assert record["area"] == mask.sum() and id
        form = record["segmentation"]
        if mode == "uncompressed_rle":
            form = coco.decode(coco.frPyObjects(form, *SIZE)).astype(bool)
        elif mode == "coco_rle":
            form = coco.decode(form).astype(bool)
        assert (form == mask).all()


def test_boxes_miss_duplicates_that_masks_show() -> None:
    """A cross and the same cross less its corner lie in one box; so do a cross and its complement."""
    cross = np.zeros(SIZE, dtype=bool)
    cross[20:28], cross[:, 28:36] = True, True
    nearly, rest = cross.copy(), ~cross
    nearly[:4] = False
    codes = [encode(each) for each in (cross, nearly, rest)]
    boxes = np.array([[0, 0, 63, 47], [0, 4, 63, 47], [0, 0, 63, 47]], dtype=float)
    assert suppress_duplicates("mask", codes, boxes, 0.7) == [0, 2]
    assert suppress_duplicates("box", codes, boxes, 0.7) == [0]


def test_crops_find_what_is_small() -> None:
    speck = np.s_[40:56, 52:68]
    image = paint((RED, speck), (GREEN, np.s_[80:180, 110:240]), size=(192, 256))
    plain = generate_segments(Painted(), image, Grid(points_per_side=4))
    cropped = generate_segments(Painted(), image, Grid(points_per_side=4, crop_n_layers=1))
    assert len(plain) == 1 and len(cropped) == 2
    row = int(np.argmin(cropped.areas))
    assert overlap(cropped[cropped.ids[row]], speck) > 0.6
    assert cropped.crops[row].tolist() == [0, 0, 161, 129]
    assert cropped.low_res.shape[1:] == (16, 16) and cropped.low_res[row, :3, 8:].max() < 0


def test_dense_finds_what_balanced_overlooks() -> None:
    """The small blot lies between what the model sees of the whole image; a crop shows it larger."""
    small, model = np.s_[24:43, 33:57], Painted()
    image = paint((RED, small), (GREEN, np.s_[300:340, 400:460]), size=(480, 640))
    best = {
        preset: max(overlap(mask, small) for _, mask in everything_in_image(model, image, preset).items())
        for preset in ("fast", "balanced", "dense")
    }
    assert best["fast"] == best["balanced"] == 0 and best["dense"] > 0.3
    parts = everything_in_image(model, image, "dense", partition=True)
    assert (np.sum([mask for _, mask in parts.items()], axis=0) == 1).all()


def test_crops_are_the_image_in_overlapping_parts() -> None:
    crops = Grid(crop_n_layers=2).crops((90, 160))
    assert [crop.layer for crop in crops] == [0] + [1] * 4 + [2] * 16
    for layer in (1, 2):
        seen = np.zeros((90, 160), dtype=int)
        for crop in crops:
            if crop.layer == layer:
                seen[crop.y0 : crop.y1, crop.x0 : crop.x1] += 1
        assert seen.min() == 1 and seen.max() == 4


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (5, 200), (200, 3)])
def test_images_of_few_pixels_have_fewer_crops(size: tuple[int, int]) -> None:
    grid = Grid(points_per_side=2, crop_n_layers=2, pred_iou_thresh=0, stability_score_thresh=0)
    assert all(crop.x0 < crop.x1 and crop.y0 < crop.y1 for crop in grid.crops(size))
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    segments = generate_segments(toy_network(), image, grid)
    assert len(segments.low_res) == len(segments) and segments.label_map().shape == size
    assert segments.areas.all(), "no object is smaller than a pixel"
    assert everything(toy_network(), image, grid=replace(grid, crop_n_layers=0), tiles=64).areas.all()


def test_what_a_crop_cuts_is_left_to_others() -> None:
    image = paint((RED, np.s_[10:150, 10:310]), size=(160, 320))  # goes through all four crops
    cropped = generate_segments(Painted(), image, Grid(points_per_side=8, crop_n_layers=1))
    assert cropped.crops.tolist() == [[0, 0, 320, 160]]


def test_specks_and_holes_are_cleared() -> None:
    image = paint((RED, LEFT), (RED, np.s_[40:46, 40:46]), (GREY, np.s_[16:20, 12:16]))
    plain = generate_segments(Painted(), image, COARSE)
    clean = generate_segments(Painted(), image, Grid(points_per_side=12, min_mask_region_area=60))
    red, cleaned = (max(each.areas.tolist()) for each in (plain, clean))
    assert overlap(clean[1 + int(clean.areas.argmax())], LEFT) > 0.85 and cleaned != red


def test_masks_of_more_than_a_share_of_the_image_are_left_out(image: np.ndarray, found: Segments) -> None:
    shares = found.areas / (SIZE[0] * SIZE[1])
    for limit in (shares[0] - 0.01, shares[1] - 0.01):
        kept = everything_in_image(Painted(), image, replace(COARSE, max_area=limit), sort="area")
        assert kept.areas.tolist() == found.areas[shares <= limit].tolist()


@pytest.mark.parametrize("haze", [1.0, 0.1])
def test_patches_of_the_background_are_left_out(haze: float) -> None:
    """Also in an image of little contrast: what counts is the image's own range."""
    scene = np.full((*SIZE, 3), 60, dtype=np.uint8)
    scene[LEFT] = 200  # a thing; the right half is wall, of which the network takes a patch for a thing
    noise = np.random.default_rng(0).integers(0, 12, scene.shape)
    hazy = (100 + haze * (scene + noise - 100.0)).astype(np.uint8)
    patch = np.zeros(SIZE, dtype=bool)
    patch[30:44, 44:58] = True
    thing = np.zeros(SIZE, dtype=bool)
    thing[LEFT] = True
    contrasts = measure_contrasts(hazy, [encode(thing), encode(patch), encode(np.ones(SIZE, bool))])
    assert contrasts[0] > 0.9 and contrasts[1] < 0.05 and contrasts[2] == 1, "no outline, nothing to measure"


def test_a_grid_leaves_out_masks_without_contrast() -> None:
    """The network takes both for things; the second is hardly another grey than the wall."""
    image = np.full((*SIZE, 3), 125, dtype=np.uint8)
    image[LEFT], image[RIGHT] = (255, 255, 0), 130
    both = generate_segments(Painted(), image, COARSE)
    unsure, sure = replace(COARSE, min_contrast=0.05, pred_iou_thresh=0.9), replace(COARSE, min_contrast=0.05)
    kept = generate_segments(Painted(), image, unsure)
    assert len(both) == 2 and len(kept) == 1 and overlap(kept[1], LEFT) > 0.8
    assert len(generate_segments(Painted(), image, sure)) == 2, "0.95 is far above 0.8"


def test_a_refinement_gives_each_mask_as_the_hint() -> None:
    hints: list[torch.Tensor | None] = []

    class Listening(Painted):
        def decode(self, *arguments: Any, **options: Any) -> Any:
            hints.append(arguments[4])
            return super().decode(*arguments, **options)

    image = paint((RED, LEFT))
    generate_segments(Listening(), image, Grid(points_per_side=4, use_m2m=True))
    assert hints[0] is None and [len(hint) for hint in hints[1:]] == [48]  # type: ignore[arg-type]


def test_batches_change_nothing(image: np.ndarray) -> None:
    model = toy_network()
    grids = [
        Grid(
            points_per_side=5,
            points_per_batch=size,
            pred_iou_thresh=0.2,
            stability_score_thresh=0.3,
            stability_score_offset=0.1,
        )
        for size in (3, 64)
    ]
    small, large = (generate_segments(model, image, grid) for grid in grids)
    assert len(small) and small.codes == large.codes


def test_nothing_is_found_in_nothing() -> None:
    found = everything_in_image(Painted(), paint(), COARSE)
    assert len(found) == 0 and found.records() == [] and not found.label_map().any()
    assert found.logits.shape == (0, *SIZE) and found.boxes.shape == (0, 4)


@pytest.mark.parametrize("blots", [(), ((RED, LEFT), (GREEN, RIGHT), (BLUE, SMALL))], ids=["none", "three"])
def test_a_partition_covers_every_pixel_once(blots: tuple[Any, ...]) -> None:
    parts = everything_in_image(Painted(), paint(*blots), COARSE, partition=True)
    times = np.sum([mask for _, mask in parts.items()], axis=0)
    assert (times == 1).all()
    assert len(parts) == len(blots) + 1
    assert int((parts.iou == 0).sum()) == 1 and int(np.isnan(parts.points).any(axis=1).sum()) == 1


def test_small_components_go_to_their_neighbour(found: Segments) -> None:
    parts = partition_segments(found, min_area=400)  # more than the small blot has
    assert len(parts) == 3
    assert overlap(max((mask for _, mask in parts.items()), key=lambda mask: mask[20, 50]), RIGHT) > 0.8
    assert len(partition_segments(found, min_area=10**6)) == 1


def test_sorted_by_score(image: np.ndarray) -> None:
    found = everything_in_image(Painted(), image, COARSE)
    assert (found.iou.diff() <= 0).all()


@pytest.mark.parametrize("model", ["nano", Path("weights.pt"), None, Painted])
def test_a_path_in_place_of_a_model_is_refused(model: object, image: np.ndarray, unchecked: None) -> None:
    with pytest.raises(MaskletError, match=r"model must be a network from masklet\.load"):
        everything(model, image)  # type: ignore[arg-type]


def test_words_that_are_not_known(found: Segments, image: np.ndarray, unchecked: None) -> None:
    with pytest.raises(ValueError, match="output_mode must be"):
        found.records("png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='nms must be "mask" or "box"'):
        Grid(nms="iou")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='sort must be "score" or "area"'):
        everything_in_image(Painted(), image, COARSE, sort="size")  # type: ignore[arg-type]


def test_coco_files_hold_what_was_found(found: Segments, image: np.ndarray, tmp_path: Path) -> None:
    with CocoJson(tmp_path / "coco.json", open_frames(image[None])) as writer:
        writer.write(image, found)
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [each["area"] for each in content["annotations"]] == found.areas.tolist()
    assert len(COCO(tmp_path / "coco.json").anns) == 3


def test_everything_takes_images_of_any_form(image: np.ndarray, tmp_path: Path) -> None:
    PIL.Image.fromarray(image).save(tmp_path / "image.png")
    for source in (
        image,
        PIL.Image.fromarray(image),
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
    ):
        assert isinstance(masklet.everything(Painted(), source, COARSE), Segments)
    with pytest.raises(ValueError, match="every, patience can be used only with a video"):
        masklet.everything(Painted(), image, every=3, patience=2)
    with pytest.raises(ValueError, match="policy, cuts can be used only with a video"):
        masklet.everything(Painted(), image, policy="gated", cuts=True)
    with pytest.raises(ValueError, match="partition can be used only with an image"):
        masklet.everything(Painted(), image[None], partition=True)


@pytest.mark.parametrize(
    ("knobs", "part"),
    [
        ({"points_per_side": None}, "either points_per_side or point_grids.* Got neither"),
        ({"point_grids": [np.zeros((1, 2))]}, "Got both"),
        ({"points_per_side": 0}, "points_per_side must be at least 1. Got 0"),
        ({"points_per_batch": 0}, "points_per_batch must be at least 1"),
        ({"points_per_side": 999_999}, "points_per_side must be at most 1024. Got 999999"),
        ({"points_per_side": 2.5}, "points_per_side must be a whole number"),
        ({"crop_n_layers": 40}, "crop_n_layers must be at most 6. Got 40"),
        ({"stability_score_offset": float("nan")}, "stability_score_offset must be above 0"),
        ({"crop_n_layers": -1}, "crop_n_layers must be at least 0"),
        ({"pred_iou_thresh": 88}, "pred_iou_thresh must be a fraction from 0 to 1. Got 88"),
        ({"stability_score_thresh": -0.1}, "stability_score_thresh must be a fraction"),
        ({"box_nms_thresh": 7}, "box_nms_thresh must be a fraction"),
        ({"crop_nms_thresh": float("nan")}, "crop_nms_thresh must be a fraction"),
        ({"crop_overlap_ratio": 1}, "crop_overlap_ratio must be from 0 to below 1"),
        ({"max_area": 25}, "max_area must be a fraction of the image, above 0 and at most 1. Got 25"),
        ({"min_contrast": 5}, "min_contrast must be a fraction from 0 to 1. Got 5"),
        ({"stability_score_offset": 0}, "stability_score_offset must be above 0"),
        ({"points_per_side": None, "point_grids": []}, "1 in all. Got 0"),
        ({"points_per_side": None, "point_grids": [np.zeros((0, 2))]}, r"Got shape \(0, 2\)"),
        ({"points_per_side": None, "point_grids": [np.array([[320.0, 200.0]])]}, "divide pixels"),
    ],
)
def test_a_grid_that_cannot_be_meant(knobs: dict[str, Any], part: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=part):
        Grid(**knobs)


def test_presets() -> None:
    import inspect

    original = {"points_per_side": 32, "points_per_batch": 64, "pred_iou_thresh": 0.8}
    defaults = {name: each.default for name, each in inspect.signature(Grid).parameters.items()}
    assert defaults.items() >= original.items()
    assert resolve_grid("balanced", TINY) == Grid(points_per_batch=PRESETS["balanced"].points_per_batch)
    assert resolve_grid("dense", NANO) is NANO_PRESETS["dense"] and resolve_grid(COARSE, NANO) is COARSE
    for changed in (replace(NANO, image_size=512), replace(NANO, zoom=False)):
        assert resolve_grid("dense", changed) is NANO_PRESETS["dense"]
    with pytest.raises(ValueError, match=r"one of the presets fast, balanced, dense.*\. Got 'slow'"):
        resolve_grid("slow", TINY)
