"""Benchmarks on disk: clips and pictures with ground truth, whatever folder layout they come in.

Clips lie as in DAVIS 2016 and 2017, MOSE, YouTube-VOS, LVOS and SA-V's validation and test folders, or as
NAME/frames beside NAME/masks; pictures beside a COCO json. Nothing is decoded before it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from masklet.errors import MediaError
from masklet.media import Frames, find_pictures, open_frames, read_image
from masklet.media.labels import read_label_map

UNDECIDED = 255  # in a palette PNG: pixels that count neither for nor against

# Where frames and masks lie below a benchmark's root: DAVIS; SA-V; MOSE, YouTube-VOS and LVOS.
FOLDERS = (
    ("JPEGImages/480p", "Annotations/480p"),
    ("JPEGImages/Full-Resolution", "Annotations/Full-Resolution"),
    ("JPEGImages_24fps", "Annotations_6fps"),
    ("JPEGImages", "Annotations"),
)


@dataclass(frozen=True)
class Truth:
    """The ground truth of one frame: a mask for each object that has an annotation there."""

    masks: Mapping[int, np.ndarray]
    undecided: np.ndarray | None

    def pair(self, id: int, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One object's true mask and an answer to it, ready to be scored: both without undecided pixels."""
        truth = self.masks.get(id)
        if truth is None:
            truth = np.zeros_like(answer)
        if self.undecided is None:
            return truth, answer
        return truth & ~self.undecided, answer & ~self.undecided


@dataclass(frozen=True)
class Clip:
    """A video with ground truth on some of its frames.

    labels : by frame index, the PNG that holds every object's label (under None), or one PNG for each object,
             whose id is one more than SA-V's, since 0 is the background
    """

    name: str
    files: tuple[Path, ...]
    labels: Mapping[int, Mapping[int | None, Path]]

    @property
    def frames(self) -> Frames:
        return open_frames(list(self.files))

    @property
    def exclusive(self) -> bool:
        """Whether a pixel belongs to one object at most: labels say so, a PNG for each object does not."""
        return all(None in files for files in self.labels.values())

    def picture(self, frame: int) -> np.ndarray:
        return self.frames[frame]

    def annotated(self, id: int) -> list[int]:
        """The frames on which this object has a ground truth, be it that it is not there."""
        return [frame for frame, files in self.labels.items() if None in files or id in files]

    def truth(self, frame: int) -> Truth:
        masks: dict[int, np.ndarray] = {}
        undecided = None
        for id, file in self.labels[frame].items():
            labels = read_label_map(file)
            if id is not None or self._black_and_white:
                masks[id or 1] = labels > 0
                continue
            masks |= {
                int(label): labels == label for label in np.unique(labels) if label not in (0, UNDECIDED)
            }
            undecided = labels == UNDECIDED
        return Truth(masks, undecided)

    @cached_property
    def first_frames(self) -> dict[int, int]:
        """Every object, with the first frame that shows it; there it is prompted."""
        first: dict[int, int] = {}
        for frame in self.labels:
            for id, mask in self.truth(frame).masks.items():
                if id not in first and mask.any():
                    first[id] = frame
        return dict(sorted(first.items()))

    @cached_property
    def _black_and_white(self) -> bool:
        """DAVIS 2016 writes its one object as 255, which elsewhere means undecided."""
        first = next(iter(self.labels.values()))
        return None in first and set(np.unique(read_label_map(first[None]))) <= {0, UNDECIDED}


@dataclass(frozen=True)
class Picture:
    """An image with a mask for each of some objects."""

    name: str
    file: Path
    segmentations: Mapping[int, Any]  # by annotation id, in any of COCO's three forms

    def picture(self, frame: int = 0) -> np.ndarray:
        """(H, W, 3) uint8; an image is a clip of one frame."""
        return read_image(self.file)

    def truth(self, id: int, size: tuple[int, int]) -> np.ndarray:
        """One object's mask, bool (H, W)."""
        said = self.segmentations[id]
        if isinstance(said, list) or isinstance(said["counts"], list):
            said = coco.frPyObjects(said, *size)
        merged = coco.merge(said) if isinstance(said, list) else said
        mask = coco.decode(merged).astype(bool)
        if mask.shape != size:
            raise MediaError(
                f"{self.name}: object {id} has a mask of (H, W) = {mask.shape} on an image of {size}: "
                "were the images resized without their json?"
            )
        return mask


def clips(root: Path, names: Sequence[str] | None = None) -> list[Clip]:
    """The annotated clips under a benchmark's folder, in order of name, or those named, in that order."""
    folders = _clip_folders(root)
    missing = [name for name in names or () if name not in folders]
    if missing:
        raise MediaError(f"{root} has no clip {', '.join(missing)}; it has {', '.join(sorted(folders))}.")
    return [_clip(name, *folders[name]) for name in names or sorted(folders)]


def pictures(root: Path, names: Sequence[str] | None = None) -> list[Picture]:
    """The annotated pictures of a folder with instances.json in it, or in each of its subfolders.

    A picture's name is SET/FILE. Crowds are left out, as they are not one object.
    """
    found = {each.name: each for file in _instance_files(root) for each in _pictures_of(file)}
    missing = [name for name in names or () if name not in found]
    if missing:
        raise MediaError(
            f"{root} has no picture {', '.join(missing[:5])}: names are SET/FILE, as in {next(iter(found))}."
        )
    return [found[name] for name in names or found]


def listed(file: Path) -> list[str]:
    """Names from a text file, one a line; of DAVIS 2016's lines of paths, the folder before the file."""
    try:
        lines = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise MediaError(f"the list {file} cannot be read: {error.strerror}.") from error
    names = [line.strip("/").split("/")[-2] if line.startswith("/") else line for line in lines]
    return list(dict.fromkeys(names))


def _clip_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """By clip name, the folder of its frames and that of its masks."""
    if not root.is_dir():
        raise MediaError(f"{root} is not a folder. Give the folder that holds the benchmark.")
    for frames, masks in FOLDERS:
        if (root / frames).is_dir() and (root / masks).is_dir():
            annotated = sorted(folder for folder in (root / masks).iterdir() if folder.is_dir())
            return {folder.name: (root / frames / folder.name, folder) for folder in annotated}
    flat = sorted(folder.parent for folder in root.glob("*/masks") if (folder.parent / "frames").is_dir())
    if not flat:
        raise MediaError(
            f"{root} holds no known layout. Expected JPEGImages beside Annotations (DAVIS, or a split of "
            "MOSE, YouTube-VOS or LVOS), JPEGImages_24fps beside Annotations_6fps (SA-V), or NAME/frames "
            "beside NAME/masks."
        )
    return {folder.name: (folder / "frames", folder / "masks") for folder in flat}


def _clip(name: str, frames: Path, masks: Path) -> Clip:
    files = find_pictures(frames)
    index = {file.stem: position for position, file in enumerate(files)}
    labels: dict[int, dict[int | None, Path]] = {}
    apart: dict[int | None, Path] = {
        int(each.name) + 1: each for each in sorted(masks.iterdir()) if each.is_dir()
    }
    for id, folder in (apart or {None: masks}).items():
        for file in find_pictures(folder):
            if file.stem not in index:
                raise MediaError(f"{file} has no frame {file.stem} in {frames}.")
            labels.setdefault(index[file.stem], {})[id] = file
    return Clip(name, tuple(files), dict(sorted(labels.items())))


def _instance_files(root: Path) -> list[Path]:
    files = (
        [root / "instances.json"]
        if (root / "instances.json").is_file()
        else sorted(root.glob("*/instances.json"))
    )
    if not files:
        raise MediaError(
            f"{root} holds no pictures: expected instances.json (COCO) in it or in its subfolders."
        )
    return files


def _pictures_of(file: Path) -> list[Picture]:
    said = json.loads(file.read_text())
    objects: dict[int, dict[int, Any]] = {image["id"]: {} for image in said["images"]}
    for each in said["annotations"]:
        if "attributes" in each or not each.get("iscrowd"):  # CVAT calls every brushed mask a crowd
            objects[each["image_id"]][each["id"]] = each["segmentation"]
    folder = file.parent
    return [
        Picture(f"{folder.name}/{image['file_name']}", folder / image["file_name"], objects[image["id"]])
        for image in said["images"]
        if objects[image["id"]]
    ]
