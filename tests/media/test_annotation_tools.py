"""CVAT's and Label Studio's files, read back by readers made here from their documentation."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet.media import (
    CvatMasks,
    CvatTracks,
    Frames,
    LabelStudioBrushes,
    LabelStudioVideo,
    brush_rle,
    stream,
)
from media.made import ONE, RING, TWO, box_mask, made_frames, made_masks, numbered, write

NAMES = {1: "dog", 2: 'a "<ball>" & more'}


@pytest.fixture(scope="module")
def source() -> Frames:
    return made_frames(6)  # the clip's masks end on frame 3


def brushed(rle: list[int]) -> np.ndarray:
    """The values of a brush, bit by bit as Label Studio's page reads them."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    assert len(values) == count
    return np.array(values, dtype=np.uint8)


def mask_of(region: dict) -> np.ndarray:
    shape = region["original_height"], region["original_width"], 4
    return brushed(region["value"]["rle"]).reshape(shape)[:, :, 3] > 127


class TestBrush:
    @given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
    def test_what_is_read_is_what_was_written(self, height: int, width: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        mask = rng.random((height, width)) < rng.random()
        read = brushed(brush_rle(mask)).reshape(height, width, 4)
        assert ((read == 255) == mask[:, :, None]).all() and ((read == 0) == ~mask[:, :, None]).all()

    @pytest.mark.parametrize("pixels", [4, 5, 64, 65, 1024, 1025, 16384, 16385, 40_000])
    def test_runs_of_every_length(self, pixels: int) -> None:
        mask = np.zeros((1, 40_001), dtype=bool)
        mask[0, :pixels] = True
        assert ((brushed(brush_rle(mask))[3::4] > 0) == mask[0]).all()

    def test_label_studios_own_reader(self) -> None:
        reader = label_studio("converter/brush.py")
        mask = np.random.default_rng(0).random((30, 41)) > 0.6
        assert ((reader.decode_rle(brush_rle(mask)).reshape(30, 41, 4)[:, :, 3] > 127) == mask).all()


def label_studio(path: str) -> ModuleType:
    """A file of Label Studio's SDK, without the packages that the rest of it needs."""
    try:
        file = importlib.metadata.distribution("label-studio-sdk").locate_file(f"label_studio_sdk/{path}")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs Label Studio's SDK: pip install --no-deps label-studio-sdk")
    spec = importlib.util.spec_from_file_location("label_studio_file", str(file))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_label_studio_brushes(source: Frames, tmp_path: Path) -> None:
    write(LabelStudioBrushes(tmp_path / "tasks.json", source, NAMES), source)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [f"0000{frame}.jpg" for frame in range(4)]
    regions = [task["predictions"][0]["result"] for task in tasks]
    assert [[region["value"]["brushlabels"] for region in task] for task in regions] == [
        [["dog"]],
        [[NAMES[2]]],
        [["dog"], [NAMES[2]]],
        [["dog"]],
    ]
    assert [[mask_of(region).tolist() for region in task] for task in regions] == [
        [ONE.tolist()],
        [RING.tolist()],
        [ONE.tolist(), TWO.tolist()],
        [ONE.tolist()],
    ]
    every = [region for task in regions for region in task]
    assert len({region["id"] for region in every}) == len(every)
    assert all(
        region["type"] == "brushlabels"
        and (region["from_name"], region["to_name"]) == ("tag", "image")
        and region["value"]["format"] == "rle"
        for region in every
    )


def test_label_studio_video(source: Frames, tmp_path: Path) -> None:
    write(LabelStudioVideo(tmp_path / "task.json", source, NAMES), source)
    (task,) = json.loads((tmp_path / "task.json").read_text())
    assert task["data"]["video"] == source.name
    one, two = task["predictions"][0]["result"]
    assert one["type"] == "videorectangle" and one["value"]["labels"] == ["dog"]
    assert one["value"]["framesCount"] == 6 and one["value"]["duration"] == pytest.approx(6 / 24)
    sequence = one["value"]["sequence"]
    assert [(keyframe["frame"], keyframe["enabled"]) for keyframe in sequence] == [
        (1, False),
        (3, True),
        (4, False),
    ]
    box = [sequence[0][name] for name in ("x", "y", "width", "height")]
    assert box == pytest.approx([100 * 4 / 64, 100 * 6 / 48, 100 * 16 / 64, 100 * 24 / 48], abs=1e-3)
    assert sequence[0]["time"] == pytest.approx(1 / 24, abs=1e-5) and sequence[0]["rotation"] == 0
    assert [keyframe["frame"] for keyframe in two["value"]["sequence"]] == [2, 3]


def test_label_studio_video_to_the_end_stays_enabled(tmp_path: Path) -> None:
    source = made_frames(1)
    write(
        LabelStudioVideo(tmp_path / "task.json", source), source, [made_masks(0, {1: ONE, 2: ~ONE & False})]
    )
    (task,) = json.loads((tmp_path / "task.json").read_text())
    (region,) = task["predictions"][0]["result"]  # never seen, no region
    assert [keyframe["enabled"] for keyframe in region["value"]["sequence"]] == [True]


def labels(root: ElementTree.Element) -> list[str | None]:
    return [label.findtext("name") for label in root.findall("./meta/task/labels/label")]


def test_cvat_tracks(source: Frames, tmp_path: Path) -> None:
    write(CvatTracks(tmp_path / "tracks.xml", source, NAMES), source)
    root = ElementTree.parse(tmp_path / "tracks.xml").getroot()
    assert root.findtext("version") == "1.1" and root.findtext("./meta/task/mode") == "interpolation"
    assert root.findtext("./meta/task/size") == "6" and labels(root) == list(NAMES.values())
    assert root.findtext("./meta/task/original_size/width") == "64"
    one, two = root.findall("track")
    assert (one.get("label"), two.get("label")) == ("dog", NAMES[2])
    shown = [(int(shape.get("frame", "")), shape.get("outside")) for shape in one]
    assert shown == [(0, "0"), (1, "1"), (2, "0"), (3, "0"), (4, "1")]  # else CVAT would go on showing it
    assert [shape.get("outside") for shape in two] == ["0", "0", "1"]
    assert all(shape.tag == "polygon" and shape.get("keyframe") == "1" for shape in one)
    drawn = np.zeros((48, 64), dtype=np.uint8)
    points = [pair.split(",") for pair in two[0].get("points", "").split(";")]
    cv2.fillPoly(drawn, [np.floor(np.array(points, dtype=float)).astype(np.int32)], 1)
    assert ((drawn > 0) & RING).sum() / ((drawn > 0) | RING).sum() > 0.8


def test_cvat_tracks_to_the_end_stay(tmp_path: Path) -> None:
    source = made_frames(2)
    clip = [made_masks(0, {1: ONE}), made_masks(1, {1: ONE})]
    write(CvatTracks(tmp_path / "tracks.xml", source), source, clip)
    (track,) = ElementTree.parse(tmp_path / "tracks.xml").getroot().findall("track")
    assert [shape.get("outside") for shape in track] == ["0", "0"] and track.get("label") == "object"


def test_cvat_masks(source: Frames, tmp_path: Path) -> None:
    write(CvatMasks(tmp_path / "masks.xml", source), source)
    root = ElementTree.parse(tmp_path / "masks.xml").getroot()
    assert root.findtext("./meta/task/mode") == "annotation" and labels(root) == ["object"]
    images = root.findall("image")
    assert [(image.get("id"), image.get("name")) for image in images][1] == ("1", "00001.jpg")
    read = {
        (int(image.get("id", "")), int(mask.get("group_id", ""))): cvat_mask(mask)
        for image in images
        for mask in image
    }
    expected = {(0, 1): ONE, (1, 2): RING, (2, 1): ONE, (2, 2): TWO, (3, 1): ONE}
    assert read.keys() == expected.keys()
    assert all((read[key] == expected[key]).all() for key in expected)


def cvat_mask(shape: ElementTree.Element) -> np.ndarray:
    left, top, width, height = (int(shape.get(name, "")) for name in ("left", "top", "width", "height"))
    runs = [int(length) for length in shape.get("rle", "").split(",")]
    values = np.repeat(np.arange(len(runs)) % 2, runs)
    mask = np.zeros((48, 64), dtype=bool)
    mask[top : top + height, left : left + width] = values.reshape(height, width)
    return mask


@pytest.mark.parametrize("kind", [CvatTracks, CvatMasks, LabelStudioVideo, LabelStudioBrushes])
def test_of_a_stream(kind: type, tmp_path: Path) -> None:
    frames = stream(numbered(frame) for frame in range(3))
    with kind(tmp_path / "out", frames) as writer:
        for frame, image in enumerate(frames):
            writer.write(image, made_masks(frame, {1: box_mask(3, 3, 4, 4)}))
    assert (tmp_path / "out").stat().st_size > 200
