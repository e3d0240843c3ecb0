"""Every form of data set, written small and read back: the same pictures, objects and masks."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from masklet import rle
from masklet.errors import MediaError
from masklet.train.readers import Footage, coco, find, masked, pngs, sa1b, sav, yolo

H, W = 24, 32


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


LEFT, RIGHT = box(2, 4, 12, 20), box(18, 4, 30, 16)


def write_picture(path: Path, red: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((H, W, 3), (red, 0, 0), dtype=np.uint8)).save(path)


def write_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8), mode="P")
    picture.putpalette([value for colour in range(256) for value in (colour, 0, 255 - colour)])
    picture.save(path)


def write_coco(root: Path, images: str = "", index: str = "instances.json") -> None:
    for number in (1, 2, 3):
        write_picture(root / images / f"{number}.png")
    annotations = [
        {"id": 10, "image_id": 1, "segmentation": rle.encode(LEFT), "iscrowd": 0},
        {"id": 11, "image_id": 1, "segmentation": [[18, 4, 30, 4, 30, 16, 18, 16]]},
        {"id": 12, "image_id": 2, "segmentation": {"size": [H, W], "counts": uncompressed(RIGHT)}},
        {"id": 13, "image_id": 2, "segmentation": rle.encode(~RIGHT), "iscrowd": 1},
        {"id": 14, "image_id": 2, "segmentation": []},
    ]
    pictures = [{"id": number, "file_name": f"{number}.png", "height": H, "width": W} for number in (1, 2, 3)]
    (root / index).parent.mkdir(parents=True, exist_ok=True)
    (root / index).write_text(json.dumps({"images": pictures, "annotations": annotations, "categories": []}))


def uncompressed(mask: np.ndarray) -> list[int]:
    """COCO's run lengths: down the columns, beginning with a run outside the mask."""
    flat = mask.flatten(order="F").astype(int)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], ends])).tolist()


def only_masks(footage: Footage, frame: int = 0) -> list[np.ndarray]:
    reel = footage.open()
    return list(reel.masks(frame, reel.objects(frame)))


def close(mask: np.ndarray, truth: np.ndarray) -> bool:
    """Outlines become pixels by rules that differ along the edge."""
    return (
        not (mask & ~cv2.dilate(truth.view(np.uint8), np.ones((3, 3))).view(bool)).any()
        and not (truth & ~cv2.dilate(mask.view(np.uint8), np.ones((3, 3))).view(bool)).any()
    )


@pytest.mark.parametrize(
    ("images", "index"),
    [
        ("", "instances.json"),
        ("images", "result.json"),
        ("images", "annotations/instances_default.json"),
        ("train2017", "annotations/instances_train2017.json"),
        ("", "_annotations.coco.json"),
    ],
)
def test_coco_in_the_layouts_of_common_tools(tmp_path: Path, images: str, index: str) -> None:
    write_coco(tmp_path / "set", images, index)
    first, second = coco(tmp_path / "set")
    assert first.name == "set/1.png" and second.name == "set/2.png"  # the third has no labels
    assert first.open().objects(0) == [10, 11] and second.open().objects(0) == [12]
    left, right = only_masks(first)
    assert (left == LEFT).all() and close(right, RIGHT)
    assert (only_masks(second)[0] == RIGHT).all()
    assert first.open().image(0)[0, 0].tolist() == [200, 0, 0]
    assert [each.name for each in coco(tmp_path / "set" / index)] == ["set/1.png", "set/2.png"]


def test_masks_brushed_in_cvat_are_no_crowds(tmp_path: Path) -> None:
    """CVAT writes a mask as run lengths with iscrowd 1, and attributes beside it; COCO's crowds have none."""
    write_coco(tmp_path / "set")
    path = tmp_path / "set" / "instances.json"
    said = json.loads(path.read_text())
    for each in said["annotations"]:
        each["iscrowd"] = 1
    path.write_text(json.dumps(said))
    with pytest.raises(MediaError, match="5 annotations, and none is a polygon or a mask of one object"):
        coco(tmp_path / "set")
    for each in said["annotations"]:
        each["attributes"] = {"occluded": False}
    path.write_text(json.dumps(said))
    assert len(coco(tmp_path / "set")) == 2


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "set")
    Image.new("RGB", (W // 2, H // 2)).save(tmp_path / "set" / "1.png")
    with pytest.raises(MediaError, match=r"1.png .*without their labels"):
        only_masks(coco(tmp_path / "set")[0])


def test_sa1b(tmp_path: Path) -> None:
    write_picture(tmp_path / "sa" / "sa_7.jpg")
    said = {"image": {}, "annotations": [{"id": 5, "segmentation": rle.encode(LEFT)}]}
    (tmp_path / "sa" / "sa_7.json").write_text(json.dumps(said))
    (only,) = sa1b(tmp_path / "sa")
    assert only.name == "sa/sa_7" and only.open().objects(0) == [5] and (only_masks(only)[0] == LEFT).all()


def write_yolo(root: Path, line: str) -> None:
    write_picture(root / "images" / "train" / "a.png")
    label = root / "labels" / "train" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text(line)


def test_yolo(tmp_path: Path) -> None:
    corners = [(18, 4), (30, 4), (30, 16), (18, 16)]
    outline = " ".join(f"{x / W} {y / H}" for x, y in corners)
    write_yolo(tmp_path / "set", f"0 {outline}\n\n")
    write_picture(tmp_path / "set" / "images" / "unlabelled.png")
    (only,) = yolo(tmp_path / "set")
    assert only.name == "set/train/a" and close(only_masks(only)[0], RIGHT)


@pytest.mark.parametrize(
    ("line", "words"),
    [("0 0.5 0.5 0.2 0.2", "boxes"), ("0 a b", "numbers"), ("0 0.1 0.1 0.2 0.2 0.3", "Got 5")],
)
def test_yolo_labels_without_outlines_are_refused_by_line(tmp_path: Path, line: str, words: str) -> None:
    write_yolo(tmp_path / "set", f"\n{line}")
    with pytest.raises(MediaError, match=rf"a.txt:2 .*{words}"):
        yolo(tmp_path / "set")[0].open()


def test_pictures_with_masks_beside_them(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in "ab":
        write_picture(root / "images" / f"{name}.jpg")
    write_picture(root / "images" / "none.jpg")
    write_labels(root / "masks" / "a.png", LEFT * 3 + RIGHT * 200)
    for name, mask in (("dog", LEFT), ("cat", RIGHT)):
        (root / "masks" / "b").mkdir(exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / "b" / f"{name}.png")
    first, second = masked(root)
    assert first.open().objects(0) == [3, 200]
    assert (only_masks(first)[0] == LEFT).all() and (only_masks(first)[1] == RIGHT).all()
    assert (only_masks(second)[0] == RIGHT).all() and (only_masks(second)[1] == LEFT).all()  # cat, dog


def write_video(root: Path, frames: str, masks: str, apart: bool) -> None:
    """Four frames, of which the first and third are labelled; object 2 is gone on the third."""
    for frame in range(4):
        write_picture(root / frames / "clip" / f"{frame:05}.jpg", red=50 * frame)
    for frame, right in ((0, RIGHT), (2, np.zeros_like(RIGHT))):
        if not apart:
            write_labels(root / masks / "clip" / f"{frame:05}.png", LEFT * 1 + right * 2)
            continue
        for id, mask in ((1, LEFT), (2, right)):
            if mask.any():
                write_labels(root / masks / "clip" / f"{id:03}" / f"{frame:05}.png", mask)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("frames", "masks"),
    [
        ("JPEGImages/480p", "Annotations/480p"),
        ("JPEGImages", "Annotations"),
        ("JPEGImages_24fps", "Annotations_6fps"),
    ],
)
def test_videos_with_png_masks(tmp_path: Path, frames: str, masks: str, apart: bool) -> None:
    write_video(tmp_path / "davis", frames, masks, apart)
    (clip,) = pngs(tmp_path / "davis")
    reel = clip.open()
    assert clip.name == "davis/clip" and len(reel) == 2 and list(reel.objects(0)) == [1, 2]
    assert abs(int(reel.image(1)[0, 0, 0]) - 100) < 4  # frame 2 of the video
    assert (reel.masks(0, [2, 1]) == [RIGHT, LEFT]).all()
    gone, there = reel.masks(1, [2, 1])
    assert not gone.any() and (there == LEFT).all()


def test_white_is_an_object_only_where_it_is_alone(tmp_path: Path) -> None:
    for name, labels in (("alone", LEFT * 255), ("void", LEFT * 1 + RIGHT * 255)):
        write_picture(tmp_path / name / "frames" / "00000.jpg")
        write_labels(tmp_path / name / "masks" / "00000.png", labels)
    alone, void = pngs(tmp_path)
    assert alone.open().objects(0) == [255] and void.open().objects(0) == [1]


def test_sav_from_a_video_and_from_frames(tmp_path: Path) -> None:
    empty = np.zeros((H, W), dtype=bool)
    said = {
        "masklet_id": [0, 3],
        "masklet": [[rle.encode(LEFT), rle.encode(RIGHT)], [rle.encode(RIGHT), rle.encode(empty)]],
    }
    root = tmp_path / "sav"
    root.mkdir()
    for name in ("one_manual", "two_auto"):
        (root / f"{name}.json").write_text(json.dumps(said))
    with av.open(str(root / "one.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=24, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for frame in range(6):
            image = np.full((H, W, 3), (40 * frame, 0, 0), dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    for frame in range(6):
        write_picture(root / "two" / f"{frame:05}.jpg", red=40 * frame)
    footage = sav(root)
    assert sorted(each.name for each in footage) == ["sav/one_manual", "sav/two_auto"]
    for each in footage:
        reel = each.open()
        assert len(reel) == 2 and list(reel.objects(0)) == [0, 3]
        assert abs(int(reel.image(1)[..., 0].mean()) - 160) < 8  # every fourth frame is labelled
        assert (reel.masks(0, [3, 0]) == [RIGHT, LEFT]).all()
        assert (reel.masks(1, [0, 3]) == [RIGHT, empty]).all()


def test_find_knows_each_form(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    write_coco(tmp_path / "cvat", "images", "annotations/instances_default.json")
    write_yolo(tmp_path / "yolo", "0 0.1 0.1 0.5 0.1 0.5 0.5")
    write_video(tmp_path / "davis", "JPEGImages", "Annotations", apart=False)
    write_picture(tmp_path / "plain" / "images" / "a.png")
    write_labels(tmp_path / "plain" / "masks" / "a.png", LEFT)
    write_picture(tmp_path / "sa1b" / "sa_000000" / "sa_1.jpg")
    (tmp_path / "sa1b" / "sa_000000" / "sa_1.json").write_text(
        json.dumps({"annotations": [{"id": 1, "segmentation": rle.encode(LEFT)}]})
    )
    for name in ("coco", "cvat", "yolo", "davis", "plain", "sa1b"):
        assert only_masks(find(tmp_path / name)[0]), name


@pytest.mark.parametrize("form", [coco, find, masked, pngs, sa1b, sav, yolo])
def test_a_folder_without_data_says_what_was_expected(
    tmp_path: Path, form: Callable[[Path], list[Footage]]
) -> None:
    with pytest.raises(MediaError, match=r"holds no"):
        form(tmp_path)


def test_broken_labels_are_named(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(MediaError, match=r"instances.json cannot be read as JSON"):
        find(tmp_path)
    write_video(tmp_path / "davis", "JPEGImages", "Annotations", apart=False)
    label = tmp_path / "davis" / "Annotations" / "clip" / "00000.png"
    label.write_bytes(b"broken")
    with pytest.raises(MediaError, match=r"00000.png cannot be read as a mask"):
        only_masks(pngs(tmp_path / "davis")[0])
