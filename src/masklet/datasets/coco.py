"""Pictures labelled in a COCO JSON, as CVAT, Label Studio, Roboflow and others export it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from masklet.datasets.pictures import LabelledPicture
from masklet.datasets.types import DatasetItem
from masklet.errors import MediaError
from masklet.media.readers.coco import CocoAnnotation, CocoFile

COCO_FILES = ("instances.json", "annotations.json", "result.json", "_annotations.coco.json")


def read_coco(path: Path) -> list[DatasetItem]:
    """The pictures of a COCO file that have outlines or masks; crowds are left out.

    Args:
        path: The JSON, or the folder of an export.

    Raises:
        MediaError: There is no such file, no object has an outline or mask, or no picture is there.
    """
    index = path if path.is_file() else _find_index(path)
    file = CocoFile.read(index)
    objects = {image: _numbered(annotations) for image, annotations in file.annotations.items()}
    labelled = [
        (_relative(image.file_name), annotations)
        for image in file.images
        if (annotations := objects.get(image.id))
    ]
    if not labelled:
        count = sum(map(len, file.annotations.values())) + len(file.skipped)
        reasons = f" Left out: {'; '.join(file.skipped[:3])}." if file.skipped else ""
        raise MediaError(
            f"{index} has {count} annotations, and none is a polygon or a mask of one object. "
            f"Boxes cannot be learned from: draw outlines, or brush masks.{reasons}"
        )
    folders = _picture_folders(index)
    files = [_first_present(folders, name) for name, _ in labelled]
    if not any(files):
        places = ", ".join(str(folder) for folder in folders)
        raise MediaError(
            f"{index} has labels for {len(labelled)} pictures, such as {labelled[0][0]}, and none of them "
            f"lies in {places}. Export with pictures, or put them there."
        )
    return [
        DatasetItem(f"{folders[0].name}/{name}", partial(LabelledPicture, file or folders[0] / name, objects))
        for (name, objects), file in zip(labelled, files, strict=True)
    ]


def _numbered(annotations: Sequence[CocoAnnotation]) -> dict[int, object]:
    """The segmentations of single objects by id; a repeated id, or one that is no number, is replaced."""
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
    """Whether it is of many objects; CVAT, known by its attributes, sets iscrowd for every brushed mask."""
    return annotation.crowd and not annotation.has_attributes


def _relative(name: str) -> PurePosixPath:
    """A picture's name as a path below the data set: Label Studio may write backslashes, or begin with ../"""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "..")))


def _find_index(folder: Path) -> Path:
    """The JSON of an export. Captions and keypoints, which COCO has beside its instances, are passed over."""
    named = [path for name in COCO_FILES if (path := folder / name).is_file()]
    if named:
        return named[0]
    candidates = sorted(folder.glob("annotations/instances*.json")) or sorted(
        folder.glob("annotations/*.json")
    )
    if not candidates:
        expected = ", ".join(COCO_FILES)
        raise MediaError(f"{folder} holds no COCO labels. Expected {expected} or annotations/*.json.")
    if len(candidates) > 1:
        names = ", ".join(f"annotations/{path.name}" for path in candidates)
        raise MediaError(
            f"{folder} has several sets of labels: {names}. Give the one that is meant: {candidates[0]}."
        )
    return candidates[0]


def _picture_folders(index: Path) -> list[Path]:
    """Where a COCO file's pictures may lie, the data set's own folder first."""
    root = index.parent.parent if index.parent.name == "annotations" else index.parent
    split = index.stem.removeprefix("instances_")
    return [root, root / "images", root / split, root / "images" / split]


def _first_present(folders: Sequence[Path], name: PurePosixPath) -> Path | None:
    """A picture where its name says; or by the name's last part, where it was put there by hand."""
    candidates = (folder / part for part in (name, name.name) for folder in folders)
    return next((path for path in candidates if path.is_file()), None)
