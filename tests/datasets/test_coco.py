"""COCO in the layouts of common tools: the same pictures, objects and masks, whoever wrote them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from footage.exports import Scene, write_cvat, write_label_studio
from footage.made import LEFT, RIGHT, H, W, close, only_masks, write_coco
from PIL import Image

from masklet.datasets import coco, find
from masklet.errors import MediaError


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


def scenes(count: int) -> list[Scene]:
    return [(np.full((H, W, 3), 20 * number, dtype=np.uint8), LEFT) for number in range(count)]


def test_an_export_of_cvat(tmp_path: Path) -> None:
    write_cvat(tmp_path / "task", scenes(3))
    found = find(tmp_path / "task")
    assert [each.name for each in found] == [f"task/upload/frame_{number:06}.png" for number in (1, 2, 3)]
    for number, each in enumerate(found):
        (mask,) = only_masks(each)  # the rectangle is none
        assert close(mask, LEFT)
        assert (each.open().image(0) == 20 * number).all()


def test_an_export_of_label_studio(tmp_path: Path) -> None:
    write_label_studio(tmp_path / "project", scenes(3))
    found = find(tmp_path / "project")
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
    first, _ = find(tmp_path / "set")
    assert first.open().image(0)[0, 0].tolist() == [200, 0, 0]
    assert ".." not in first.name and "//" not in first.name


def test_an_export_without_pictures_is_told_where_they_belong(tmp_path: Path) -> None:
    write_cvat(tmp_path / "task", scenes(2))
    shutil.rmtree(tmp_path / "task" / "images")
    with pytest.raises(
        MediaError, match=r"2 pictures, .*frame_000001.png, .*images/default. Export with pic"
    ):
        find(tmp_path / "task")


def test_parts_of_a_project_are_not_mixed(tmp_path: Path) -> None:
    write_cvat(tmp_path / "task", scenes(2))
    labels = tmp_path / "task" / "annotations" / "instances_default.json"
    for part in ("Train", "Validation"):
        shutil.copy(labels, labels.with_name(f"instances_{part}.json"))
        shutil.copytree(tmp_path / "task" / "images" / "default", tmp_path / "task" / "images" / part)
    labels.unlink()
    with pytest.raises(MediaError, match=r"several sets of labels: .*Train.json, .*Give the one"):
        find(tmp_path / "task")
    assert len(find(labels.with_name("instances_Train.json"))) == 2
    labels.with_name("captions_Train.json").write_text("{}")
    labels.with_name("instances_Validation.json").unlink()
    assert len(find(tmp_path / "task")) == 2


def test_a_line_is_no_object(tmp_path: Path) -> None:
    """pycocotools takes an outline of two points for a box."""
    write_coco(tmp_path / "set")
    path = tmp_path / "set" / "instances.json"
    said = json.loads(path.read_text())
    said["annotations"][1]["segmentation"] = [[18, 4, 30, 4]]
    path.write_text(json.dumps(said))
    left, line = only_masks(coco(tmp_path / "set")[0])
    assert (left == LEFT).all() and not line.any()


def test_a_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('[{"id": 1, "annotations": []}]')  # Label Studio's own JSON
    with pytest.raises(MediaError, match="is no COCO file"):
        find(tmp_path)
