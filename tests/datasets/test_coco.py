"""COCO in the layouts of common tools: the same images, objects and masks, whoever wrote them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.exports import Scene, write_cvat, write_label_studio
from datasets.made import LEFT, RIGHT, H, W, close, only_masks, write_coco
from masklet import rle
from masklet.datasets import find_items, read_coco
from masklet.errors import MediaError
from masklet.media.annotations import read_annotations
from masklet.media.annotations.coco import CocoFile


@pytest.mark.parametrize(
    ("images", "index"),
    [
        ("", "instances.json"),
        ("images", "result.json"),
        ("images", "annotations/instances_default.json"),
        ("train2017", "annotations/instances_train2017.json"),
        ("", "_annotations.coco.json"),
        ("data", "labels.json"),  # FiftyOne's
        ("frames", "coco.json"),  # masklet's own
    ],
)
def test_coco_in_the_layouts_of_common_tools(tmp_path: Path, images: str, index: str) -> None:
    write_coco(tmp_path / "set", images, index)
    first, second = read_coco(tmp_path / "set")
    assert first.name == "set/1.png" and second.name == "set/2.png"  # the third has no labels
    assert first.open().objects(0) == [10, 11] and second.open().objects(0) == [12]
    left, right = only_masks(first)
    assert (left == LEFT).all() and close(right, RIGHT)
    assert (only_masks(second)[0] == RIGHT).all()
    assert first.open().image(0)[0, 0].tolist() == [200, 0, 0]
    assert [each.name for each in read_coco(tmp_path / "set" / index)] == ["set/1.png", "set/2.png"]


def test_masks_brushed_in_cvat_are_no_crowds(tmp_path: Path) -> None:
    """CVAT writes a mask as run lengths with iscrowd 1, and attributes beside it; COCO's crowds have none."""
    write_coco(tmp_path / "set")
    path = tmp_path / "set" / "instances.json"
    said = json.loads(path.read_text())
    for each in said["annotations"]:
        each["iscrowd"] = 1
    path.write_text(json.dumps(said))
    with pytest.raises(MediaError, match="5 annotations, but none is a polygon or a mask of one object"):
        read_coco(tmp_path / "set")
    for each in said["annotations"]:
        each["attributes"] = {"occluded": False}
    path.write_text(json.dumps(said))
    assert len(read_coco(tmp_path / "set")) == 2


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "set")
    Image.new("RGB", (W // 2, H // 2)).save(tmp_path / "set" / "1.png")
    with pytest.raises(MediaError, match=r"1.png.*without their labels"):
        only_masks(read_coco(tmp_path / "set")[0])


def scenes(count: int) -> list[Scene]:
    return [(np.full((H, W, 3), 20 * number, dtype=np.uint8), LEFT) for number in range(count)]


def test_an_export_of_cvat(tmp_path: Path) -> None:
    write_cvat(tmp_path / "task", scenes(3))
    found = find_items(tmp_path / "task")
    assert [each.name for each in found] == [f"task/upload/frame_{number:06}.png" for number in (1, 2, 3)]
    for number, each in enumerate(found):
        (mask,) = only_masks(each)  # the rectangle is none
        assert close(mask, LEFT)
        assert (each.open().image(0) == 20 * number).all()


def test_an_export_of_label_studio(tmp_path: Path) -> None:
    write_label_studio(tmp_path / "project", scenes(3))
    found = find_items(tmp_path / "project")
    assert [each.name for each in found] == [
        "project/images/00000000-photo_0.png",
        "project/images/00000001-photo_1.png",
    ]
    for number, each in enumerate(found):
        (mask,) = only_masks(each)
        assert close(mask, LEFT)
        assert (each.open().image(0) == 20 * number).all()


@pytest.mark.parametrize("name", [r"images\\1.png", "../../media/upload/7/1.png", "/data/upload/7/1.png"])
def test_names_from_another_machine_lead_into_the_folder(tmp_path: Path, name: str) -> None:
    write_coco(tmp_path / "set", "images", "result.json")
    path = tmp_path / "set" / "result.json"
    path.write_text(path.read_text().replace('"1.png"', f'"{name}"'))
    first, _ = find_items(tmp_path / "set")
    assert first.open().image(0)[0, 0].tolist() == [200, 0, 0]
    assert ".." not in first.name and "//" not in first.name


def test_an_export_without_images_is_told_where_they_belong(tmp_path: Path) -> None:
    write_cvat(tmp_path / "task", scenes(2))
    shutil.rmtree(tmp_path / "task" / "images")
    with pytest.raises(
        MediaError, match=r"2 images, .*frame_000001.png, .*images/default. Export with images"
    ):
        find_items(tmp_path / "task")


def test_parts_of_a_project_are_not_mixed(tmp_path: Path) -> None:
    write_cvat(tmp_path / "task", scenes(2))
    labels = tmp_path / "task" / "annotations" / "instances_default.json"
    for part in ("Train", "Validation"):
        shutil.copy(labels, labels.with_name(f"instances_{part}.json"))
        shutil.copytree(tmp_path / "task" / "images" / "default", tmp_path / "task" / "images" / part)
    labels.unlink()
    with pytest.raises(MediaError, match=r"several sets of labels: .*Train.json, .*Pass one of them"):
        find_items(tmp_path / "task")
    assert len(find_items(labels.with_name("instances_Train.json"))) == 2
    labels.with_name("captions_Train.json").write_text("{}")
    labels.with_name("instances_Validation.json").unlink()
    assert len(find_items(tmp_path / "task")) == 2


def test_a_line_is_no_object(tmp_path: Path) -> None:
    """pycocotools takes an outline of two points for a box."""
    write_coco(tmp_path / "set")
    path = tmp_path / "set" / "instances.json"
    said = json.loads(path.read_text())
    said["annotations"][1]["segmentation"] = [[18, 4, 30, 4]]
    path.write_text(json.dumps(said))
    (left,) = only_masks(read_coco(tmp_path / "set")[0])
    assert (left == LEFT).all()


def test_a_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('[{"id": 1, "annotations": []}]')  # Label Studio's own JSON
    with pytest.raises(MediaError, match="is not a COCO file"):
        find_items(tmp_path)


def write_annotations(folder: Path, annotations: list[dict[str, Any]], bom: str = "") -> Path:
    """One image of (H, W) with these annotations; fields that they lack are filled in."""
    (folder / "annotations").mkdir(parents=True)
    Image.new("RGB", (W, H)).save(folder / "1.png")
    complete = [{"id": number, "image_id": 1, **entry} for number, entry in enumerate(annotations, 1)]
    content = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": complete}
    path = folder / "annotations" / "instances_default.json"
    path.write_text(bom + json.dumps(content), encoding="utf-8")
    return folder


SQUARE = [4, 4, 12, 4, 12, 12, 4, 12]


@pytest.mark.parametrize(
    "annotation",
    [
        {"segmentation": SQUARE},
        {"segmentation": [SQUARE]},
        {"segmentation": [[[4, 4], [12, 4], [12, 12], [4, 12]]]},
        {"segmentation": [SQUARE, [1.0, 1.0]]},
        {"segmentation": [SQUARE], "image_id": "1"},
        {"segmentation": [SQUARE], "bbox": None, "iscrowd": None},
        {"segmentation": [SQUARE], "bbox": [5, 5, 0, 9]},
        {"segmentation": {"size": [H, W], "counts": str(rle.encode(LEFT)["counts"].encode())}},
        {"segmentation": rle.encode(LEFT), "id": "a1"},
    ],
    ids=lambda annotation: json.dumps(annotation)[:60],
)
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["", "bom"])
def test_what_is_clear_is_read(tmp_path: Path, annotation: dict[str, Any], bom: str) -> None:
    (item,) = find_items(write_annotations(tmp_path / "set", [annotation], bom))
    (mask,) = only_masks(item)
    assert mask.any()


UNCLEAR = [
    {"segmentation": [[128.0, 128.0]]},
    {"segmentation": "abc"},
    {"segmentation": {"size": [H, W], "counts": "b'abc'"}},
    {"segmentation": {"size": [H, W], "counts": [5]}},
    {"segmentation": {"size": [10**9, 10**9], "counts": "0"}},
    {"segmentation": [[2**31, 0, 5, 5, 0, 5]]},
    {"segmentation": [[float("nan"), 0, 5, 5, 0, 5]]},
    {"bbox": [4, 4, 8, 8]},
    {"bbox": None},
    {},
    {"segmentation": [SQUARE], "image_id": 7},
    {"segmentation": [SQUARE], "image_id": None},
]


@pytest.mark.parametrize("annotation", UNCLEAR, ids=lambda annotation: json.dumps(annotation)[:60])
def test_one_unclear_entry_costs_no_other(tmp_path: Path, annotation: dict[str, Any]) -> None:
    (item,) = find_items(write_annotations(tmp_path / "set", [annotation, {"segmentation": [SQUARE]}]))
    assert len(only_masks(item)) == 1


@pytest.mark.parametrize("annotation", UNCLEAR, ids=lambda annotation: json.dumps(annotation)[:60])
def test_unclear_entries_alone_are_a_sentence(tmp_path: Path, annotation: dict[str, Any]) -> None:
    with pytest.raises(MediaError):
        only_masks(find_items(write_annotations(tmp_path / "set", [annotation]))[0])


def test_two_objects_under_one_id_are_two(tmp_path: Path) -> None:
    other = [16, 2, 20, 2, 20, 8]
    annotations = [{"id": 1, "segmentation": [SQUARE]}, {"id": 1, "segmentation": [other]}]
    (item,) = find_items(write_annotations(tmp_path / "set", annotations))
    first, second = only_masks(item)
    assert first.any() and second.any() and not (first & second).any()


def test_what_is_left_out_is_logged_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_annotations(tmp_path / "set", [{"segmentation": [SQUARE]}, {"bbox": [1, 1, 0, 5], "id": "x7"}])
    find_items(tmp_path / "set")
    assert "annotation x7: bbox must have a width and height above 0. Got 0 x 5" in caplog.text


def edit_index(folder: Path, **image: Any) -> None:
    """Change the first image's entry."""
    (path,) = folder.rglob("*.json")
    content = json.loads(path.read_text())
    content["images"][0].update(image)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ([1000, 1000, 1100, 1000, 1100, 1100], "covers no pixel"),
        ([0.1, 0.1, 0.4, 0.1, 0.4, 0.4], "covers no pixel"),
        ([0, 0, 2**31, 0, 2**31, 2**31], "must be near its image"),
    ],
)
def test_an_outline_that_covers_nothing_is_no_object(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, outline: list[float], reason: str
) -> None:
    annotations = [{"segmentation": [SQUARE]}, {"segmentation": [outline]}]
    (item,) = find_items(write_annotations(tmp_path / "set", annotations))
    assert len(only_masks(item)) == 1 and reason in caplog.text


@pytest.mark.parametrize(("width", "height", "cause"), [(2 * W, 2 * H, "resized"), (H, W, "turned")])
def test_outlines_of_another_size_are_refused(tmp_path: Path, width: int, height: int, cause: str) -> None:
    """Outlines have no size of their own: only the image's entry says that they are of another image."""
    write_annotations(tmp_path / "set", [{"segmentation": [SQUARE]}])
    edit_index(tmp_path / "set", width=width, height=height)
    with pytest.raises(MediaError, match=f"images {cause} without their labels"):
        only_masks(find_items(tmp_path / "set")[0])
    for size in ({"width": W + 1, "height": H}, {"width": 0, "height": 0}, {"width": None, "height": "x"}):
        edit_index(tmp_path / "set", **size)
        assert only_masks(find_items(tmp_path / "set")[0])


def test_two_images_of_one_name_never_share_a_file(tmp_path: Path) -> None:
    """An image is also found by the last part of its name, but only where that is of one image."""
    write_annotations(tmp_path / "set", [{"segmentation": [SQUARE]}])
    (path,) = (tmp_path / "set").rglob("*.json")
    content = json.loads(path.read_text())
    name = content["images"][0]["file_name"]
    content["images"] = [{"id": 1, "file_name": f"x/{name}"}, {"id": 2, "file_name": f"y/{name}"}]
    content["annotations"].append({**content["annotations"][0], "image_id": 2})
    path.write_text(json.dumps(content))
    with pytest.raises(MediaError, match="none of them is in"):
        find_items(tmp_path / "set")


@pytest.mark.parametrize("name", ["a" * 5000 + ".png", "\0.png", "\ud800.png", ""])
def test_a_name_that_no_file_can_have_is_a_sentence(tmp_path: Path, name: str) -> None:
    write_annotations(tmp_path / "set", [{"segmentation": [SQUARE]}])
    edit_index(tmp_path / "set", file_name=name)
    with pytest.raises(MediaError, match="none of them is in"):
        find_items(tmp_path / "set")


@pytest.mark.parametrize("crowd", ["0", "false", False, None, 0.0])
def test_no_crowd_in_every_way_of_writing_it(tmp_path: Path, crowd: object) -> None:
    (item,) = find_items(write_annotations(tmp_path / "set", [{"segmentation": [SQUARE], "iscrowd": crowd}]))
    assert len(only_masks(item)) == 1


@pytest.mark.parametrize("form", [int, float, str])
def test_numbers_in_any_form_are_the_same(tmp_path: Path, form: type) -> None:
    """Tables make 1.0 of 1 where a column has gaps: neither class nor track nor size may get lost."""
    image = {"id": 0, "file_name": "a.png", "width": form(W), "height": form(H), "frame_index": form(7)}
    entry = {"image_id": form(0), "segmentation": [SQUARE], "category_id": 3, "track_id": form(5)}
    categories = [{"id": form(3), "name": "dog"}]
    coco = {"images": [image], "annotations": [entry], "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    file = CocoFile.read(tmp_path / "coco.json")
    assert (file.images[0].size, file.images[0].frame) == ((H, W), 7)
    ((annotation,),) = file.annotations.values()
    assert (annotation.category, annotation.object) == ("dog", "5")
    video = {"id": 1, "file_names": ["a.png"], "width": W, "height": H}
    entry = {"video_id": form(1), "category_id": 3, "segmentations": [rle.encode(LEFT)]}
    vis = {"videos": [video], "annotations": [entry], "categories": categories}
    (tmp_path / "vis.json").write_text(json.dumps(vis))
    (read,) = read_annotations(tmp_path / "vis.json", "vis.json")
    assert not read.skipped and list(read.labels) == ["dog"]
    assert [annotation.label for annotation in read.annotations] == ["dog"]
