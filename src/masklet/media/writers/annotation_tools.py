"""Masks for annotation tools: CVAT's XML 1.1, and Label Studio's tasks with its own brush format."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from jaxtyping import Bool

from masklet import rle
from masklet.boxes import tight_box
from masklet.drawing import TOLERANCE, outlines
from masklet.media.writers.polygons import join_rings
from masklet.media.writers.writer import CocoMask, SpooledJson, SpooledWriter

MODEL_VERSION = "masklet"
NOT_IN_XML = r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
RUN_BITS = (4, 8, 12, 16)  # the four sizes that a run's length may have in a brush


class XmlWriter:
    """XML that is written piece by piece, so that no file is in memory as a whole."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._xml = XMLGenerator(file, encoding="utf-8", short_empty_elements=True)
        self._xml.startDocument()

    @contextmanager
    def within(self, tag: str, attributes: Mapping[str, object] | None = None) -> Iterator[None]:
        texts = {name: _legal(value) for name, value in (attributes or {}).items()}
        self._xml.startElement(tag, AttributesImpl(texts))
        yield
        self._xml.endElement(tag)
        self._xml.ignorableWhitespace("\n")

    def element(self, tag: str, text: object = "", attributes: Mapping[str, object] | None = None) -> None:
        with self.within(tag, attributes):
            self._xml.characters(_legal(text))


def _legal(value: object) -> str:
    """Text as XML can hold it: a file's name may have control characters."""
    return re.sub(NOT_IN_XML, "\ufffd", str(value))


class _CvatXml(SpooledWriter):
    mode: str
    shape: str

    def write_file(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8") as file:
            xml = XmlWriter(file)
            with xml.within("annotations"):
                xml.element("version", "1.1")
                self._write_meta(xml)
                self.write_shapes(xml)

    @abstractmethod
    def write_shapes(self, xml: XmlWriter) -> None: ...

    def _write_meta(self, xml: XmlWriter) -> None:
        names = dict.fromkeys(map(self._categories.name, self._spool.ids))
        write_meta(xml, self._source.name, self._length, type(self), names, self._source.size)


def write_meta(
    xml: XmlWriter,
    name: str,
    size: int,
    kind: type[_CvatXml],
    labels: Iterable[str],
    original_size: tuple[int, int] | None = None,
) -> None:
    """Write what CVAT's XML says of a task.

    Args:
        xml: Where `annotations` was begun.
        name: The task's.
        size: How many pictures or frames it has.
        kind: What its shapes are.
        labels: The classes.
        original_size: (H, W) of all pictures, if it is the same.
    """
    with xml.within("meta"), xml.within("task"):
        xml.element("name", name)
        xml.element("size", size)
        xml.element("mode", kind.mode)
        xml.element("flipped", "False")
        with xml.within("labels"):
            for label in labels:
                with xml.within("label"):
                    xml.element("name", label)
                    xml.element("type", kind.shape)
                    xml.element("attributes")
        if original_size is not None:
            height, width = original_size
            with xml.within("original_size"):
                xml.element("width", width)
                xml.element("height", height)


class CvatTracks(_CvatXml):
    """CVAT for video: a track for each object, a polygon on each frame.

    CVAT holds one outline without holes for an object and frame: parts and holes are joined by cuts without
    width.

    Args:
        path: The file.
        source: Where the frames come from.
        names: Classes of the objects by id; without one, "object".

    Raises:
        MediaError: The file cannot be written, or a class has a control character.
    """

    mode, shape = "interpolation", "polygon"

    def write_shapes(self, xml: XmlWriter) -> None:
        for id in self._spool.ids:
            with xml.within("track", {"id": id, "label": self._categories.name(id), "source": "auto"}):
                self._write_track(xml, id)

    def _write_track(self, xml: XmlWriter, id: int) -> None:
        points = None
        for frame in range(min(self._length, self._spool.frames[-1] + 2)):
            mask = self._spool.get(id, frame)
            if mask is None and points is None:
                continue  # still invisible; between keyframes CVAT repeats the last one
            if mask is not None:
                points = _points(rle.decode(mask["segmentation"]))
            shape = {"frame": frame, "points": points, "outside": int(mask is None)}
            xml.element("polygon", attributes={**shape, "occluded": 0, "keyframe": 1})
            if mask is None:
                points = None


class CvatMasks(_CvatXml):
    """CVAT for images: the masks themselves. CVAT has no tracks of masks; `group_id` tells objects apart.

    Args:
        path: The file.
        source: Where the frames come from.
        names: Classes of the objects by id; without one, "object".

    Raises:
        MediaError: The file cannot be written, or a class has a control character.
    """

    mode, shape = "annotation", "mask"

    def write_shapes(self, xml: XmlWriter) -> None:
        for frame in self._spool.frames:
            height, width = self._spool.sizes[frame]
            name = self._source.file_name(frame)
            with xml.within("image", {"id": frame, "name": name, "width": width, "height": height}):
                for id, mask in self._spool.masks_on(frame):
                    write_mask(xml, self._categories.name(id), id, rle.decode(mask["segmentation"]))


def write_mask(
    xml: XmlWriter,
    label: str,
    group: int,
    mask: Bool[np.ndarray, "H W"],
    values: Mapping[str, str] | None = None,
) -> None:
    """Write a mask within an image of CVAT's XML; an empty mask has no element.

    Args:
        xml: Where an image was begun.
        label: The object's class.
        group: Tells objects apart; CVAT keeps it as a number for each mask.
        mask: The object's pixels.
        values: Of the label's attributes, by name.
    """
    box = tight_box(mask)
    if box is None:
        return
    x0, y0, x1, y1 = box
    attributes = {
        "label": label,
        "source": "auto",
        "occluded": 0,
        "rle": ", ".join(map(str, rle.encode_rows(mask[y0:y1, x0:x1]))),
        "left": x0,
        "top": y0,
        "width": x1 - x0,
        "height": y1 - y0,
        "z_order": 0,
        "group_id": group,
    }
    with xml.within("mask", attributes):
        for name, value in (values or {}).items():
            xml.element("attribute", value, {"name": name})


def _points(mask: np.ndarray) -> str:
    rings = [ring for polygon in outlines(mask, TOLERANCE) for ring in polygon]
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in join_rings(rings))


class LabelStudioBrushes(SpooledJson):
    """A task for each frame: its picture's name, and each mask as a brush.

    For a project with `<Image name="image" value="$image"/>` and `<BrushLabels name="tag" toName="image">`.

    Args:
        path: The file.
        source: Where the frames come from.
        names: Classes of the objects by id; without one, "object".

    Raises:
        MediaError: The file cannot be written, or a class has a control character.
    """

    def content(self) -> Iterator[Mapping[str, Any]]:
        for frame in self._spool.frames:
            masks = dict(self._spool.masks_on(frame))
            yield {
                "data": {
                    "image": self._source.file_name(frame),
                    "frame": frame,
                    "video": self._source.name,
                },
                "predictions": [
                    {
                        "model_version": MODEL_VERSION,
                        "score": min((mask["score"] for mask in masks.values()), default=0.0),
                        "result": [self._region(id, frame, mask) for id, mask in masks.items()],
                    }
                ],
            }

    def _region(self, id: int, frame: int, mask: CocoMask) -> dict[str, Any]:
        region = brush_region(
            rle.decode(mask["segmentation"]), self._categories.name(id), from_name="tag", to_name="image"
        )
        return {
            "id": f"object{id}-{frame}",
            **region,
            "score": mask["score"],
            "meta": {"text": [f"object {id}"]},
        }


class LabelStudioVideo(SpooledJson):
    """One task for the video: a box for each object, on every frame on which it is visible.

    Label Studio has no masks in videos. For a project with `<Video name="video" value="$video"/>`,
    `<VideoRectangle name="box" toName="video"/>` and `<Labels name="labels" toName="video">`.

    Args:
        path: The file.
        source: Where the frames come from.
        names: Classes of the objects by id; without one, "object".

    Raises:
        MediaError: The file cannot be written, or a class has a control character.
    """

    def content(self) -> Iterator[Mapping[str, Any]]:
        regions = [self._region(id) for id in self._spool.ids]
        result = [region for region in regions if region["value"]["sequence"]]
        yield {
            "data": {"video": self._source.name},
            "predictions": [{"model_version": MODEL_VERSION, "result": result}],
        }

    def _region(self, id: int) -> dict[str, Any]:
        last, length = self._spool.frames[-1], self._length
        sequence: list[dict[str, Any]] = []
        for frame in range(last + 1):
            mask = self._spool.get(id, frame)
            if mask:
                sequence.append(self._keyframe(frame, mask["bbox"]))
            elif sequence:
                sequence[-1]["enabled"] = False  # the box does not show after this frame
        if sequence and last + 1 < length:
            sequence[-1]["enabled"] = False
        duration = round(length / self._source.fps, 6)
        value = {"framesCount": length, "duration": duration, "sequence": sequence}
        return {
            "id": f"object{id}",
            "type": "videorectangle",
            "from_name": "box",
            "to_name": "video",
            "origin": "prediction",
            "value": {**value, "labels": [self._categories.name(id)]},
        }

    def _keyframe(self, frame: int, box: list[float]) -> dict[str, Any]:
        x, y, width, height = box
        tall, wide = self._source.size
        shares = {"x": x / wide, "y": y / tall, "width": width / wide, "height": height / tall}
        return {
            **{name: round(100 * share, 4) for name, share in shares.items()},
            "rotation": 0,
            "enabled": True,
            "frame": frame + 1,  # Label Studio counts from 1
            "time": round((frame + 1) / self._source.fps, 6),
        }


def brush_region(
    mask: Bool[np.ndarray, "H W"], label: str, *, from_name: str, to_name: str
) -> dict[str, Any]:
    """A mask as one region of an annotation or a prediction.

    Args:
        mask: bool (H, W).
        label: The object's class.
        from_name: The name of the BrushLabels in the project's labelling interface.
        to_name: The name of its Image.

    Returns:
        A dict as Label Studio's JSON has it.
    """
    height, width = mask.shape
    return {
        "type": "brushlabels",
        "from_name": from_name,
        "to_name": to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_rle(mask), "brushlabels": [label]},
    }


def brush_rle(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """A mask as the bytes of Label Studio's brush: runs of an RGBA picture whose channels all are the mask.

    The bits are: how many values follow (32), bits of a value less 1 (5), and four sizes less 1 (4 each).
    Then for each run a 1, which size its length has (2), its length less 1 (that size), and its value (8).

    Args:
        mask: bool (H, W).

    Returns:
        The bytes, as numbers from 0 to 255.
    """
    pixels = mask.ravel()
    ends = np.append(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, pixels.size)
    lengths = 4 * np.diff(ends, prepend=0)
    values = np.where(pixels[ends - 1], 255, 0)
    longest = 2 ** RUN_BITS[-1]
    chunks = -(-lengths // longest)
    last = np.cumsum(chunks) - 1
    values = np.repeat(values, chunks)
    split = np.full(len(values), longest)
    split[last] = lengths - (chunks - 1) * longest
    size = np.searchsorted(2 ** np.array(RUN_BITS), split)
    width = np.array(RUN_BITS)[size]
    codes = (0b100 | size) << (width + 8) | (split - 1) << 8 | values
    head = f"{4 * pixels.size:032b}{8 - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in RUN_BITS)
    bits = np.concatenate([np.array(list(head), dtype=np.uint8), _bits(codes, 11 + width)])
    return np.packbits(bits).tolist()


def _bits(codes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The lowest bits of each code, one code after the other."""
    places = np.arange(32)
    bits = np.unpackbits(codes.astype(">u4").view(np.uint8)).reshape(-1, 32)
    return bits[places >= 32 - widths[:, None]]
