"""Pictures labelled in a COCO json, as CVAT, Label Studio, Roboflow and others export it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from masklet.datasets.labelled_video import Footage, read_json
from masklet.datasets.stills import Still
from masklet.errors import MediaError

COCO_FILES = ("instances.json", "annotations.json", "result.json", "_annotations.coco.json")


def coco(path: Path) -> list[Footage]:
    """The pictures of a COCO file that have labels; crowds are left out.

    path : the json, or the folder of an export
    """
    index = path if path.is_file() else _index(path)
    said = read_json(index)
    if not isinstance(said, dict) or not {"images", "annotations"} <= said.keys():
        raise MediaError(f"{index} is no COCO file: it has no images and annotations.")
    objects = _objects(index, said["annotations"])
    entries = [each for each in said["images"] if each["id"] in objects]
    labelled = [(_inside(each["file_name"]), objects[each["id"]]) for each in entries]
    folders = _picture_folders(index)
    files = [_first_present(folders, name) for name, _ in labelled]
    if not any(files):
        places = ", ".join(str(folder) for folder in folders)
        raise MediaError(
            f"{index} has labels for {len(labelled)} pictures, such as {labelled[0][0]}, and none of them "
            f"lies in {places}. Export with pictures, or put them there."
        )
    return [
        Footage(f"{folders[0].name}/{name}", partial(Still, file or folders[0] / name, masks))
        for (name, masks), file in zip(labelled, files, strict=True)
    ]


def _inside(name: str) -> PurePosixPath:
    """A picture's name as a path below the data set: Label Studio may write backslashes, or begin with ../"""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "..")))


def _objects(index: Path, annotations: Sequence[Mapping[str, Any]]) -> dict[Any, dict[int, Any]]:
    """By the picture's id, by the annotation's, every segmentation of one object."""
    objects: dict[Any, dict[int, Any]] = {}
    for number, each in enumerate(annotations):
        if each.get("segmentation") and not _crowd(each):
            objects.setdefault(each["image_id"], {})[each.get("id", number)] = each["segmentation"]
    if not objects:
        raise MediaError(
            f"{index} has {len(annotations)} annotations, and none is a polygon or a mask of one "
            "object. Boxes cannot be learned from: draw outlines, or brush masks."
        )
    return objects


def _crowd(said: Mapping[str, Any]) -> bool:
    """Whether an annotation is of many objects; CVAT, known by its attributes, calls brushed masks so."""
    return bool(said.get("iscrowd")) and "attributes" not in said


def _index(folder: Path) -> Path:
    """The json of an export. Captions and keypoints, which COCO has beside its instances, are passed over."""
    named = [path for name in COCO_FILES if (path := folder / name).is_file()]
    if named:
        return named[0]
    found = sorted(folder.glob("annotations/instances*.json")) or sorted(folder.glob("annotations/*.json"))
    if not found:
        expected = ", ".join(COCO_FILES)
        raise MediaError(f"{folder} holds no COCO labels. Expected {expected} or annotations/*.json.")
    if len(found) > 1:
        names = ", ".join(f"annotations/{path.name}" for path in found)
        raise MediaError(
            f"{folder} has several sets of labels: {names}. Give the one that is meant: {found[0]}."
        )
    return found[0]


def _picture_folders(index: Path) -> list[Path]:
    """Where a COCO file's pictures may lie, the data set's own folder first."""
    root = index.parent.parent if index.parent.name == "annotations" else index.parent
    split = index.stem.removeprefix("instances_")
    return [root, root / "images", root / split, root / "images" / split]


def _first_present(folders: Sequence[Path], name: PurePosixPath) -> Path | None:
    """A picture where its name says; or by the name's last part, as of what was put there by hand."""
    candidates = (folder / each for each in (name, name.name) for folder in folders)
    return next((each for each in candidates if each.is_file()), None)
