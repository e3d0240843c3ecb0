"""Pictures with labels beside them: SA-1B, YOLO-seg, and a plain folder of pictures and masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from masklet.datasets.labelled_video import Footage, Reel, decode, read_json, read_labels
from masklet.errors import MediaError
from masklet.media import find_pictures, read_image


class Still:
    """One picture, and by id what is said of its objects; subclasses say how that becomes a mask."""

    def __init__(self, path: Path, said: Mapping[int, Any]) -> None:
        self.path, self.said = path, said

    def __len__(self) -> int:
        return 1

    def objects(self, frame: int) -> Sequence[int]:
        return list(self.said)

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self._image

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        size = self._image.shape[:2]
        if not ids:
            return np.zeros((0, *size), dtype=bool)
        return np.stack([self.mask(self.said[id], size) for id in ids])

    def mask(self, said: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        return decode(said, size, str(self.path))

    @cached_property
    def _image(self) -> UInt8[np.ndarray, "H W 3"]:
        return read_image(self.path)


def sa1b(folder: Path) -> list[Footage]:
    """A part of SA-1B: NAME.jpg beside NAME.json, which holds its masks."""
    labels = sorted(sa1b_labels(folder))
    if not labels:
        raise MediaError(f"{folder} holds no pictures of SA-1B's form: NAME.jpg beside NAME.json.")
    return [Footage(f"{folder.name}/{path.stem}", partial(_open_sa1b, path)) for path in labels]


def sa1b_labels(folder: Path) -> Iterator[Path]:
    """The json files that lie beside a picture of their name."""
    return (path for path in folder.glob("*.json") if path.with_suffix(".jpg").is_file())


def _open_sa1b(path: Path) -> Reel:
    said = read_json(path)["annotations"]
    return Still(path.with_suffix(".jpg"), {each["id"]: each["segmentation"] for each in said})


class Outlined(Still):
    """Outlines as shares of the picture's width and height."""

    def mask(self, said: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        mask = np.zeros(size, dtype=np.uint8)
        corners = np.round(said * (size[1], size[0]) * 16 - 8).astype(np.int32)  # in sixteenths of a pixel
        cv2.fillPoly(mask, [corners], 1, shift=4)
        return mask > 0


def yolo(folder: Path) -> list[Footage]:
    """YOLO-seg: labels/**/NAME.txt for images/**/NAME.*, each line a class and an outline."""
    found = []
    for name, path in _pictures(folder):
        label = folder / "labels" / f"{name}.txt"
        if label.is_file():
            found.append(Footage(f"{folder.name}/{name}", partial(_open_yolo, path, label)))
    if not found:
        raise MediaError(f"{folder} holds no pictures of YOLO's form: images/NAME.jpg and labels/NAME.txt.")
    return found


def _open_yolo(path: Path, label: Path) -> Reel:
    return Outlined(path, dict(enumerate(_outlines(label))))


def _outlines(label: Path) -> Iterator[np.ndarray]:
    for number, line in enumerate(label.read_text().splitlines(), 1):
        try:
            values = [float(word) for word in line.split()[1:]]
        except ValueError:
            raise MediaError(f"{label}:{number} must be a class and numbers. Got {line[:40]!r}.") from None
        if not values:
            continue
        if len(values) < 6 or len(values) % 2:
            raise MediaError(
                f"{label}:{number} must be a class and an outline, x y x y x y ... Got {len(values)} numbers"
                + (": boxes cannot be trained on, export segments." if len(values) == 4 else ".")
            )
        yield np.array(values).reshape(-1, 2)


class Labelled(Still):
    """Masks as files: one with a number for each object, or one file for each object."""

    def mask(self, said: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        path, label = said
        labels = read_labels(path)
        if labels.shape != size:
            raise MediaError(f"{path} must have its picture's size, (H, W) = {size}. Got {labels.shape}.")
        return labels > 0 if label is None else labels == label


def masked(folder: Path) -> list[Footage]:
    """images/NAME.* with masks/NAME.png (0 is nothing, each other number an object) or masks/NAME/*.png."""
    found = []
    for name, path in _pictures(folder):
        mask, apart = folder / "masks" / f"{name}.png", folder / "masks" / name
        if mask.is_file() or apart.is_dir():
            found.append(Footage(f"{folder.name}/{name}", partial(_open_masked, path, mask, apart)))
    if not found:
        raise MediaError(f"{folder} holds no masked pictures: expected images/NAME.jpg, masks/NAME.png.")
    return found


def _open_masked(path: Path, mask: Path, apart: Path) -> Reel:
    if apart.is_dir():
        return Labelled(path, {number: (each, None) for number, each in enumerate(find_pictures(apart), 1)})
    return Labelled(path, {int(label): (mask, int(label)) for label in np.unique(read_labels(mask)) if label})


def _pictures(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every picture below images/, and its name there without its suffix."""
    images = folder / "images"
    for path in find_pictures(images / "**" / "*") if images.is_dir() else ():
        yield path.relative_to(images).with_suffix(""), path
