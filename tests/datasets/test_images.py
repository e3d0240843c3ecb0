"""Images with labels beside them, written small and read back; and the forms that `find_items` knows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.made import (
    LEFT,
    RIGHT,
    H,
    W,
    close,
    only_masks,
    write_coco,
    write_image,
    write_masked,
    write_sa1b,
    write_video,
    write_yolo,
)
from masklet import rle
from masklet.datasets import (
    DatasetItem,
    find_items,
    read_coco,
    read_mask_files,
    read_png_videos,
    read_sa1b,
    read_sav,
    read_yolo,
)
from masklet.errors import MediaError
from masklet.types import Masks


def test_sa1b(tmp_path: Path) -> None:
    write_sa1b(tmp_path / "sa")
    (only,) = read_sa1b(tmp_path / "sa")
    assert only.name == "sa/sa_7" and only.open().objects(0) == [5] and (only_masks(only)[0] == LEFT).all()


def test_yolo(tmp_path: Path) -> None:
    corners = [(18, 4), (30, 4), (30, 16), (18, 16)]
    outline = " ".join(f"{x / W} {y / H}" for x, y in corners)
    write_yolo(tmp_path / "set", f"0 {outline}\n\n")
    write_image(tmp_path / "set" / "images" / "unlabelled.png")
    (only,) = read_yolo(tmp_path / "set")
    assert only.name == "set/train/a" and close(only_masks(only)[0], RIGHT)


@pytest.mark.parametrize("radius", [2, 5, 20])
def test_an_outline_covers_its_area_as_in_coco(tmp_path: Path, radius: int) -> None:
    """Pixels that it only touched counted too: two thirds more of a disc of four pixels."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outline = np.stack([50.2 + radius * np.cos(angles), 40.3 + radius * np.sin(angles)], axis=1)
    numbers = " ".join(map(str, (outline / (100, 80)).ravel()))
    write_yolo(tmp_path / "set", f"0 {numbers}")
    Image.new("RGB", (100, 80)).save(tmp_path / "set" / "images" / "train" / "a.png")
    (mask,) = only_masks(read_yolo(tmp_path / "set")[0])
    assert abs(mask.sum() / (np.pi * radius**2) - 1) < 0.1
    assert (mask == rle.from_polygons([outline.ravel().tolist()], (80, 100))).all()


@pytest.mark.parametrize(
    ("line", "words"),
    [("0 0.5 0.5 0.2 0.2", "boxes"), ("0 a b", "numbers"), ("0 0.1 0.1 0.2 0.2 0.3", "Got 5")],
)
def test_yolo_labels_without_outlines_are_refused_by_line(tmp_path: Path, line: str, words: str) -> None:
    write_yolo(tmp_path / "set", f"\n{line}")
    with pytest.raises(MediaError, match=rf"a.txt:2 .*{words}"):
        read_yolo(tmp_path / "set")[0].open()


def test_images_with_masks_beside_them(tmp_path: Path) -> None:
    write_masked(tmp_path / "set")
    first, second = read_mask_files(tmp_path / "set")
    assert first.open().objects(0) == [3, 200]
    assert (only_masks(first)[0] == LEFT).all() and (only_masks(first)[1] == RIGHT).all()
    assert (only_masks(second)[0] == RIGHT).all() and (only_masks(second)[1] == LEFT).all()  # cat, dog


@pytest.mark.parametrize(("folder", "suffix"), [("labels", ".txt"), ("masks", ".png")])
def test_images_of_one_name_have_labels_of_their_own(tmp_path: Path, folder: str, suffix: str) -> None:
    """Both had the labels of one, and those that masklet writes for such images were not found."""
    places = {"1.jpg": LEFT, "1.png": RIGHT, "2.png": LEFT}
    (tmp_path / folder).mkdir()
    for name, mask in places.items():
        write_image(tmp_path / "images" / name)
        stem = "2" if name == "2.png" else name
        if suffix == ".png":
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / folder / f"{stem}.png")
            continue
        masks = Masks.from_arrays(0, {1: mask}, mask.shape)
        (outline,) = masks.polygons()[1]
        numbers = " ".join(f"{x / W} {y / H}" for x, y in outline[0])
        (tmp_path / folder / f"{stem}.txt").write_text(f"0 {numbers}")
    items = find_items(tmp_path)
    assert [item.name.rpartition("/")[2] for item in items] == ["1.jpg", "1.png", "2"]
    for item, mask in zip(items, places.values(), strict=True):
        assert close(only_masks(item)[0], mask)
    (tmp_path / folder / f"1.jpg{suffix}").rename(tmp_path / folder / f"1{suffix}")
    with pytest.raises(MediaError, match="may belong to either"):
        find_items(tmp_path)


def test_find_knows_each_form(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    write_coco(tmp_path / "cvat", "images", "annotations/instances_default.json")
    write_yolo(tmp_path / "yolo", "0 0.1 0.1 0.5 0.1 0.5 0.5")
    write_video(tmp_path / "davis", "JPEGImages", "Annotations", apart=False)
    write_masked(tmp_path / "plain")
    write_sa1b(tmp_path / "sa1b")
    for name in ("coco", "cvat", "yolo", "davis", "plain", "sa1b"):
        assert only_masks(find_items(tmp_path / name)[0]), name
    together = {each.name.split("/")[0] for each in find_items(tmp_path)}
    assert together == {"coco", "cvat", "yolo", "davis", "plain", "sa1b"}


def test_the_parts_of_sa1b_are_found_together(tmp_path: Path) -> None:
    for part in ("sa_000000", "sa_000001"):
        write_sa1b(tmp_path / part)
    assert [each.name for each in find_items(tmp_path)] == ["sa_000000/sa_7", "sa_000001/sa_7"]


def test_a_mask_as_a_colour_image_is_read_where_it_is_grey(tmp_path: Path) -> None:
    write_masked(tmp_path / "set")
    path = tmp_path / "set" / "masks" / "a.png"
    Image.fromarray(np.repeat((LEFT * 255).astype(np.uint8)[..., None], 3, axis=2)).save(path)
    assert (only_masks(read_mask_files(tmp_path / "set")[0])[0] == LEFT).all()
    write_image(path)
    with pytest.raises(MediaError, match=r"a.png is not a mask or label map: it is in colour"):
        read_mask_files(tmp_path / "set")[0].open()


@pytest.mark.parametrize(
    "form", [read_coco, find_items, read_mask_files, read_png_videos, read_sa1b, read_sav, read_yolo]
)
def test_a_folder_without_data_says_what_was_expected(
    tmp_path: Path, form: Callable[[Path], list[DatasetItem]]
) -> None:
    with pytest.raises(MediaError, match=r"contains no"):
        form(tmp_path)


def test_broken_labels_are_named(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(MediaError, match=r"instances.json cannot be read as JSON"):
        find_items(tmp_path)
    write_video(tmp_path / "davis", "JPEGImages", "Annotations", apart=False)
    label = tmp_path / "davis" / "Annotations" / "clip" / "00000.png"
    label.write_bytes(b"broken")
    with pytest.raises(MediaError, match=r"00000.png is not an image"):
        only_masks(read_png_videos(tmp_path / "davis")[0])


@pytest.mark.parametrize(
    ("values", "objects"),
    [((1, 2, 255), [1, 2]), ((15, 255), [15]), ((85, 170, 255), [85, 170, 255]), ((254, 255), [254, 255])],
)
def test_255_beside_small_labels_is_no_object(
    tmp_path: Path, values: tuple[int, ...], objects: list[int]
) -> None:
    labels = np.zeros((H, W), np.uint8)
    for row, value in enumerate(values):
        labels[4 * row : 4 * row + 4] = value
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(labels).save(tmp_path / "masks" / "a.png")
    (item,) = read_mask_files(tmp_path)
    assert list(item.open().objects(0)) == objects


def test_255_of_sixteen_bits_is_an_object(tmp_path: Path) -> None:
    labels = np.zeros((H, W), np.uint16)
    labels[:8], labels[8:] = 2, 255
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(labels).save(tmp_path / "masks" / "a.png")
    (item,) = read_mask_files(tmp_path)
    assert list(item.open().objects(0)) == [2, 255]


def test_masks_of_other_kinds_are_found_and_missing_ones_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, mask in (("a", "a.PNG"), ("b", "b.tif"), ("sub/c", "sub/c.bmp"), ("d", "readme.txt")):
        write_image(tmp_path / "images" / f"{name}.jpg")
        (tmp_path / "masks" / mask).parent.mkdir(parents=True, exist_ok=True)
        if mask.endswith("txt"):
            (tmp_path / "masks" / mask).touch()
        else:
            Image.fromarray(LEFT.astype(np.uint8) * 255).save(tmp_path / "masks" / mask)
    items = read_mask_files(tmp_path)
    assert [item.name.partition("/")[2] for item in items] == ["a", "b", "sub/c"]
    assert all((only_masks(item)[0] == LEFT).all() for item in items)
    assert "1 of 4 images have no mask and are left out, such as d" in caplog.text
