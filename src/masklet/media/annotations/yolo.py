"""YOLO's labels: a text file for each image, a line for each object. Coordinates are fractions of the
image's width and height."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import yaml  # type: ignore[import-untyped]

from masklet.errors import MediaError
from masklet.media.annotations.coco import finite_numbers
from masklet.media.annotations.types import AnnotationFile, BoxShape, OutlineShape

CLASS_FILES = ("classes.txt", "obj.names", "names.txt")
IMAGE_LINE = re.compile(r"\.(jpe?g|png|bmp|tiff?|webp|gif)\s*$", re.IGNORECASE)


def read_yolo(texts: Mapping[str, bytes], name: str) -> AnnotationFile:
    """YOLO's labels: a text file for each image, a line for each object. Coordinates are fractions of the
    image's width and height."""
    file = AnnotationFile(name, "YOLO")
    names = _read_class_names(texts, file)
    file.labels.update(dict.fromkeys(names.values()))
    for member, content in sorted(texts.items()):
        path = PurePosixPath(member)
        if path.suffix.lower() != ".txt" or path.name.lower() in CLASS_FILES:
            continue
        lines = content.decode("utf-8-sig", "replace").splitlines()
        if lines and all(IMAGE_LINE.search(line) for line in lines if line.strip()):
            continue  # a list of images, such as train.txt
        for number, line in enumerate(lines, 1):
            values = line.split()
            if not values:
                continue
            entry = f"{path.name}, line {number}"
            with file.reading(entry):
                label, shape = _read_shape(values, names)
                file.add(entry, str(path.with_suffix("")), None, None, label, shape)
    return file


def _read_shape(values: Sequence[str], names: Mapping[int, str]) -> tuple[str, BoxShape | OutlineShape]:
    try:
        number, shares = int(values[0]), finite_numbers([float(value) for value in values[1:]])
    except ValueError:
        number, shares = -1, None
    if shares is None or not 0 <= number < 10**6 or max(map(abs, shares)) > 10:
        raise MediaError(f"a line must be a class and coordinates from 0 to 1. Got {' '.join(values):.60}")
    label = names.get(number, f"class {number}")
    if len(shares) in (4, 5):  # a fifth number is a confidence
        x, y, width, height = shares[:4]
        if width <= 0 or height <= 0:
            raise MediaError(f"a box needs a width and height above 0. Got {width:g} x {height:g}")
        return label, BoxShape((x - width / 2, y - height / 2, x + width / 2, y + height / 2), relative=True)
    if len(shares) < 6 or len(shares) % 2:
        raise MediaError(
            f"a class must be followed by 4 numbers for a box, or 6 or more for an outline. Got {len(shares)}"
        )
    return label, OutlineShape([shares], relative=True)


def _read_class_names(texts: Mapping[str, bytes], file: AnnotationFile) -> dict[int, str]:
    """The names of classes by number: from data.yaml, or a text file with one name per line."""
    for member, content in texts.items():
        path = PurePosixPath(member)
        text = content.decode("utf-8-sig", "replace")
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                parsed = yaml.safe_load(text)
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                file.skip(path.name, f"it is not valid YAML: {' '.join(str(error).split())[:200]}")
                continue
            names = parsed.get("names") if isinstance(parsed, dict) else None
            pairs = list(enumerate(names)) if isinstance(names, list) else []
            pairs = list(names.items()) if isinstance(names, dict) else pairs
            classes = {int(number): str(label)[:100] for number, label in pairs if _is_class(number, label)}
            if classes:
                return classes
        elif path.name.lower() in CLASS_FILES:
            return {
                number: line.strip()[:100] for number, line in enumerate(text.splitlines()) if line.strip()
            }
    return {}


def _is_class(number: object, label: object) -> bool:
    is_number = isinstance(number, int) or (isinstance(number, str) and number.isascii() and number.isdigit())
    return is_number and isinstance(label, str | int) and bool(str(label).strip())
