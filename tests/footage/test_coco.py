"""COCO in the layouts of common tools: the same pictures, objects and masks, whoever wrote them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from footage.made import LEFT, RIGHT, H, W, close, only_masks, write_coco
from masklet.errors import MediaError
from masklet.footage import coco


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
