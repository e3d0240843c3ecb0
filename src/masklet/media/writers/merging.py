"""Merge the results of many inputs into one file, for formats that can hold a data set."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from masklet.files import atomic_write, make_folder
from masklet.media.annotations.coco import read_json
from masklet.media.writers.cvat import CvatMasks, XmlWriter, write_meta
from masklet.media.writers.polygons import CLASSES
from masklet.media.writers.spool import dump_json

FRAMES = "frames"  # the folder that the format with this name writes

# Args: the results of each input, by its name, such as "a/1"; and the file or folder to write.
Merge = Callable[[Mapping[str, Path], Path], None]


def merge_coco(files: Mapping[str, Path], path: Path) -> None:
    """Merge the coco.json of many inputs into one. Only one of them is in memory at a time.

    Args:
        files: The coco.json of each input, by the input's name, such as "a/1". An image is then called
            a/1.png, a frame of a video a/1/00007.jpg, or a/1/frames/00007.jpg where frames were written.
        path: The file to write.

    Raises:
        MediaError: One of them cannot be read.
    """
    categories: dict[str, int] = {}
    for file in files.values():
        for category in read_json(file)["categories"]:
            categories.setdefault(category["name"], len(categories) + 1)
    content = {
        "info": {"description": f"{len(files)} inputs"},
        "licenses": [],
        "categories": [
            {"id": id, "name": name, "supercategory": "object"} for name, id in categories.items()
        ],
        "images": _merged_images(files),
        "annotations": _merged_annotations(files, categories),
    }
    with atomic_write(path) as part, open(part, "w", encoding="utf-8") as output:
        dump_json(content, output)


def merge_label_studio(files: Mapping[str, Path], path: Path) -> None:
    """Merge the tasks for Label Studio of many inputs. Images are named as in `merge_coco`."""

    def tasks() -> Iterator[dict[str, Any]]:
        for name, file in files.items():
            content = read_json(file)
            for task in content:
                data = task["data"]
                data["image"] = _merged_image(name, file, data["image"], len(content))
                data["video"] = _merged_name(name, data["video"], 1)
                yield task

    with atomic_write(path) as part, open(part, "w", encoding="utf-8") as output:
        dump_json(tasks(), output)


def merge_cvat_masks(files: Mapping[str, Path], path: Path) -> None:
    """Merge the XML files of CVAT for images into one. Images are named as in `merge_coco`."""
    images = 0
    names: dict[str, None] = {}
    for file in files.values():
        root = ElementTree.parse(file).getroot()
        images += len(root.findall("image"))
        names |= dict.fromkeys(name.text or "" for name in root.iterfind("meta/task/labels/label/name"))
    with atomic_write(path) as part, open(part, "w", encoding="utf-8") as output:
        xml = XmlWriter(output)
        with xml.within("annotations"):
            xml.element("version", "1.1")
            write_meta(xml, f"{len(files)} inputs", images, CvatMasks, names)
            for id, image in enumerate(_merged_elements(files)):
                image.set("id", str(id))
                _copy(xml, image)


def _merged_elements(files: Mapping[str, Path]) -> Iterator[ElementTree.Element]:
    for name, file in files.items():
        images = ElementTree.parse(file).getroot().findall("image")
        for image in images:
            image.set("name", _merged_image(name, file, image.get("name", ""), len(images)))
            yield image


def _copy(xml: XmlWriter, element: ElementTree.Element) -> None:
    if len(element) == 0:
        xml.element(element.tag, element.text or "", element.attrib)
        return
    with xml.within(element.tag, element.attrib):
        for child in element:
            _copy(xml, child)


def merge_measures(files: Mapping[str, Path], path: Path) -> None:
    """Merge the tables of measures of many inputs into one. Images are named as in `merge_coco`."""
    with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as output:
        rows = csv.writer(output)
        for number, (name, file) in enumerate(files.items()):
            with open(file, newline="", encoding="utf-8") as table:
                header, *values = csv.reader(table)
            if number == 0:
                rows.writerow(header)
            rows.writerows([_merged_name(name, value[0], 1), *value[1:]] for value in values)


def merge_yolo(folders: Mapping[str, Path], path: Path) -> None:
    """Merge the labels for YOLO of many inputs into one folder, with one list of classes.

    An image a/1.png has a/1.txt, as YOLO looks for it beside a folder of images with the same subfolders;
    a frame of a video has clip/00007.txt.
    """
    classes: dict[str, int] = {}
    for name, folder in folders.items():
        own = (folder / CLASSES).read_text(encoding="utf-8").splitlines()
        numbers = [classes.setdefault(text, len(classes)) for text in own]
        texts = [text for text in sorted(folder.rglob("*.txt")) if text != folder / CLASSES]
        for text in texts:
            lines = [line.split(" ", 1) for line in text.read_text(encoding="utf-8").splitlines()]
            target = path / (f"{name}.txt" if len(texts) == 1 else f"{name}/{text.name}")
            make_folder(target.parent)
            with atomic_write(target) as part:
                part.write_text("".join(f"{numbers[int(number)]} {rest}\n" for number, rest in lines))
    with atomic_write(path / CLASSES) as part:
        part.write_text("".join(f"{text}\n" for text in classes), encoding="utf-8")


# By the name of the file or folder in each input's results.
MERGES: Mapping[str, Merge] = {
    "coco.json": merge_coco,
    "cvat_masks.xml": merge_cvat_masks,
    "label_studio.json": merge_label_studio,
    "measures.csv": merge_measures,
    "labels": merge_yolo,
}


def _merged_image(input: str, results: Path, image: str, count: int) -> str:
    """An image's path among all inputs; the frame's path if the results contain the frames."""
    merged = _merged_name(input, image, count)
    written = results.parent / FRAMES / image
    is_frame = merged == f"{input}/{image}" and written.is_file()
    return f"{input}/{FRAMES}/{image}" if is_frame else merged


def _merged_name(input: str, file: str, count: int) -> str:
    """An image's path among all inputs.

    Args:
        input: The input's name.
        file: The image's name in the results of the input.
        count: Images of the input.

    >>> _merged_name("a/1", "1.png", 1), _merged_name("clip", "00007.jpg", 24)
    ('a/1.png', 'clip/00007.jpg')
    """
    path, name = PurePosixPath(input), PurePosixPath(file)
    is_input = count == 1 and path.name in (name.name, name.stem)
    return str((path.parent if is_input else path) / name)


def _merged_images(files: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    count = 0
    for name, file in files.items():
        images = read_json(file)["images"]
        for image in images:
            count += 1
            file_name = _merged_image(name, file, image["file_name"], len(images))
            yield {**image, "id": count, "file_name": file_name}


def _merged_annotations(files: Mapping[str, Path], categories: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    count = first_image = 0
    for file in files.values():
        content = read_json(file)
        names = {category["id"]: category["name"] for category in content["categories"]}
        images = {image["id"]: first_image + row for row, image in enumerate(content["images"], 1)}
        for annotation in content["annotations"]:
            count += 1
            category = categories[names[annotation["category_id"]]]
            image = images[annotation["image_id"]]
            yield {**annotation, "id": count, "image_id": image, "category_id": category}
        first_image += len(images)
