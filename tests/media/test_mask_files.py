"""Masks and label maps from image files of every kind."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from masklet.cli.prompts import read_mask
from masklet.errors import MediaError, PromptError
from masklet.media import (
    davis_palette,
    open_frames,
    read_label_map,
    read_label_maps,
    write_label_map,
    writers,
)
from masklet.types import Masks, Prompt
from media.made import RING

SOFT = cv2.GaussianBlur(RING.astype(np.uint8) * 255, (0, 0), 0.8)


def with_alpha(colour: np.ndarray, alpha: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.dstack([colour, alpha]).astype(np.uint8))


WHITE = np.full((*RING.shape, 3), 255)
GREY = np.repeat(SOFT[..., None], 3, axis=2)
IMAGES = {
    "soft grey": PIL.Image.fromarray(SOFT),
    "black and white": PIL.Image.fromarray(RING),
    "RGB": PIL.Image.fromarray(GREY),
    "opaque RGBA": with_alpha(GREY, np.full(RING.shape, 255)),
    "white behind an alpha": with_alpha(WHITE, SOFT),
    "black behind an alpha": with_alpha(0 * WHITE, SOFT),
    "grey with alpha": PIL.Image.fromarray(GREY).convert("LA"),
    "16 bits": PIL.Image.fromarray(SOFT.astype(np.uint16) * 257),
    "float": PIL.Image.fromarray(SOFT.astype(np.float32) / 255),
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("form", ["file", "PIL", "bytes"])
def test_one_object_in_black_and_white(tmp_path: Path, kind: str, form: str) -> None:
    image = IMAGES[kind]
    path = tmp_path / ("mask.tiff" if kind == "float" else "mask.png")
    image.save(path)
    source = {"file": path, "PIL": image, "bytes": path.read_bytes()}[form]
    labels = read_label_map(source)
    assert labels.dtype == np.int32 and np.unique(labels).tolist() == [0, 1]
    assert (labels == (SOFT >= 128)).mean() > 0.995


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_a_mask(tmp_path: Path, mode: str) -> None:
    PIL.Image.fromarray(RING).convert(mode).save(tmp_path / "mask.jpg", quality=60)
    assert (read_label_map(tmp_path / "mask.jpg") == RING).mean() > 0.98
    assert list(read_mask(tmp_path / "mask.jpg")) == [1]


def test_a_palette_of_black_and_white_is_a_mask_and_any_other_holds_ids(tmp_path: Path) -> None:
    image = PIL.Image.fromarray((~RING).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])  # white is 0
    image.save(tmp_path / "mask.png")
    assert (read_label_map(tmp_path / "mask.png") == RING).all()
    image = PIL.Image.fromarray(RING.astype(np.uint8) * 255)
    image.putpalette(davis_palette().tobytes())
    image.save(tmp_path / "ids.png")
    assert np.unique(read_label_map(tmp_path / "ids.png")).tolist() == [0, 255]


@pytest.mark.parametrize("highest", [1, 2, 255, 256, 65535])
def test_what_is_written_is_read_back(tmp_path: Path, highest: int) -> None:
    labels = RING.astype(np.int32) * highest
    labels[40:44, 50:60] = 1
    write_label_map(tmp_path / "ids.png", labels)
    assert (read_label_map(tmp_path / "ids.png") == labels).all()


def test_sixteen_bit_labels(tmp_path: Path) -> None:
    labels = np.arange(RING.size, dtype=np.uint16).reshape(RING.shape) // 40 + 1000
    cv2.imwrite(str(tmp_path / "ids.png"), labels)
    cv2.imwrite(str(tmp_path / "ids.tiff"), labels)
    assert (read_label_map(tmp_path / "ids.png") == labels).all()
    assert (read_label_map(tmp_path / "ids.tiff") == labels).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_the_numbers_of_a_tiff_count_not_what_they_look_like(tmp_path: Path, dtype: type) -> None:
    mask = np.zeros((16, 24), dtype)
    mask[4:9, 3:12] = 1 if dtype is np.bool_ else 3
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="miniswhite")

    assert (read_label_map(tmp_path / "mask.tif") == mask).all()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64, np.uint32, np.int16])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
def test_labels_of_every_dtype_are_read_from_a_tiff(tmp_path: Path, dtype: type, photometric: str) -> None:
    """Pillow does not read most of these; all their objects were lost without a word."""
    labels = np.zeros((20, 30), dtype=dtype)
    labels[2:9, 3:12], labels[10:18, 15:28] = 3, 300
    stored = np.dstack([labels] * 3) if photometric == "rgb" else labels
    tifffile.imwrite(tmp_path / "labels.tif", stored, photometric=photometric, byteorder=">")
    assert (read_label_map(tmp_path / "labels.tif") == labels).all()
    assert list(read_mask(tmp_path / "labels.tif")) == [3, 300]


@pytest.mark.parametrize("name", ["labels.png", "labels.tif"])
def test_grey_ids_of_sixteen_bits_may_be_stored_as_colours(tmp_path: Path, name: str) -> None:
    labels = np.zeros((20, 30), dtype=np.uint16)
    labels[2:9, 3:12], labels[10:18, 15:28] = 3, 300
    if name.endswith("png"):
        cv2.imwrite(str(tmp_path / name), np.dstack([labels] * 3))
    else:
        tifffile.imwrite(tmp_path / name, np.dstack([labels] * 3), photometric="rgb")
    assert (read_label_map(tmp_path / name) == labels).all()


@pytest.mark.parametrize("form", ["tiff", "ome-tiff"])
@pytest.mark.parametrize("ids", [(255,), (65535,), (1, 300)])
def test_label_tiffs_are_read_back_page_by_page(tmp_path: Path, form: str, ids: tuple[int, ...]) -> None:
    """A single id that is white in other images is an id here, as in the PNGs that masklet writes."""
    frames = open_frames(np.zeros((3, 20, 30, 3), np.uint8))
    written = []
    with writers([form], tmp_path, frames) as writer:
        for frame in range(3):
            masks = Masks.from_arrays(frame, dict.fromkeys(ids, RING[:20, frame : frame + 30]), (20, 30))
            writer.write(frames[frame], masks)
            written.append(masks.label_map())
    (path,) = tmp_path.iterdir()
    assert (read_label_map(path) == written[0]).all() and written[0].any()
    names, maps = zip(*read_label_maps(path), strict=True)
    assert names == tuple(f"{path.stem}_{page:05d}" for page in range(3))
    assert (np.stack(maps) == np.stack(written)).all()


def test_of_a_scan_in_black_and_white_white_is_the_object(tmp_path: Path) -> None:
    mask = np.zeros((16, 24), np.uint8)
    mask[4:9, 3:12] = 255
    image = PIL.Image.fromarray(mask).convert("1")
    image.save(tmp_path / "mask.tif", compression="group4", tiffinfo={262: 0})

    assert ((read_label_map(tmp_path / "mask.tif") == 1) == (mask > 0)).all()


@pytest.mark.parametrize("form", ["file", "PIL", "bytes"])
def test_the_mask_is_turned_as_its_image_is(tmp_path: Path, form: str) -> None:
    exif, path = PIL.Image.Exif(), tmp_path / "mask.png"
    exif[0x0112] = 6
    PIL.Image.fromarray(RING.astype(np.uint8) * 255).save(path, exif=exif)
    with PIL.Image.open(path) as image:
        source = {"file": path, "PIL": image, "bytes": path.read_bytes()}[form]
        assert (read_label_map(source) == np.rot90(RING, 3)).all()


def test_arrays_and_tensors() -> None:
    for source in (RING, RING[..., None], RING[None], torch.from_numpy(RING), GREY, io.BytesIO(_png(SOFT))):
        assert np.unique(read_label_map(source)).tolist() == [0, 1]


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".jpg"])
def test_a_lossy_image_holds_no_labels(tmp_path: Path, suffix: str) -> None:
    """Its few dark values look like ids, and are not those that were saved."""
    labels = RING.astype(np.uint8)
    labels[40:44, 50:60] = 2
    PIL.Image.fromarray(labels).convert("RGB").save(tmp_path / f"ids{suffix}", quality=90)
    with pytest.raises(MediaError, match="not in a JPEG"):
        read_label_map(tmp_path / f"ids{suffix}")
    PIL.Image.fromarray(RING).convert("RGB").save(tmp_path / f"mask{suffix}", quality=80)
    assert (read_label_map(tmp_path / f"mask{suffix}") == RING).mean() > 0.97


@pytest.mark.parametrize("form", ["file", "PIL", "bytes"])
def test_a_lossless_webp_holds_labels(tmp_path: Path, form: str) -> None:
    path, labels = tmp_path / "ids.webp", RING.astype(np.uint8) * 2
    labels[40:44, 50:60] = 1
    PIL.Image.fromarray(labels).convert("RGB").save(path, lossless=True)
    with PIL.Image.open(path) as image:
        source = {"file": path, "PIL": image, "bytes": path.read_bytes()}[form]
        assert (read_label_map(source) == labels).all()


def test_a_brush_that_lets_half_through_is_one_object() -> None:
    """Label tools export strokes of one colour with an alpha of 128, and soft edges below that."""
    red = np.full((*RING.shape, 3), (255, 0, 0))
    labels = read_label_map(with_alpha(red, SOFT // 2))
    assert np.unique(labels).tolist() == [0, 1] and (labels == (SOFT >= 128)).mean() > 0.99


def test_a_photograph_is_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, RING.size).reshape(RING.shape).astype(np.uint8)
    PIL.Image.fromarray(cv2.GaussianBlur(ramp, (0, 0), 1)).save(tmp_path / "photo.jpg")
    with pytest.raises(MediaError, match=r"photo\.jpg is not a mask or label map: its \d+ different values"):
        read_label_map(tmp_path / "photo.jpg")


@pytest.mark.parametrize("background", [0, 70_000])
def test_ids_above_65535_stay_as_they_are(tmp_path: Path, background: int) -> None:
    labels = np.arange(2000, dtype=np.int32).reshape(40, 50) // 5 + 70_000
    labels[:, :20] = background
    PIL.Image.fromarray(labels).save(tmp_path / "ids.tif")
    assert (read_label_map(labels) == labels).all()
    assert (read_label_map(tmp_path / "ids.tif") == labels).all()


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[0, 2**31]], np.uint32),
        np.array([[0, 2**32 - 1]], np.uint32),
        np.array([[0, 2**32 + 1, 3]], np.int64),
        np.array([[0.0, 2.0**40]]),
    ],
)
def test_ids_that_int32_does_not_hold_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(MediaError, match="object ids must be at most 2147483647"):
        read_label_map(labels)
    with pytest.raises(PromptError, match="object ids must be at most 2147483647"):
        Prompt(mask=labels)


def _png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, "PNG")
    return file.getvalue()
