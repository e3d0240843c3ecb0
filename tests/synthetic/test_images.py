"""Images come out of a COCO folder as they went in, and out of the cache as they came out of the folder."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from masklet import rle
from masklet.errors import MediaError
from masklet.synthetic.assets import hold_back_images, is_for_validation, load_images, pack_image

# A change here would train on what has been measured on.
PINNED = ["set/00013.jpg", "set/00015.jpg", "set/00042.jpg", "set/00045.jpg", "set/00055.jpg"]


def write_set(folder: Path, count: int = 3) -> None:
    """Images of 40 x 60 with a rectangle as RLE, a triangle as polygon, a speck and a crowd."""
    folder.mkdir()
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 20:50] = True
    speck = np.zeros_like(mask)
    speck[0, 0] = True
    images, annotations = [], []
    for number in range(1, count + 1):
        name = f"{number:05}.png"
        cv2.imwrite(str(folder / name), np.full((40, 60, 3), (0, 0, 40 * number), dtype=np.uint8))  # BGR: red
        images.append({"id": number, "file_name": name, "width": 60, "height": 40})
        for segmentation, crowd in (
            (rle.encode(mask), 0),
            ([[5, 5, 25, 5, 5, 25]], 0),
            (rle.encode(speck), 0),
            (rle.encode(~mask), 1),
        ):
            annotations.append({"image_id": number, "segmentation": segmentation, "iscrowd": crowd})
    said = {"images": images, "annotations": annotations, "categories": []}
    (folder / "instances.json").write_text(json.dumps(said))


def test_a_coco_folder_gives_red_images_and_its_two_usable_masks(tmp_path: Path) -> None:
    write_set(tmp_path / "reds")
    images = load_images([tmp_path / "reds"], tmp_path / "cache")
    assert [each.name for each in images] == ["reds/00001.png", "reds/00002.png", "reds/00003.png"]
    assert images[1].pixels[0, 0].tolist() == [80, 0, 0]
    assert len(images[0]) == 2 and images[0].boxes[0] == (20, 10, 50, 30)
    assert images[0].mask(0).sum() == 600 and images[0].cropped_mask(0).all()
    assert images[0].mask(1).sum() == pytest.approx(200, abs=25)  # the triangle


def test_large_images_are_shrunk_with_their_masks(tmp_path: Path) -> None:
    write_set(tmp_path / "reds")
    image = load_images([tmp_path / "reds"], tmp_path / "cache", max_side=30)[0]
    assert image.pixels.shape == (20, 30, 3) and image.boxes[0] == (10, 5, 25, 15)


def test_the_cache_gives_back_what_was_packed_and_is_read_the_second_time(tmp_path: Path) -> None:
    write_set(tmp_path / "reds")
    first = load_images([tmp_path / "reds"], tmp_path / "cache")
    (tmp_path / "reds" / "00001.png").unlink()
    second = load_images([tmp_path / "reds"], tmp_path / "cache")
    for one, two in zip(first, second, strict=True):
        assert one.name == two.name and one.boxes == two.boxes and (one.pixels == two.pixels).all()
        assert all((one.mask(index) == two.mask(index)).all() for index in range(len(one)))


def test_a_set_that_changed_is_packed_anew(tmp_path: Path) -> None:
    write_set(tmp_path / "reds")
    assert len(load_images([tmp_path / "reds"], tmp_path / "cache")) == 3
    shutil.rmtree(tmp_path / "reds")
    write_set(tmp_path / "reds", count=4)
    assert len(load_images([tmp_path / "reds"], tmp_path / "cache")) == 4


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_set(tmp_path / "reds")
    (tmp_path / "reds" / "00002.png").write_bytes(b"not an image")
    with pytest.raises(MediaError, match=r"00002.png"):
        load_images([tmp_path / "reds"], tmp_path / "cache")


def test_a_fixed_share_is_held_back() -> None:
    names = [f"set/{number:05}.jpg" for number in range(2000)]
    share = np.mean([is_for_validation(name) for name in names])
    assert 0.06 < share < 0.1
    pinned = [name for name in names[:60] if is_for_validation(name)]
    assert pinned == PINNED
    blank, mask = np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)
    images = [pack_image(name, blank, [mask]) for name in names[:60]]
    train, held = hold_back_images(images)
    assert [each.name for each in held] == PINNED and len(train) + len(held) == 60
