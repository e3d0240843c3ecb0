"""Each public layout, written small, is read as its own evaluator reads it."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from datasets import made
from datasets.made import LEFT, RIGHT, H, W
from masklet import rle
from masklet.errors import MediaError
from masklet.evaluate.samples import find_clips, find_images, read_names

from .small import GREY, SIZE, square, write_frame, write_grey, write_labels

RED = np.full_like(GREY, (200, 0, 0))


def write_clip(
    root: Path, frames: str, masks: str, name: str, labels: dict[int, np.ndarray], step: int = 1
) -> None:
    """JPEG frames on every index up to the last mask, palette masks on the given ones."""
    for index in range(0, max(labels) + 1, step):
        write_frame(root / frames / name / f"{index:05d}.jpg")
    for index, map in labels.items():
        write_labels(root / masks / name / f"{index:05d}.png", map)


def test_davis_2017_has_a_label_for_each_object_and_undecided_pixels(tmp_path):
    later = square(8) | square(20, label=2)
    later[0, :] = 255
    labels = {0: square(4) | square(20, label=2), 1: later}
    write_clip(tmp_path, "JPEGImages/480p", "Annotations/480p", "dogs", labels)
    [clip] = find_clips(tmp_path)
    assert (clip.name, len(clip.frames), clip.annotated_frames(1), clip.first_frames) == (
        "dogs",
        2,
        [0, 1],
        {1: 0, 2: 0},
    )
    truth = clip.truth(1)
    assert set(truth.masks) == {1, 2}
    everything = np.ones(SIZE, dtype=bool)
    mask, answer = truth.pair(2, everything)
    assert (mask == (later == 2)).all() and (answer == (later != 255)).all()


def test_davis_2016_writes_its_object_as_255(tmp_path):
    write_frame(tmp_path / "JPEGImages/480p/bear/00000.jpg")
    write_grey(tmp_path / "Annotations/480p/bear/00000.png", square(4, label=255))
    [clip] = find_clips(tmp_path)
    truth = clip.truth(0)
    assert clip.first_frames == {1: 0} and truth.undecided is None
    assert (truth.masks[1] == (square(4) > 0)).all()


def test_youtube_vos_names_every_fifth_frame_and_objects_come_later(tmp_path):
    labels = {0: square(4), 5: square(4), 10: square(4) | square(20, label=3)}
    write_clip(tmp_path, "JPEGImages", "Annotations", "0a49f5265b", labels, step=5)
    [clip] = find_clips(tmp_path)
    assert len(clip.frames) == 3 and list(clip.labels) == [0, 1, 2]
    assert clip.first_frames == {1: 0, 3: 2}


def test_lvos_has_long_names_that_begin_with_1_and_a_list_beside(tmp_path):
    split = tmp_path / "LVOS" / "valid"
    labels = {index: square(4) if index < 9 else square(20, label=2) for index in (1, 6, 11)}
    for index, map in labels.items():
        write_frame(split / f"JPEGImages/7K7WVzGG/{index:08d}.jpg")
        write_labels(split / f"Annotations/7K7WVzGG/{index:08d}.png", map)
    (split / "valid_meta.json").write_text('{"videos": {"7K7WVzGG": {"objects": {}}}}')
    [clip] = find_clips(split)
    assert (clip.name, len(clip.frames), clip.first_frames) == ("7K7WVzGG", 3, {1: 0, 2: 2})
    assert clip.annotated_frames(1) == [0, 1, 2] and not clip.truth(2).pair(1, np.ones(SIZE, bool))[0].any()
    assert [sample.name for sample in find_images(split)] == [
        f"valid/7K7WVzGG/{index:05d}" for index in range(3)
    ]


def test_sa_v_has_a_folder_for_each_object_and_every_fourth_frame(tmp_path):
    for index in range(9):
        write_frame(tmp_path / "JPEGImages_24fps/sav_1" / f"{index:05d}.jpg")
    for index in (0, 4, 8):
        write_grey(tmp_path / "Annotations_6fps/sav_1/000" / f"{index:05d}.png", square(4, label=1))
    for index in (4, 8):
        write_grey(tmp_path / "Annotations_6fps/sav_1/001" / f"{index:05d}.png", square(index, label=255))
    [clip] = find_clips(tmp_path)
    assert (clip.annotated_frames(1), clip.annotated_frames(2)) == ([0, 4, 8], [4, 8])
    assert clip.first_frames == {1: 0, 2: 4}
    assert (clip.truth(8).masks[2] == (square(8) > 0)).all()
    assert not clip.exclusive


def test_sa_v_trains_from_a_json_beside_each_video(tmp_path):
    for index in range(6):
        write_frame(tmp_path / "sav_000001" / f"{index:05d}.jpg")
    first, second, gone = (rle.encode(mask > 0) for mask in (square(4), square(12), square(0, label=0)))
    content = {"masklet_id": [0, 3], "masklet": [[first, gone], [gone, second]]}
    (tmp_path / "sav_000001_manual.json").write_text(json.dumps(content))
    [clip] = find_clips(tmp_path)
    assert (clip.name, len(clip.frames), clip.size) == ("sav_000001_manual", 6, SIZE)
    assert list(clip.labelled) == clip.annotated_frames(4) == [0, 4] and clip.annotated_frames(3) == []
    assert clip.first_frames == {1: 0, 4: 4}
    assert (clip.truth(4).masks[4] == (square(12) > 0)).all() and not clip.truth(4).masks[1].any()
    assert not clip.exclusive and clip.image(4).shape == (*SIZE, 3)
    assert pickle.loads(pickle.dumps(clip)).first_frames == clip.first_frames


def test_an_object_without_a_label_on_a_frame_is_not_there(tmp_path):
    write_clip(tmp_path, "JPEGImages", "Annotations", "gone", {0: square(4), 1: square(0, label=0)})
    [clip] = find_clips(tmp_path)
    truth, _ = clip.truth(1).pair(1, np.ones(SIZE, dtype=bool))
    assert not truth.any()


def test_flat_clips_come_in_order_of_name_or_as_asked(tmp_path):
    for name in ("bus", "bear"):
        write_frame(tmp_path / name / "frames/00000.jpg")
        write_labels(tmp_path / name / "masks/00000.png", square(4))
    assert [clip.name for clip in find_clips(tmp_path)] == ["bear", "bus"]
    assert [clip.name for clip in find_clips(tmp_path, ["bus"])] == ["bus"]
    with pytest.raises(MediaError, match=r"no clip cat\. It has bear, bus"):
        find_clips(tmp_path, ["cat"])


def test_frames_are_in_order_of_number_and_decoded_when_asked_for(tmp_path):
    for index in (2, 10, 1):
        write_frame(tmp_path / "a/frames" / f"{index}.png", np.full_like(GREY, index))
    write_labels(tmp_path / "a/masks/1.png", square(4))
    frames = find_clips(tmp_path)[0].frames
    assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert frames[0].shape == (*SIZE, 3)


def test_lists_of_names(tmp_path):
    plain, paths = tmp_path / "val.txt", tmp_path / "2016.txt"
    plain.write_text("bear\nbus\n\n")
    paths.write_text(
        "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n"
        "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00001.png\n"
        "/JPEGImages/480p/bus/00000.jpg /Annotations/480p/bus/00000.png\n"
    )
    assert read_names(plain) == read_names(paths) == ["bear", "bus"]
    plain.write_text("\ufeffmy clip\r\nclip (2)\r\n", encoding="utf-8", newline="")
    assert read_names(plain) == ["my clip", "clip (2)"], "not of the clips my and clip"
    plain.write_bytes(b"\xff\xfeb\0")
    with pytest.raises(MediaError, match="not UTF-8 text"):
        read_names(plain)
    with pytest.raises(MediaError, match=r"the list .* cannot be read"):
        read_names(tmp_path / "missing.txt")
    plain.write_text("\n")
    with pytest.raises(MediaError, match="is empty"):
        read_names(plain)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: (root / "b/frames/00000.jpg").write_bytes(b"no image"), "is not an image"),
        (lambda root: write_frame(root / "b/masks/00007.png"), "has no frame 00007"),
        (
            lambda root: write_frame(root / "b/masks/00000.png", RED),
            "not a mask or label map: it is in colour",
        ),
        (lambda root: write_labels(root / "b/masks/00000.png", square(4)[2:]), "its frame's size"),
        (lambda root: (root / "b/masks/00000.png").unlink(), "contains no images"),
        (lambda root: (root / "b/masks").rename(root / "b/elsewhere"), "contains no labelled videos"),
    ],
)
def test_damage_is_reported_in_one_sentence(tmp_path, damage, says):
    write_frame(tmp_path / "b/frames/00000.jpg")
    write_labels(tmp_path / "b/masks/00000.png", square(4))
    damage(tmp_path)
    with pytest.raises(MediaError, match=says):
        [clip] = find_clips(tmp_path)
        clip.truth(0)
        clip.frames[0]


OUTLINE = " ".join(
    f"{x} {y}" for x, y in ((18 / W, 4 / H), (30 / W, 4 / H), (30 / W, 16 / H), (18 / W, 16 / H))
)


@pytest.mark.parametrize(
    ("write", "names", "objects"),
    [
        (made.write_coco, ["set/1.png", "set/2.png"], [2, 1]),
        (lambda root: made.write_coco(root, "images", "result.json"), ["set/1.png", "set/2.png"], [2, 1]),
        (lambda root: made.write_yolo(root, f"0 {OUTLINE}"), ["set/train/a"], [1]),
        (made.write_sa1b, ["set/sa_7"], [1]),
        (made.write_masked, ["set/a", "set/b"], [2, 2]),
        (
            lambda root: made.write_video(root, "JPEGImages/480p", "Annotations/480p", apart=False),
            ["set/clip/00000", "set/clip/00001"],
            [2, 1],
        ),
    ],
    ids=["COCO", "Label Studio", "YOLO", "SA-1B", "masks", "DAVIS"],
)
def test_images_come_in_every_form_that_training_reads(tmp_path, write, names, objects):
    write(tmp_path / "sets" / "set")
    for root in (tmp_path / "sets", tmp_path / "sets" / "set"):
        samples = find_images(root)
        assert [sample.name for sample in samples] == names
        for sample, count in zip(samples, objects, strict=True):
            image, masks = pickle.loads(pickle.dumps(sample)).read()  # as between processes
            assert (image == sample.image()).all() and image.shape == (H, W, 3)
            assert sum(mask.any() for mask in masks.values()) == count
            assert all(
                made.close(mask, LEFT) or made.close(mask, RIGHT) for mask in masks.values() if mask.any()
            )
    assert [sample.name for sample in find_images(tmp_path / "sets", names[:1])] == names[:1]


def test_an_image_that_is_not_there_is_named(tmp_path):
    made.write_sa1b(tmp_path / "set")
    with pytest.raises(MediaError, match=r"no image dogs/a.jpg: names are SET/FILE, as in set/sa_7"):
        find_images(tmp_path, ["dogs/a.jpg"])


def test_images_and_clips_of_one_name_are_all_there(tmp_path):
    for name in ("1.jpg", "1.png", "2.png"):
        write_frame(tmp_path / "set/images" / name)
    for name in ("1.png", "2.png"):
        write_labels(tmp_path / "set/masks" / name, square(4))
    with pytest.raises(MediaError, match="may belong to either"):
        find_images(tmp_path / "set")
    (tmp_path / "set/masks/1.png").rename(tmp_path / "set/masks/1.jpg.png")
    write_labels(tmp_path / "set/masks/1.png.png", square(4))
    assert [image.name for image in find_images(tmp_path / "set")] == ["set/1.jpg", "set/1.png", "set/2"]
    code = rle.encode(square(4) > 0)
    labels = {"masklet_id": [1], "masklet": [[code]], "video_frame_count": 1, "masklet_frame_step": 1}
    for run in ("first", "second"):
        write_frame(tmp_path / "runs" / run / "clip/frames/0.png")
        (tmp_path / "runs" / run / "clip/sav.json").write_text(json.dumps(labels))
    clips = find_clips(tmp_path / "runs")
    assert [clip.name for clip in clips] == ["clip", "clip (2)"]
    assert {clip.labels.parent.parent.name for clip in clips} == {"first", "second"}
