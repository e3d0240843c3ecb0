"""Masks for CVAT: its XML 1.1, for images and for video."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from jaxtyping import Bool

from masklet import rle
from masklet.boxes import tight_box
from masklet.drawing import TOLERANCE, outlines
from masklet.media.writers.polygons import join_rings
from masklet.media.writers.spool import SpooledWriter

NOT_IN_XML = r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


class XmlWriter:
    """XML that is written piece by piece, so that the whole file is never in memory."""

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
    """Text without characters that XML does not allow: a file's name may have control characters."""
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
    """Write the task's metadata in CVAT's XML.

    Args:
        xml: With `annotations` open.
        name: The task's name.
        size: The number of images or frames.
        kind: The type of its shapes.
        labels: The classes.
        original_size: (H, W), if all images have the same size.
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

    Its arguments are those of `SpooledWriter`.
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
                continue  # still outside; CVAT repeats the last keyframe
            if mask is not None:
                points = _points(rle.decode(mask["segmentation"]))
            shape = {"frame": frame, "points": points, "outside": int(mask is None)}
            xml.element("polygon", attributes={**shape, "occluded": 0, "keyframe": 1})
            if mask is None:
                points = None


class CvatMasks(_CvatXml):
    """CVAT for images: the masks themselves. CVAT has no tracks of masks; `group_id` identifies objects.

    Its arguments are those of `SpooledWriter`.
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
        xml: With an image open.
        label: The object's class.
        group: Identifies the object; CVAT stores it as a number for each mask.
        mask: The object's pixels.
        values: Values of the label's attributes, by name.
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
