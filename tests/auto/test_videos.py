"""Everything in a video: who joins, who is whom, who is filled in, what becomes of them; and detectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import masklet
from masklet import Grid, MaskletSet, PromptError, rle
from masklet.auto import everything_in_video, make_detector
from masklet.auto.tracker import TrackRecords
from masklet.errors import MaskletError, MediaError
from masklet.types import FrameFeatures

from .painted import BLUE, GREEN, GREY, RED, Painted, paint

GRID = Grid(points_per_side=12)
LENGTH = 24


def frame(time: int, *, blue: bool = True) -> np.ndarray:
    """Red is always there and drifts; green comes at 7; blue leaves at 4 and is back at 14."""
    blots: list[Any] = [(RED, np.s_[8:32, 4 + time // 4 : 20 + time // 4])]
    if time >= 7:
        blots.append((GREEN, np.s_[4:20, 40:60]))
    if blue and not 4 <= time < 14:
        blots.append((BLUE, np.s_[28:44, 40:56]))
    return paint(*blots)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return np.stack([frame(time) for time in range(LENGTH)])


@pytest.fixture(scope="module")
def both_ways(clip: np.ndarray) -> tuple[list[masklet.Masks], MaskletSet]:
    found = everything_in_video(Painted(), clip, GRID, every=5, patience=50)
    return list(found), found


def colors(masks: masklet.Masks, image: np.ndarray) -> dict[int, tuple[int, ...]]:
    """What each object that is seen has most of."""
    return {id: tuple(np.median(image[mask], axis=0).astype(int)) for id, mask in masks.items() if mask.any()}


def test_objects_are_followed_from_where_they_appear(
    clip: np.ndarray, both_ways: tuple[list[masklet.Masks], MaskletSet]
) -> None:
    frames, found = both_ways
    assert [masks.frame for masks in frames] == list(range(LENGTH))
    ids = {color: id for id, color in colors(frames[20], clip[20]).items()}
    assert set(ids) == {RED, GREEN, BLUE}
    for masks, image in zip(frames, clip, strict=True):
        seen = colors(masks, image)
        assert all(ids[color] == id for id, color in seen.items())
        assert (GREEN in seen.values()) == (masks.frame >= 7)  # though the key frame was the tenth
    tracks = {color: found.tracks[id] for color, id in ids.items()}
    assert (tracks[GREEN].first, tracks[RED].visible, tracks[RED].ended) == (7, LENGTH, None)
    assert list(tracks[BLUE].transitions) == [(4, "lost"), (14, "found")]


def test_nothing_is_followed_twice(both_ways: tuple[list[masklet.Masks], MaskletSet]) -> None:
    frames, found = both_ways
    assert set(found.tracks) == {id for masks in frames for id in masks} and len(found.tracks) == 3


def test_an_object_that_was_dropped_and_found_again_is_one(clip: np.ndarray) -> None:
    """Blue is given up at 4 + 5 frames, joins anew at 15, and is followed back to where it first was."""
    frames = np.concatenate([clip, clip[::-1][:4]])
    found = everything_in_video(Painted(), frames, GRID, every=5, patience=5)
    masks = list(found)
    assert len(found.tracks) == 4 and found.tracks[max(found.tracks)].first == 14
    assert sorted(track.ended is not None for track in found.tracks.values()) == [False, False, False, True]
    assert len(masks) == len(frames)


def test_a_stream_goes_forward_only(clip: np.ndarray) -> None:
    found = masklet.everything(Painted(), iter(clip), GRID, every=5, patience=50)
    assert isinstance(found, MaskletSet)
    first = next(found)
    assert first.frame == 0 and len(first) == 2
    frames = [first, *found]
    assert [len(masks) for masks in frames] == [2] * 10 + [3] * 14
    assert sorted(track.first for track in found.tracks.values()) == [0, 0, 10]
    with pytest.raises(ValueError, match=r"only once.*backward=False"):
        everything_in_video(Painted(), iter(clip), GRID, backward=True)


def test_points_are_asked_only_where_nothing_is_followed() -> None:
    model = Painted()
    found = everything_in_video(model, iter([frame(8)] * 3), GRID, every=1)
    next(found)
    first = model.asked
    next(found)
    assert first == 144 and model.asked - first < 0.8 * first


class Counting(Painted):
    """Counts the frames that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0

    def encode(self, image: Tensor) -> FrameFeatures:
        self.encoded += 1
        return super().encode(image)


@pytest.mark.parametrize("backward", [False, True])
def test_a_frame_is_encoded_once_for_the_grid_and_the_tracker_and_both_directions(
    clip: np.ndarray, backward: bool
) -> None:
    model = Counting()
    frames = list(everything_in_video(model, clip, GRID, every=5, backward=backward))
    assert len(frames) == model.encoded == LENGTH


def test_nothing_is_encoded_where_a_detector_is_silent(clip: np.ndarray) -> None:
    model = Counting()
    detections = {20: [masklet.Prompt(box=(4, 8, 20, 32))]}
    list(everything_in_video(model, clip, detections=detections, backward=False))
    assert model.encoded == LENGTH - 20


def test_scene_cuts_are_watched_for_on_request() -> None:
    """Red goes on in another place, where only its memory of the first frame is looked at."""
    other = paint((GREY, np.s_[:24, 32:]), (RED, np.s_[34:46, 4:24]))
    scenes = [frame(0)] * 4 + [other] * 3
    cuts = {}
    for wanted in (False, True):
        found = everything_in_video(Painted(), iter(scenes), GRID, every=50, cuts=wanted)
        auto_tracker = found._frames.__reduce__()[1][0].__self__  # type: ignore[attr-defined]
        assert len(list(found)) == 7
        cuts[wanted] = {each.bank.cuts for each in auto_tracker._tracker._objects.values()}
    assert cuts == {False: {()}, True: {(4,)}}


def test_the_largest_come_first_where_there_is_room_for_few() -> None:
    image = frame(8)
    masks = next(everything_in_video(Painted(), iter([image]), GRID, max_objects=2))
    assert list(colors(masks, image).values()) == [RED, GREEN]


def test_an_endless_stream_needs_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blots come and go for 400 frames: objects, memories and tracks are as many as after 100."""
    monkeypatch.setattr("masklet.auto.tracker.MAX_RECORDS", 10)

    def come_and_go() -> Iterator[np.ndarray]:
        for time in range(400):
            here = time // 10 % 4
            yield paint((RED, np.s_[4:20, 4 + 8 * here : 20 + 8 * here]), (GREEN, np.s_[28:44, 8:24]))
            if time % 10 == 9:
                yield from [paint()] * 6

    found = everything_in_video(Painted(), come_and_go(), Grid(points_per_side=8), every=4, patience=2)
    auto_tracker = found._frames.__reduce__()[1][0].__self__  # type: ignore[attr-defined]
    held = []
    for masks in found:
        if masks.frame % 100 == 99:
            banks = [each.bank for each in auto_tracker._tracker._objects.values()]
            memories = sum(len(bank.tracked) + len(bank.prompted) for bank in banks)
            held.append((len(banks), memories, len(found.tracks)))
    assert len(held) >= 5 and max(found.tracks) > 50
    assert all(objects <= 2 and memories <= 40 and tracks <= 12 for objects, memories, tracks in held)


def test_the_record_of_a_flickering_object_is_bounded() -> None:
    record = masklet.auto.TrackRecord(1, first=0)
    record.transitions.extend((time, "lost") for time in range(5000))
    assert len(record.transitions) == 1000
    assert TrackRecords().by_id == {}


def detections(form: str) -> Any:
    """Red on frame 0, green and red on frame 10; nothing is said of others."""
    red, green = np.s_[8:32, 4:20], np.s_[4:20, 40:60]
    boxes = {0: np.array([[4, 8, 20, 32]]), 10: np.array([[40, 4, 60, 20], [6, 8, 22, 32]])}
    masks = {0: np.zeros((1, 48, 64), dtype=bool), 10: np.zeros((2, 48, 64), dtype=bool)}
    masks[0][0][red], masks[10][0][green] = True, True
    masks[10][1][8:32, 6:22] = True
    match form:
        case "boxes":
            return boxes
        case "lists":
            return [boxes[time].tolist() if time in boxes else None for time in range(LENGTH)]
        case "masks":
            return masks
        case "supervision":
            return {time: SimpleNamespace(xyxy=boxes[time], mask=None) for time in boxes}
        case "supervision with masks":
            return {time: SimpleNamespace(xyxy=boxes[time], mask=masks[time]) for time in boxes}
    return {time: [masklet.Prompt(box=tuple(map(float, box))) for box in boxes[time]] for time in boxes}


@pytest.mark.parametrize(
    "form", ["boxes", "lists", "masks", "supervision", "supervision with masks", "prompts"]
)
def test_a_detector_in_place_of_the_grid(clip: np.ndarray, form: str) -> None:
    model = Painted()
    frames = list(everything_in_video(model, clip, detections=detections(form)))
    assert [len(masks) for masks in frames] == [1] * 7 + [2] * 17  # green is filled in from 10 back to 7
    assert colors(frames[20], clip[20]) == {frames[20].ids[0]: RED, frames[20].ids[1]: GREEN}
    assert model.asked < 10


@pytest.mark.parametrize("backward", [True, False])
def test_an_object_has_the_class_of_its_first_detection(clip: np.ndarray, backward: bool) -> None:
    """Red is a dog on frame 0 and a wolf on frame 10, where green is a cat."""
    entries = detections("supervision")
    for time, names in {0: ["dog"], 10: ["cat", "wolf"]}.items():
        entries[time].data = {"class_name": np.array(names)}
    masklets = everything_in_video(Painted(), clip, detections=entries, backward=backward)
    if backward:
        assert masklets.find_classes() == {1: "dog", 2: "cat"}
    assert len(list(masklets)) == len(clip)
    assert sorted(masklets.classes.values()) == ["cat", "dog"]
    assert {record.first: record.to_json()["class"] for record in masklets.tracks.values()} == {
        0: "dog",
        7 if backward else 10: "cat",
    }


def test_a_class_for_each_detection_or_none(clip: np.ndarray) -> None:
    found = SimpleNamespace(xyxy=np.array([[4, 4, 20, 20]]), data={"class_name": np.array(["dog", "cat"])})
    with pytest.raises(PromptError, match="frame 0 has 1 detections and 2 in class_name"):
        next(everything_in_video(Painted(), clip, detections={0: found}))


def test_a_class_that_files_cannot_hold_is_refused_before_tracking(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]}
    content = {"images": [{"id": 1}], "annotations": [annotation], "categories": [{"id": 1, "name": "a\nb"}]}
    path.write_text(json.dumps(content))
    with pytest.raises(MediaError, match=r"the class 'a.*b' has a line break"):
        make_detector(path, frame_name)


@pytest.mark.parametrize("segmented", ["rle", "uncompressed", "polygon", None])
@pytest.mark.parametrize("named", [True, False])
def test_a_coco_json_in_place_of_the_grid(
    clip: np.ndarray, tmp_path: Path, segmented: str | None, named: bool
) -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[4:20, 40:60] = True
    code = rle.encode(mask)
    runs = [40 * 48 + 4, *[16, 32] * 19, 16, 28 + 4 * 48]
    forms: dict[str | None, Any] = {
        "rle": code,
        "uncompressed": {"size": [48, 64], "counts": runs},
        "polygon": [[40, 4, 60, 4, 60, 20, 40, 20]],
        None: None,
    }
    annotation = {"image_id": 11, "bbox": [40, 4, 20, 16], "segmentation": forms[segmented]}
    names = [f"{time:05d}.jpg" if named else f"x{time}.jpg" for time in range(LENGTH)]
    images = [{"id": time + 1, "file_name": name} for time, name in enumerate(names)]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": [annotation]}))
    found = everything_in_video(Painted(), clip, detections=path, backward=False)
    assert [len(masks) for masks in found] == [0] * 10 + [1] * 14


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (np.array([[70, 4, 90, 20]]), "detection 0 of frame 0: box must touch the frame, which is 64 wide"),
        (np.array([[4, 4, 20, 20], [20, 4, 4, 20]]), "detection 1 of frame 0: box must have an area"),
        (np.zeros((1, 64, 48), dtype=bool), "detection 0 of frame 0: mask must have shape"),
        (np.zeros((2, 5)), r"must be boxes \(n, 4\).* or masks .* Got shape \(2, 5\)"),
    ],
)
def test_detections_that_cannot_be_meant(clip: np.ndarray, entry: np.ndarray, part: str) -> None:
    if entry.dtype == bool:
        entry[:] = True
    with pytest.raises(PromptError, match=part):
        next(everything_in_video(Painted(), clip, detections=[entry]))


@pytest.mark.parametrize("frame", [-1, LENGTH, LENGTH + 6])
def test_detections_beyond_the_video_are_refused(clip: np.ndarray, frame: int) -> None:
    box = np.array([[4, 8, 20, 32]])
    with pytest.raises(PromptError, match=rf"frames from 0 to {LENGTH - 1}\. Got frame {frame}: "):
        next(everything_in_video(Painted(), clip, detections={0: box, frame: box}))
    with pytest.raises(PromptError, match=rf"Got frame {LENGTH}: "):
        next(everything_in_video(Painted(), clip, detections=[box] * (LENGTH + 1)))


def test_detections_of_tensors_and_empty_masks(clip: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    boxes = torch.tensor([[4.0, 8, 20, 32]], requires_grad=True)
    expected = [
        masks.label_map() for masks in everything_in_video(Painted(), clip, detections={0: [[4, 8, 20, 32]]})
    ]
    for entry in (boxes, [boxes[0]], boxes.half()):
        found = everything_in_video(Painted(), clip, detections={0: entry})
        assert all((masks.label_map() == label).all() for masks, label in zip(found, expected, strict=True))
    empty = everything_in_video(Painted(), clip, detections={0: np.zeros((1, 48, 64), dtype=bool)})
    assert [len(masks) for masks in empty] == [0] * LENGTH
    assert "frame 0: 1 of 1 detected masks cover no pixel and are ignored: 0." in caplog.text


@pytest.mark.parametrize("form", ["boxes", "lists", "supervision", "prompts"])
def test_a_box_outside_the_frame(clip: np.ndarray, form: str) -> None:
    box = np.array([[4, 8, 20, 32], [70, 4, 90, 20]])
    forms: dict[str, Any] = {
        "boxes": {0: box},
        "lists": [box.tolist()],
        "supervision": [SimpleNamespace(xyxy=box, mask=None)],
        "prompts": [[masklet.Prompt(box=tuple(map(float, each))) for each in box]],
    }
    part = "detection 1 of frame 0: box must touch the frame, which is 64 wide"
    with pytest.raises(PromptError, match=part):
        next(everything_in_video(Painted(), clip, detections=forms[form]))


def test_detections_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"a list with an entry for each frame.* Got int"):
        make_detector(3, str)
    with pytest.raises(MediaError, match="there is no file"):
        make_detector(tmp_path / "none.json", str)
    (tmp_path / "other.json").write_text('{"images": []}')
    with pytest.raises(MediaError, match="is not a COCO file: it needs the lists images and annotations"):
        make_detector(tmp_path / "other.json", str)
    assert (
        make_detector([None, []], str)(0, (4, 4)) is None and make_detector([None, []], str)(1, (4, 4)) == []
    )


@pytest.mark.parametrize("name", ["every", "patience", "max_objects"])
def test_rules_that_cannot_be_meant(clip: np.ndarray, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1. Got 0"):
        everything_in_video(Painted(), clip, **{name: 0})  # type: ignore[arg-type]


def test_a_policy_by_name(clip: np.ndarray) -> None:
    with pytest.raises(MaskletError, match=r"policy must be one of .*Did you mean gated"):
        everything_in_video(Painted(), clip, GRID, policy="gatd")
    found = everything_in_video(Painted(), clip, GRID, every=5, policy="gated", backward=False)
    assert [len(masks) for masks in islice(found, 3)] == [2, 2, 2]


def coco_detections(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def frame_name(frame: int) -> str:
    return f"{frame:05d}.jpg"


@pytest.mark.parametrize(
    ("annotation", "count"),
    [
        ({"segmentation": [10, 10, 50, 10, 50, 50, 10, 50]}, 1),
        ({"segmentation": [[128.0, 128.0]], "bbox": [10, 10, 40, 40]}, 1),
        ({"segmentation": [[300, 10, 310, 10, 310, 20]], "bbox": [10, 10, 40, 40]}, 0),
        ({"bbox": None}, 0),
        ({"bbox": [5, 5, 0, 9]}, 0),
        ({"bbox": [500, 4, 20, 16]}, 0),
        ({"bbox": [float("nan"), 4, 20, 16]}, 0),
        ({"segmentation": {"size": [100, 100], "counts": "b'abc'"}}, 0),
        ({"segmentation": {"size": [10**9, 10**9], "counts": "0"}}, 0),
        ({}, 0),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_one_unclear_detection_costs_no_other(tmp_path: Path, annotation: dict[str, Any], count: int) -> None:
    good = {"id": 1, "image_id": 1, "bbox": [10, 10, 40, 40]}
    annotations = [good, {"id": 2, "image_id": "1", **annotation}]
    path = coco_detections(tmp_path / "c.json", [{"id": 1, "file_name": "00000.jpg"}], annotations)
    prompts = make_detector(path, frame_name, 10)(0, (100, 100))
    assert prompts is not None and len(prompts) == 1 + count


@pytest.mark.parametrize(
    ("images", "frame"),
    [
        ([{"id": 1, "file_name": "frames/00003.jpg"}], 3),
        ([{"id": 1, "file_name": "frames\\00003.png"}], 3),
        ([{"id": 1, "file_name": "other.jpg", "frame_index": 4}], 4),
        ([{"id": 1.0, "file_name": "00000.jpg", "frame_index": 4.0}], 4),
        ([{"id": "1", "file_name": "00000.jpg", "frame_id": "4"}], 4),
        ([{"id": 1, "frame_id": 5}], 5),
        ([{"id": 1}], 0),
    ],
    ids=repr,
)
def test_detections_are_on_the_frame_that_their_image_names(
    tmp_path: Path, images: list[dict[str, Any]], frame: int
) -> None:
    annotations = [{"id": 1, "image_id": 1, "bbox": [10, 10, 40, 40]}]
    detect = make_detector(coco_detections(tmp_path / "c.json", images, annotations), frame_name, 10)
    assert [at for at in range(10) if detect(at, (100, 100))] == [frame]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([{"id": 1, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}], "two images have the id 1"),
        ([{"id": 1, "frame_id": 3}, {"id": 2, "frame_id": 3}], "two images of frame 3, with the ids 1 and 2"),
        ([{"id": number, "frame_id": number} for number in range(1, 11)], "start at 0"),
        (
            [{"id": 1, "file_name": "a/00003.jpg"}, {"id": 2, "file_name": "b/00003.jpg"}],
            "2 images that match",
        ),
        ([{"id": 1, "file_name": "00003.jpg", "width": 320, "height": 200}], "images resized without"),
        ([{"id": 1, "file_name": "00003.jpg", "width": 100, "height": 60}], "images turned without"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_images_that_may_be_another_frame_are_refused(
    tmp_path: Path, images: list[dict[str, Any]], message: str
) -> None:
    annotations = [{"id": 1, "image_id": 1, "bbox": [10, 10, 40, 40]}]
    path = coco_detections(tmp_path / "c.json", images, annotations)
    with pytest.raises(MediaError, match=message):
        make_detector(path, frame_name, 10)(3, (100, 60))


def test_a_frame_with_folders_finds_its_image_among_others_of_its_name(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a/0.jpg"}, {"id": 2, "file_name": "b/0.jpg"}]
    annotations = [{"id": 1, "image_id": 2.0, "bbox": [10, 10, 40, 40]}]
    path = coco_detections(tmp_path / "c.json", images, annotations)
    detect = make_detector(path, lambda frame: f"{'ab'[frame]}/0.jpg", 2)
    assert [len(detect(frame, (100, 100)) or ()) for frame in range(2)] == [0, 1]


def test_detections_of_another_video_are_refused(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"other_{number}.jpg"} for number in range(7)]
    path = coco_detections(tmp_path / "c.json", images, [])
    with pytest.raises(MediaError, match=r"7 images such as other_0.jpg, but none of the video's 10 frames"):
        make_detector(path, frame_name, 10)
