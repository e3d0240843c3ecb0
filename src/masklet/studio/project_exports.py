"""Exports of a whole project as one file: images, masks and classes of all its files, split into train and
val."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from sqlalchemy import select

from masklet import rle
from masklet.media import outlines
from masklet.media.annotations.cvat import UNDEFINED
from masklet.media.writers.cvat import XmlWriter, write_mask
from masklet.media.writers.measures import COLUMNS, measure
from masklet.media.writers.polygons import join_rings
from masklet.media.writers.spool import CocoMask
from masklet.splits import is_held_back
from masklet.studio.errors import ApiError
from masklet.studio.inference.live import LiveVideos
from masklet.studio.store.database import Database
from masklet.studio.store.project_files import find_project_videos
from masklet.studio.store.tables import Project, Result, Video
from masklet.studio.store.video_history import State, holds_at, results
from masklet.studio.views import unfinished_plan

Split = Literal["train", "val"]
ProjectFormat = Literal["coco", "yolo", "cvat-images", "measures"]
TOLERANCE = 0.5  # pixels between a mask's edge and its outline
MAX_SIDE = 8192  # maximum side of an exported image
MAX_STEM = 120  # bytes of a file's name
FRAME_NUMBER = re.compile(r"_\d{6,}$")  # after a video's name


@dataclass(frozen=True)
class ProjectExportJob:
    """The options of an export of a project.

    Attributes:
        validation: The share of the files that goes to val, 0 to 1.
        hidden: Whether to take hidden objects.
        reviewed_only: Whether to take reviewed frames only.
    """

    id: str
    project: str
    format: ProjectFormat
    validation: float
    hidden: bool
    images: bool
    reviewed_only: bool


@dataclass
class Dataset:
    """The collected data of one split."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class LabelledFrame:
    """A frame with the masks that are exported of it, by class.

    Attributes:
        values: Of objects' attributes, by object and name.
    """

    video: Video
    frame: int
    name: str
    masks: list[tuple[int, str, str, float]]  # object, class, run lengths, predicted IoU
    values: dict[int, dict[str, str]]


class ProjectWriter:
    """Writes a project as a zip file, frame by frame."""

    def __init__(
        self,
        database: Database,
        live: LiveVideos,
        job: ProjectExportJob,
        tracking: Callable[[str], float | None],
    ) -> None:
        self._database = database
        self._live = live
        self._job = job
        self._tracking = tracking
        self._classes: list[str] = []
        self._colors: dict[str, str] = {}
        self._attributes: dict[str, list[dict[str, Any]]] = {}  # by class
        self._labels: set[str] = set()  # classes of exported objects
        self._hidden: Counter[str] = Counter()  # objects that are left out, by file
        self._has_values = False  # whether attributes have values that the format cannot hold
        self._validation_files: int | None = None  # number of files in val; None without a split
        self._name = ""
        self._empty: list[str] = []
        self._partial: list[str] = []  # files whose tracking was under way, or stopped
        self._counts: Counter[str] = Counter()  # numbers of written masks, frames and files

    def write(self, path: Path) -> Iterator[tuple[int, int]]:
        """Write the file.

        Args:
            path: The zip file.

        Yields:
            How many of the project's files are done, and of how many.

        Raises:
            ApiError: The project has no masks.
        """
        job = self._job
        with self._database.begin() as session:
            project = session.get_one(Project, job.project)
            self._name = project.name
            self._classes = [entry["name"] for entry in project.classes or ()]
            self._colors = {entry["name"]: entry["color"] for entry in project.classes or ()}
            self._attributes = {entry["name"]: entry.get("attributes", []) for entry in project.classes or ()}
            videos = find_project_videos(session, job.project)
        if job.format == "measures":
            yield from self._write_measures(path, videos)
            return
        data: dict[Split, Dataset] = {"train": Dataset(), "val": Dataset()}
        names = unique_stems([(video.name, video.frames) for video in videos])
        stems = dict(zip((video.id for video in videos), names, strict=True))
        filled = {video.id for video in videos if next(self._frames(video, stems[video.id]), None)}
        splits = {video.id: split_of(video.name, job.validation) for video in videos if video.id in filled}
        if 0 < job.validation < 1:
            self._validation_files = list(splits.values()).count("val")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for done, video in enumerate(videos):
                yield done, len(videos)
                split = splits.get(video.id, "train")
                self._write_video(archive, video, stems[video.id], split, data[split])
            self._check_masks()
            if job.format == "cvat-images":
                self._write_cvat(archive, data)
            for name, text in self._summaries(data):
                archive.writestr(name, text)

    @property
    def notes(self) -> list[str]:
        written = [f"{count} {name}{'s' * (count != 1)}" for name, count in self._counts.items()]
        lines = [f"Exported {written[0]} on {written[1]} of {written[2]}."] if written else []
        added = self._classes[len(self._colors) :]
        gone = [name for name in added if name in self._labels]
        named = [name for name in added if name not in self._labels]
        if self._colors and named:
            lines.append(
                f"Objects without a class are exported with their names as classes: {shorten_list(named)}."
            )
        if gone:
            lines.append(f"Classes of objects that the project no longer has: {shorten_list(gone)}.")
        if hidden := +self._hidden:
            objects = (
                "1 hidden object was" if hidden.total() == 1 else f"{hidden.total()} hidden objects were"
            )
            lines.append(f"{objects} left out, in {shorten_list(list(hidden))}.")
        if self._has_values:
            lines.append("YOLO cannot store attributes of objects: they are left out.")
        if self._validation_files is not None:
            lines.append(split_note(self._validation_files, self._counts["file"]))
        if self._partial:
            files = "1 file was" if len(self._partial) == 1 else f"{len(self._partial)} files were"
            lines.append(
                f"{files} not tracked to the end, so some masks are missing: {shorten_list(self._partial)}."
            )
        if self._empty:
            files = "1 file has" if len(self._empty) == 1 else f"{len(self._empty)} files have"
            verb = "was" if len(self._empty) == 1 else "were"
            masks = "no reviewed masks" if self._job.reviewed_only else "no masks"
            lines.append(f"{files} {masks} and {verb} left out: {shorten_list(self._empty)}.")
        return lines

    def _check_masks(self) -> None:
        if not self._counts["mask"]:
            raise ApiError(409, "nothing", "there are no masks in this project yet.")

    def _write_measures(self, path: Path, videos: Sequence[Video]) -> Iterator[tuple[int, int]]:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("video", *COLUMNS))
            for done, video in enumerate(videos):
                yield done, len(videos)
                before = self._counts["frame"]
                for labelled in self._frames(video, ""):
                    self._counts.update({"mask": len(labelled.masks), "frame": 1})
                    with self._live.using(video.id) as live:
                        masks = [
                            (object, name, _coco_mask(live.frames.size, counts, iou))
                            for object, name, counts, iou in labelled.masks
                        ]
                        rows = list(measure(live.frames, labelled.frame, masks))
                    table.writerows((video.name, *row) for row in rows)
                self._tally(video, self._counts["frame"] - before)
        self._check_masks()

    def _write_video(
        self, archive: zipfile.ZipFile, video: Video, stem: str, split: Split, data: Dataset
    ) -> None:
        before, place = self._counts["frame"], self._place_in_stack(video)
        for labelled in self._frames(video, stem):
            self._counts.update({"mask": len(labelled.masks), "frame": 1})
            if self._job.images:
                with self._live.using(video.id) as live:
                    image = live.decoder.jpeg(labelled.frame, MAX_SIDE, MAX_SIDE)
                name = f"images/{split}/{labelled.name}.jpg"
                archive.writestr(name, image, zipfile.ZIP_STORED)
            self._add_image(labelled, split, data, place(labelled.frame))
            if self._job.format == "yolo":
                archive.writestr(f"labels/{split}/{labelled.name}.txt", self._yolo_lines(labelled))
        self._tally(video, self._counts["frame"] - before)

    def _tally(self, video: Video, frames: int) -> None:
        """Record whether a file has masks, and whether some of them are missing."""
        if frames:
            self._counts["file"] += 1
            if not self._job.reviewed_only and self._is_partly_tracked(video.id):
                self._partial.append(video.name)
        else:
            self._empty.append(video.name)

    def _place_in_stack(self, video: Video) -> Callable[[int], dict[str, Any]]:
        """Of a frame of a TIFF its point in time and its slice, from 0 on; and the size of a pixel."""
        is_tiff = video.place.lower().endswith((".tif", ".tiff"))
        if self._job.format != "coco" or not (is_tiff or video.pixel_size):
            return lambda _: {}
        with self._live.using(video.id) as live:
            axes, size = live.frames.axes, live.frames.pixel_size
        known = {} if size is None else {"pixel_size_um": [size.x, size.y, size.z]}
        if axes is None:
            return lambda _: known
        return lambda frame: {"time": frame // axes.depth, "depth": frame % axes.depth, **known}

    def _is_partly_tracked(self, video: str) -> bool:
        """Whether tracking is waiting, running, or was stopped before its end."""
        if self._tracking(video) is not None:
            return True
        with self._live.history(video).read() as (session, state):
            row = session.get(Video, video)
            return row is not None and unfinished_plan(row, state, "") is not None

    def _frames(self, video: Video, stem: str) -> Iterator[LabelledFrame]:
        state = self._live.history(video.id).state
        classes = {
            id: obj.label or obj.name
            for id, obj in state.objects.items()
            if self._job.hidden or not obj.hidden
        }
        values = {
            id: {name: value for name, value in state.objects[id].attributes.items() if value}
            for id in classes
        }
        self._labels |= {state.objects[id].label or "" for id in classes}
        self._hidden[video.name] = len(state.objects) - len(classes)
        for frame in self._frame_numbers(video, state, classes):
            with self._database.begin() as session:
                rows = results(session, video.id, state.head, frame, frame + 1, list(classes))
            masks = [(row.object, classes[row.object], row.counts, row.iou) for row in rows if row.box]
            name = stem if video.frames == 1 else f"{stem}_{frame:06d}"
            if masks:
                yield LabelledFrame(video, frame, name, masks, values)

    def _frame_numbers(self, video: Video, state: State, objects: Iterable[int]) -> list[int]:
        where = holds_at(video.id, state.head), Result.object.in_(objects)
        with self._database.begin() as session:
            query = select(Result.frame).where(*where).distinct().order_by(Result.frame)
            frames = list(session.scalars(query))
        if self._job.reviewed_only and video.review != "reviewed":
            frames = [
                frame for frame in frames if any(start <= frame < stop for start, stop in state.reviewed)
            ]
        return frames

    def _class_number(self, name: str) -> int:
        """The index of a class, from 0; names that are not a class of the project follow."""
        if name not in self._classes:
            self._classes.append(name)
        return self._classes.index(name)

    def _add_image(self, labelled: LabelledFrame, split: Split, data: Dataset, place: dict[str, Any]) -> None:
        size = [labelled.video.height, labelled.video.width]
        image = {
            "id": len(data.images) + 1,
            "file_name": f"images/{split}/{labelled.name}.jpg",
            "height": size[0],
            "width": size[1],
            "video": labelled.video.name,
            "frame": labelled.frame,
            **place,
        }
        data.images.append(image)
        for object, name, counts, iou in labelled.masks:
            number = self._class_number(name) + 1
            if self._job.format == "yolo":
                self._has_values |= bool(labelled.values[object])
                continue
            mask = _coco_mask((labelled.video.height, labelled.video.width), counts, iou)
            data.annotations.append(
                {
                    "id": len(data.annotations) + 1,
                    "image_id": image["id"],
                    "category_id": number,
                    "object_id": object,
                    "segmentation": mask["segmentation"],
                    "area": mask["area"],
                    "bbox": mask["bbox"],
                    "iscrowd": 0,
                    **({"attributes": labelled.values[object]} if labelled.values[object] else {}),
                }
            )

    def _yolo_lines(self, labelled: LabelledFrame) -> str:
        height, width = labelled.video.height, labelled.video.width
        lines = []
        for _, name, counts, _ in labelled.masks:
            mask = rle.decode({"size": [height, width], "counts": counts})
            rings = [ring for polygon in outlines(mask, TOLERANCE) for ring in polygon]
            if rings:
                outline = np.asarray(join_rings(rings) / (width, height))
                numbers = " ".join(f"{value:.6f}" for value in outline.flat)
                lines.append(f"{self._class_number(name)} {numbers}\n")
        return "".join(lines)

    def _write_cvat(self, archive: zipfile.ZipFile, data: dict[Split, Dataset]) -> None:
        """Write annotations.xml, as CVAT for images 1.1 takes it: with the images' own names."""
        with archive.open("annotations.xml", "w") as opened, io.TextIOWrapper(opened, "utf-8") as file:
            xml = XmlWriter(file)
            with xml.within("annotations"):
                xml.element("version", "1.1")
                with xml.within("meta"), xml.within("project"):
                    xml.element("name", self._name)
                    with xml.within("labels"):
                        for name in self._classes:
                            with xml.within("label"):
                                xml.element("name", name)
                                xml.element("color", self._colors.get(name, ""))
                                xml.element("type", "mask")
                                with xml.within("attributes"):
                                    self._write_attributes(xml, name)
                    with xml.within("tasks"):  # Datumaro finds the subsets by these
                        for split in (split for split, dataset in data.items() if dataset.images):
                            with xml.within("task"):
                                xml.element("subset", split)
                number = 0
                for split, dataset in data.items():
                    by_image: dict[int, list[dict[str, Any]]] = {}
                    for annotation in dataset.annotations:
                        by_image.setdefault(annotation["image_id"], []).append(annotation)
                    for image in dataset.images:
                        size = {"width": image["width"], "height": image["height"]}
                        name = PurePosixPath(image["file_name"]).name
                        fields = {"id": number, "name": name, "subset": split, **size}
                        with xml.within("image", fields):
                            for annotation in by_image.get(image["id"], ()):
                                label = self._classes[annotation["category_id"] - 1]
                                mask = rle.decode(annotation["segmentation"])
                                values = annotation.get("attributes")
                                write_mask(xml, label, annotation["object_id"], mask, values)
                        number += 1

    def _write_attributes(self, xml: XmlWriter, label: str) -> None:
        for attribute in self._attributes.get(label, ()):
            values = [UNDEFINED, *attribute["values"]] if attribute["values"] else [""]
            with xml.within("attribute"):
                xml.element("name", attribute["name"])
                xml.element("mutable", "False")
                xml.element("input_type", "select" if attribute["values"] else "text")
                xml.element("default_value", values[0])
                xml.element("values", "\n".join(values))

    def _summaries(self, data: dict[Split, Dataset]) -> Iterator[tuple[str, str]]:
        if self._job.format == "cvat-images":
            return
        if self._job.format == "yolo":
            names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(self._classes))
            val = "val" if data["val"].images else "train"
            train = "train" if data["train"].images else "val"
            yield "data.yaml", f"path: .\ntrain: images/{train}\nval: images/{val}\nnames:\n{names}"
            return
        categories = [
            {"id": number + 1, "name": name, "supercategory": "object"}
            for number, name in enumerate(self._classes)
        ]
        for split, dataset in data.items():
            if dataset.images:
                content = {
                    "info": {"description": "masklet studio"},
                    "licenses": [],
                    "categories": categories,
                    "images": dataset.images,
                    "annotations": dataset.annotations,
                }
                yield f"annotations/instances_{split}.json", json.dumps(content)


def _coco_mask(size: tuple[int, int], counts: str, iou: float) -> CocoMask:
    code = rle.RLE(size=list(size), counts=counts)
    x0, y0, x1, y1 = rle.boxes([code])[0].tolist()
    return CocoMask(
        segmentation=code, area=rle.area(code), bbox=[x0, y0, x1 - x0, y1 - y0], score=round(iou, 4)
    )


def shorten_list(names: Sequence[str]) -> str:
    """The first names of a list, in words."""
    return ", ".join(names[:10]) + (" and others" if len(names) > 10 else "")


def split_of(name: str, validation: float) -> Split:
    """The split of a file by its name, so that adding files does not move others.

    Args:
        name: Of the file; all frames of a video are in one part.
        validation: The share of val, 0 to 1.
    """
    return "val" if is_held_back(name, validation) else "train"


def split_note(validation: int, files: int) -> str:
    """The number of files in each part, and advice if one part is empty.

    >>> split_note(1, 5)
    '4 files are in train, 1 in val.'
    """
    if 0 < validation < files:
        train = files - validation
        return f"{train} file{'s are' if train > 1 else ' is'} in train, {validation} in val."
    full, other = ("val", "smaller") if validation else ("train", "larger")
    return (
        f"All files are in {full}: file names determine the split, and there are too few files for both "
        f"parts. Choose a {other} share, or add files."
    )


def unique_stems(files: Sequence[tuple[str, int]]) -> list[str]:
    """Unique names of files without suffix, also on file systems that ignore case.

    Frames of a video are called after it, with their number: no other file has such a name.

    Args:
        files: Names, and how many frames each has.

    Example:
        >>> unique_stems([("a.png", 1), ("A.jpg", 1), ("b.mp4", 9), ("b_000003.png", 1)])
        ['a', 'A_2', 'b', 'b_000003_2']
    """
    stems: dict[int, str] = {}
    taken: set[str] = set()
    videos: set[str] = set()
    for place in sorted(range(len(files)), key=lambda place: files[place][1] == 1):  # videos first
        name, frames = files[place]
        stem = plain = short_name(Path(name).stem) or "file"
        number = 1
        while stem.casefold() in taken or FRAME_NUMBER.sub("", stem.casefold()) in videos:
            number += 1
            stem = f"{plain}_{number}"
        stems[place] = stem
        taken.add(stem.casefold())
        if frames > 1:
            videos.add(stem.casefold())
    return [stems[place] for place in range(len(files))]


def short_name(name: str) -> str:
    """A name as the beginning of a file's: no folders, and short enough for any disk.

    >>> short_name("a/b"), len(short_name("\U0001f9a7" * 99))
    ('a_b', 30)
    """
    return name.replace("/", "_").encode("utf-8", "replace")[:MAX_STEM].decode("utf-8", "ignore").strip()
