"""masklet everything: an image, a video, a detector; and what is refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import masklet
from masklet.config import toy
from masklet.media import read_label_map, write_label_map
from masklet.zoom import Zoom
from toy_models import SIZE, toy_network

from .conftest import LENGTH, Run

# What a network that has learned nothing is sure of.
LOOSE = ("--points-per-side", 4, "--pred-iou-thresh", 0, "--stability-score-thresh", 0)


def test_an_image(run: Run, shelf: Path, tmp_path: Path) -> None:
    model = ("--model", shelf / "toy.safetensors")
    answer = run(
        "everything", shelf / "frames" / "0.png", *LOOSE, *model, "--sort", "area", "--out", tmp_path
    )
    names = ("mask.png", "masks.json", "overlay.png", "coco.json")
    assert answer.code == 0 and answer.out.splitlines()[1:] == [str(tmp_path / name) for name in names]
    content = json.loads((tmp_path / "masks.json").read_text())
    areas = [mask["area"] for mask in content["masks"]]
    assert areas and areas == sorted(areas, reverse=True)
    assert set(content["masks"][0]) >= {"id", "segmentation", "bbox", "predicted_iou", "stability_score"}
    assert len(json.loads((tmp_path / "coco.json").read_text())["annotations"]) == len(areas)
    with PIL.Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.size == SIZE[::-1]


def test_backgrounds_are_left_out_by_their_share(run: Run, shelf: Path, tmp_path: Path) -> None:
    options = (*LOOSE, "--model", shelf / "toy.safetensors")
    areas = {}
    for share in (1, 0.25):
        out = tmp_path / str(share)
        answer = run("everything", shelf / "frames" / "0.png", *options, "--max-area", share, "--out", out)
        assert answer.code == 0
        areas[share] = [mask["area"] for mask in json.loads((out / "masks.json").read_text())["masks"]]
    limit = 0.25 * SIZE[0] * SIZE[1]
    assert max(areas[1]) > limit and areas[0.25] == [area for area in areas[1] if area <= limit]


def test_a_partition(run: Run, shelf: Path, tmp_path: Path) -> None:
    model = ("--model", shelf / "toy.safetensors")
    arguments = (*LOOSE, *model, "--partition", "--out", tmp_path)
    assert run("everything", shelf / "frames" / "0.png", *arguments).code == 0
    assert (read_label_map(tmp_path / "mask.png") > 0).all()


def test_a_video_from_detections(run: Run, shelf: Path, tmp_path: Path) -> None:
    images = [{"id": frame, "file_name": f"{frame}.png"} for frame in range(LENGTH)]
    boxes = [{"image_id": 2, "bbox": [10, 8, 30, 24], "category_id": 3}]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 3, "name": "dog"}]}
    (tmp_path / "detections.json").write_text(json.dumps(coco))
    out = tmp_path / "out"
    arguments = (
        "--detections",
        tmp_path / "detections.json",
        "--model",
        shelf / "toy.safetensors",
        "--out",
        out,
        *(word for name in ("palette", "coco", "overlay") for word in ("--format", name)),
    )
    answer = run("everything", shelf / "frames", *arguments, "--policy", "gated", "--cuts")
    assert answer.code == 0 and "tracks.json" in answer.out
    tracks = json.loads((out / "tracks.json").read_text())
    assert [track["class"] for track in tracks] == ["dog"] and len(list((out / "masks").iterdir())) == LENGTH
    assert json.loads((out / "coco.json").read_text())["categories"][0]["name"] == "dog"
    assert (out / "overlay.mp4").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--points-per-side", 0), "points_per_side must be at least 1. Got 0"),
        (("--pred-iou-thresh", 80), "pred_iou_thresh must be a fraction from 0 to 1. Got 80"),
        (("--every", 5), "every can be used only with a video. Got an image"),
        (("--preset", "slow"), "slow"),
    ],
)
def test_what_cannot_be_meant(
    run: Run, shelf: Path, tmp_path: Path, words: tuple[object, ...], part: str
) -> None:
    arguments = (*words, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("everything", shelf / "frames" / "0.png", *arguments)
    assert answer.code == 2 and part in answer.err and not list((tmp_path).glob("out/*"))


def test_a_misspelt_policy(run: Run, shelf: Path, tmp_path: Path) -> None:
    arguments = ("--policy", "gatd", "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("everything", shelf / "clip.mp4", *arguments)
    assert answer.code == 1 and "policy must be one of" in answer.err and "gated" in answer.err
    assert not (tmp_path / "out").exists()


def test_more_ids_than_a_palette_holds(tmp_path: Path) -> None:
    labels = np.arange(20 * 20, dtype=np.int32).reshape(20, 20)
    write_label_map(tmp_path / "labels.png", labels)
    assert (read_label_map(tmp_path / "labels.png") == labels).all()


def test_an_image_much_larger_than_the_network_sees_is_better_seen_in_tiles(
    run: Run, shelf: Path, tmp_path: Path
) -> None:
    side = masklet.load(shelf / "toy.safetensors").config.image_size
    for width, is_large in ((8 * side, False), (8 * side + 1, True)):
        image = tmp_path / f"{width}.png"
        PIL.Image.new("RGB", (width, 40)).save(image)
        words = ("--point", "50,30", "--model", shelf / "toy.safetensors", "--out", tmp_path / str(width))
        answer = run("segment", image, *words)
        assert answer.code == 0 and ("--tiles 1024 finds small objects better" in answer.err) == is_large


def test_a_large_image_in_tiles(run: Run, shelf: Path, tmp_path: Path) -> None:
    image = tmp_path / "large.png"
    PIL.Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (70, 1))).convert("RGB").save(image)
    model = ("--model", shelf / "toy.safetensors", "--tiles", 64)
    answer = run("everything", image, *LOOSE, *model, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    masks = json.loads((tmp_path / "out" / "masks.json").read_text())["masks"]
    assert masks and {mask["crop_box"][0] for mask in masks} - {0}  # found in tiles farther right
    assert len(np.unique(read_label_map(tmp_path / "out" / "mask.png"))) > 1
    answer = run("segment", image, "--point", "150,30", *model, "--out", tmp_path / "segment")
    assert answer.code == 0 and read_label_map(tmp_path / "segment" / "mask.png").shape == (70, 200)
    answer = run("segment", image, "--point", "150,30", *model[:3], 8, "--out", tmp_path / "refused")
    assert answer.code != 0 and "at least 32 pixels" in answer.err


@pytest.mark.parametrize("zooms", [False, True])
def test_only_networks_that_zoom_look_at_more_than_tiles(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zooms: bool
) -> None:
    masklet.save(toy_network(replace(toy(), zoom=zooms)), tmp_path / "toy.safetensors")
    begin, zooms_given = masklet.ImageSession.__init__, []

    def note(session: masklet.ImageSession, *given: Any, zoom: Zoom, **named: Any) -> None:
        zooms_given.append(zoom)
        begin(session, *given, zoom=zoom, **named)

    monkeypatch.setattr(masklet.ImageSession, "__init__", note)
    words = ("--point", "30,30", "--model", tmp_path / "toy.safetensors", "--tiles", 64)
    assert run("segment", shelf / "frames" / "0.png", *words, "--out", tmp_path / "out").code == 0
    assert zooms_given == [Zoom(tile=64) if zooms else Zoom(tile=64, rounds=0, views=())]
