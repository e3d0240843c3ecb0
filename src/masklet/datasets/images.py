"""Labelled images: SA-1B, YOLO-seg, COCO JSON, and a plain folder of images and masks."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from masklet import rle
from masklet.datasets.types import UNDECIDED, DatasetItem, LabelledFrames
from masklet.errors import MediaError
from masklet.media import find_images, is_image, read_image, read_label_map
from masklet.media.annotations.coco import (
    CocoAnnotation,
    CocoFile,
    LabelSizeError,
    check_image_size,
    read_json,
    segmentation_mask,
)
from masklet.media.readers.mask_files import may_have_undecided

log = logging.getLogger(__name__)

LARGEST_BESIDE_UNDECIDED = 63  # next to larger ids, and in grey levels such as 85, 170, 255, it is an object
OWN_COCO = "coco.json"  # written by masklet
COCO_FILES = (
    *("instances.json", "annotations.json", "result.json", "_annotations.coco.json", "labels.json"),
    OWN_COCO,
)


class LabelledImage:
    """One image, and the labels of its objects by id; subclasses convert a label to a mask.

    A label that cannot be read, or covers no pixel, is logged, and its object left out.

    Args:
        size: (H, W) for which the labels were made, if known.
    """

    def __init__(self, path: Path, labels: Mapping[int, Any], size: tuple[int, int] | None = None) -> None:
        self.path, self._labels, self._size = path, dict(labels), size

    def __len__(self) -> int:
        return 1

    def objects(self, frame: int) -> Sequence[int]:
        return list(self._codes)

    def image(self, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        return self._image

    def masks(self, frame: int, ids: Sequence[int]) -> Bool[np.ndarray, "n H W"]:
        size = self._image.shape[:2]
        return np.array([rle.decode(self._codes[id]) for id in ids], dtype=bool).reshape(-1, *size)

    def read_mask(self, label: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """The mask of a label, on an image of `size` (H, W)."""
        return segmentation_mask(label, size, str(self.path))

    @cached_property
    def _image(self) -> UInt8[np.ndarray, "H W 3"]:
        return read_image(self.path)

    @cached_property
    def _codes(self) -> dict[int, rle.RLE]:
        """All readable masks, as run lengths, since an image may have hundreds."""
        height, width = self._image.shape[:2]
        check_image_size(self._size, (height, width), str(self.path))
        codes, faults = {}, []
        for id, label in self._labels.items():
            try:
                mask = self.read_mask(label, (height, width))
                if not mask.any():
                    log.warning("object %s of %s is left out: it covers no pixel.", id, self.path)
                    continue
                codes[id] = rle.encode(mask)
            except LabelSizeError:
                raise
            except MediaError as error:
                faults.append(error)
                log.warning("object %s is left out: %s", id, error)
        if faults and not codes:
            raise faults[0]
        return codes


def read_sa1b(folder: Path) -> list[DatasetItem]:
    """A part of SA-1B: NAME.jpg next to NAME.json, which has its masks."""
    labels = sorted(find_sa1b_labels(folder))
    if not labels:
        raise MediaError(f"{folder} contains no images in SA-1B's form: NAME.jpg next to NAME.json.")
    return [
        DatasetItem(
            f"{folder.name}/{path.stem}",
            partial(_open_sa1b, path),
            images=path.with_suffix(".jpg"),
            labels=path,
        )
        for path in labels
    ]


def find_sa1b_labels(folder: Path) -> Iterator[Path]:
    """The JSON files next to an image with the same name."""
    return (path for path in folder.glob("*.json") if path.with_suffix(".jpg").is_file())


def _open_sa1b(path: Path) -> LabelledFrames:
    content = read_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and "segmentation" in entry and isinstance(entry.get("id"), int)
        for entry in entries
    ):
        raise MediaError(
            f"{path} is not an SA-1B JSON: it must have annotations, each with an id and a segmentation."
        )
    return LabelledImage(
        path.with_suffix(".jpg"),
        {entry["id"]: entry["segmentation"] for entry in entries},
    )


class OutlinedImage(LabelledImage):
    """Labels are outlines (p, 2) as fractions of the image's width and height."""

    def read_mask(self, label: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        return rle.from_polygons([(label * (size[1], size[0])).ravel()], size)


def read_yolo(folder: Path) -> list[DatasetItem]:
    """YOLO-seg: labels/**/NAME.txt for images/**/NAME.*, each line a class and an outline.

    Where two images have one NAME, such as 1.jpg and 1.png, their labels are 1.jpg.txt and 1.png.txt.
    """
    items = []
    for name, path in _find_images(folder):
        label = folder / "labels" / f"{name}.txt"
        _check_not_shared(path, name, label.with_suffix(""), ".txt")
        if label.is_file():
            open_item = partial(_open_yolo, path, label)
            items.append(DatasetItem(f"{folder.name}/{name}", open_item, images=path, labels=label))
    if not items:
        raise MediaError(f"{folder} contains no images in YOLO's form: images/NAME.jpg and labels/NAME.txt.")
    return items


def _open_yolo(path: Path, label: Path) -> LabelledFrames:
    return OutlinedImage(path, dict(enumerate(_read_outlines(label))))


def _read_outlines(label: Path) -> Iterator[np.ndarray]:
    for number, line in enumerate(label.read_text(encoding="utf-8-sig").splitlines(), 1):
        try:
            values = np.array([float(word) for word in line.split()[1:]])
        except ValueError:
            raise MediaError(f"{label}:{number} must be a class and numbers. Got {line[:40]!r}.") from None
        if not len(values):
            continue
        if len(values) < 6 or len(values) % 2:
            raise MediaError(
                f"{label}:{number} must be a class and an outline x y x y x y .... Got {len(values)} numbers"
                + (": boxes cannot be used for training, export segments" if len(values) == 4 else ".")
            )
        if not (np.abs(values) <= 4).all():
            raise MediaError(
                f"{label}:{number} must be fractions of the image's width and height, from 0 to 1. Got "
                f"{line[:40]!r}."
            )
        yield values.reshape(-1, 2)


class MaskFileImage(LabelledImage):
    """Labels are (file, value): the pixels of a mask file with this value; None means all but 0."""

    def read_mask(self, label: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        path, value = label
        values = read_label_map(path)
        if values.shape != size:
            raise LabelSizeError(f"{path} must have its image's size, (H, W) = {size}. Got {values.shape}.")
        return values > 0 if value is None else values == value


def read_mask_files(folder: Path) -> list[DatasetItem]:
    """images/NAME.* with masks/NAME.* or masks/NAME/*.

    In a mask, 0 is background and each other value an object; but 255 next to small values is undecided.
    Where two images have one NAME, such as 1.jpg and 1.png, their masks are 1.jpg.png and 1.png.png.
    """
    items, unlabelled = [], []
    masks = _find_masks(folder / "masks")
    for name, path in _find_images(folder):
        mask, separate = masks.get(name), folder / "masks" / name
        labels = separate if separate.is_dir() else mask
        _check_not_shared(path, name, separate, ".png")
        if labels is None:
            unlabelled.append(str(name))
            continue
        open_item = partial(_open_masks, path, labels)
        items.append(DatasetItem(f"{folder.name}/{name}", open_item, images=path, labels=labels))
    if not items:
        raise MediaError(
            f"{folder} contains no images with masks: expected images/NAME.jpg and masks/NAME.png."
        )
    if unlabelled:
        log.warning(
            "%s: %d of %d images have no mask and are left out, such as %s.",
            folder,
            len(unlabelled),
            len(unlabelled) + len(items),
            unlabelled[0],
        )
    return items


def _find_masks(folder: Path) -> dict[Path, Path]:
    """All mask files, by path in the folder without suffix; if several share a name, the PNG."""
    files = sorted(folder.rglob("*"), key=lambda file: (file.suffix.lower() == ".png", file.name))
    return {file.relative_to(folder).with_suffix(""): file for file in files if is_image(file)}


def _open_masks(path: Path, labels: Path) -> LabelledFrames:
    if labels.is_dir():
        return MaskFileImage(
            path, {number: (file, None) for number, file in enumerate(find_images(labels), 1)}
        )
    values = [value for value in np.unique(read_label_map(labels)).tolist() if value]
    is_undecided = len(values) > 1 and values[-1] == UNDECIDED and values[-2] <= LARGEST_BESIDE_UNDECIDED
    if is_undecided and may_have_undecided(labels):
        log.warning("%s: pixels with value %d are left out as undecided.", labels, values.pop())
    return MaskFileImage(path, {value: (labels, value) for value in values})


def _find_images(folder: Path) -> Iterator[tuple[Path, Path]]:
    """All images below images/, with their paths there: without suffix, unless two are then the same."""
    images = folder / "images"
    paths = find_images(images / "**" / "*") if images.is_dir() else []
    names = [path.relative_to(images) for path in paths]
    counts = Counter(name.with_suffix("") for name in names)
    for name, path in zip(names, paths, strict=True):
        yield name if counts[name.with_suffix("")] > 1 else name.with_suffix(""), path


def _check_not_shared(image: Path, name: Path, labels: Path, suffix: str) -> None:
    """Raise if two images have one file of labels: it belongs to only one of them.

    Args:
        name: The image's, as `_find_images` gives it.
        labels: The place of its labels, without `suffix`.
    """
    if name.name != image.name or labels.is_dir():
        return
    folder = labels.with_suffix("")
    files = folder.parent.glob(f"{glob.escape(folder.name)}.*")
    shared = next((file for file in files if file.stem == folder.name and file.is_file()), folder)
    if shared.exists():
        raise MediaError(
            f"{image} has the name of another image but for the suffix, and {shared} may belong to either. "
            f"Rename the labels, such as {labels.name}{suffix}, or one of the images."
        )


def read_coco(path: Path) -> list[DatasetItem]:
    """The images of a COCO file that have outlines or masks. Crowds are left out.

    Args:
        path: The JSON, or the folder of an export.

    Raises:
        MediaError: There is no such file, no object has an outline or mask, or no image is found.
    """
    index = path if path.is_file() else _find_index(path)
    file = CocoFile.read(index)
    objects = {image: _number_objects(annotations) for image, annotations in file.annotations.items()}
    labelled = [
        (_relative_path(image.file_name), annotations, image.size)
        for image in file.images
        if (annotations := objects.get(image.id))
    ]
    if not labelled:
        count = sum(map(len, file.annotations.values())) + len(file.skipped)
        reasons = f" Left out: {'; '.join(file.skipped[:3])}." if file.skipped else ""
        raise MediaError(
            f"{index} has {count} annotations, but none is a polygon or a mask of one object. Boxes cannot "
            f"be used for training: draw outlines or masks.{reasons}"
        )
    folders = _image_folders(index)
    counts = Counter(name.name for name, *_ in labelled)
    files = [_find_image(folders, name, is_unique=counts[name.name] == 1) for name, *_ in labelled]
    if not any(files):
        places = ", ".join(str(folder) for folder in folders)
        raise MediaError(
            f"{index} has labels for {len(labelled)} images, such as {labelled[0][0]}, but none of them "
            f"is in {places}. Export with images, or copy them there."
        )
    return [
        DatasetItem(
            f"{folders[0].name}/{name}",
            partial(LabelledImage, file or folders[0] / name, objects, size),
            images=file or folders[0] / name,
            labels=index,
        )
        for (name, objects, size), file in zip(labelled, files, strict=True)
    ]


def _number_objects(annotations: Sequence[CocoAnnotation]) -> dict[int, object]:
    """The segmentations of single objects by id; a repeated id, or one that is not a number, is replaced."""
    usable = [item for item in annotations if item.segmentation is not None and not _is_crowd(item)]
    numbered: dict[int, object] = {}
    taken = {item.id for item in usable if isinstance(item.id, int)}
    for item in usable:
        is_new = isinstance(item.id, int) and item.id not in numbered
        id = item.id if is_new else max(taken, default=0) + 1
        taken.add(id)
        numbered[id] = item.segmentation
    return numbered


def _is_crowd(annotation: CocoAnnotation) -> bool:
    """Whether it covers many objects. CVAT, recognised by its attributes, sets iscrowd for every brushed
    mask."""
    return annotation.is_crowd and not annotation.has_attributes


def _relative_path(name: str) -> PurePosixPath:
    """An image's name as a path below the data set: Label Studio may write backslashes, or start with ../"""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "..")))


def _find_index(folder: Path) -> Path:
    """The JSON of an export. COCO's captions and keypoints are skipped."""
    named = [path for name in COCO_FILES if (path := folder / name).is_file()]
    if named:
        return named[0]
    candidates = sorted(folder.glob("annotations/instances*.json")) or sorted(
        folder.glob("annotations/*.json")
    )
    if not candidates:
        expected = ", ".join(COCO_FILES)
        raise MediaError(f"{folder} contains no COCO labels. Expected {expected} or annotations/*.json.")
    if len(candidates) > 1:
        names = ", ".join(f"annotations/{path.name}" for path in candidates)
        raise MediaError(
            f"{folder} has several sets of labels: {names}. Pass one of them, such as {candidates[0]}."
        )
    return candidates[0]


def _image_folders(index: Path) -> list[Path]:
    """The folders that may have a COCO file's images, the data set's own folder first."""
    root = index.parent.parent if index.parent.name == "annotations" else index.parent
    split = index.stem.removeprefix("instances_")
    return [root, root / "images", root / "data", root / "frames", root / split, root / "images" / split]


def _find_image(folders: Sequence[Path], name: PurePosixPath, *, is_unique: bool) -> Path | None:
    """An image at the path in its name; or by the name's last part, if it was copied by hand.

    Args:
        is_unique: Whether no other labelled image has that last part.
    """
    parts = (name, name.name) if is_unique else (name,)
    paths = (folder / part for part in parts for folder in folders)
    return next((path for path in paths if os.path.isfile(path)), None)  # False if a name is too long
