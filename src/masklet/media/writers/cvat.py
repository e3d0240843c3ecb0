"""Masks for CVAT: its XML 1.1, for "Upload annotations" of a task whose labels have the objects' names.

https://docs.cvat.ai/docs/dataset_management/formats/xml_format/ describes the format.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from masklet import rle
from masklet.drawing import TOLERANCE, outlines
from masklet.media.writers.polygons import join_rings
from masklet.media.writers.spool import SpooledWriter


class _Xml:
    """XML that is written piece by piece, so that no file is in memory as a whole."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._xml = XMLGenerator(file, encoding="utf-8", short_empty_elements=True)
        self._xml.startDocument()

    @contextmanager
    def within(self, tag: str, attributes: Mapping[str, object] | None = None) -> Iterator[None]:
        texts = {name: str(value) for name, value in (attributes or {}).items()}
        self._xml.startElement(tag, AttributesImpl(texts))
        yield
        self._xml.endElement(tag)
        self._xml.ignorableWhitespace("\n")

    def element(self, tag: str, text: object = "", attributes: Mapping[str, object] | None = None) -> None:
        with self.within(tag, attributes):
            self._xml.characters(str(text))


class _CvatXml(SpooledWriter):
    mode: str
    shape: str

    def write_file(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8") as file:
            xml = _Xml(file)
            with xml.within("annotations"):
                xml.element("version", "1.1")
                self._write_meta(xml)
                self.write_shapes(xml)

    @abstractmethod
    def write_shapes(self, xml: _Xml) -> None: ...

    def _write_meta(self, xml: _Xml) -> None:
        height, width = self._source.size
        with xml.within("meta"), xml.within("task"):
            xml.element("name", self._source.name)
            xml.element("size", self._length)
            xml.element("mode", self.mode)
            xml.element("flipped", "False")
            with xml.within("labels"):
                for name in dict.fromkeys(map(self._categories.name, self._spool.ids)):
                    with xml.within("label"):
                        xml.element("name", name)
                        xml.element("type", self.shape)
                        xml.element("attributes")
            with xml.within("original_size"):
                xml.element("width", width)
                xml.element("height", height)


class CvatTracks(_CvatXml):
    """CVAT for video: a track for each object, a polygon on each frame.

    CVAT holds one outline without holes for an object and frame: parts and holes are joined by cuts without
    width.
    """

    mode, shape = "interpolation", "polygon"

    def write_shapes(self, xml: _Xml) -> None:
        for id in self._spool.ids:
            with xml.within("track", {"id": id, "label": self._categories.name(id), "source": "auto"}):
                self._write_track(xml, id)

    def _write_track(self, xml: _Xml, id: int) -> None:
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
    """CVAT for images: the masks themselves. CVAT has no tracks of masks; `group_id` tells objects apart."""

    mode, shape = "annotation", "mask"

    def write_shapes(self, xml: _Xml) -> None:
        for frame in self._spool.frames:
            height, width = self._spool.sizes[frame]
            name = self._source.file_name(frame)
            with xml.within("image", {"id": frame, "name": name, "width": width, "height": height}):
                for id, mask in self._spool.masks_on(frame):
                    self._write_mask(xml, id, rle.decode(mask["segmentation"]), mask["bbox"])

    def _write_mask(self, xml: _Xml, id: int, mask: np.ndarray, box: list[float]) -> None:
        left, top, width, height = map(int, box)
        attributes = {
            "label": self._categories.name(id),
            "source": "auto",
            "occluded": 0,
            "rle": ", ".join(map(str, _run_lengths(mask[top : top + height, left : left + width]))),
            "left": left,
            "top": top,
            "width": width,
            "height": height,
            "z_order": 0,
            "group_id": id,
        }
        xml.element("mask", attributes=attributes)


def _points(mask: np.ndarray) -> str:
    rings = [ring for polygon in outlines(mask, TOLERANCE) for ring in polygon]
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in join_rings(rings))


def _run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of runs, row by row; the first is of the background, and may be 0.

    >>> _run_lengths(np.array([[True, True, False], [False, False, True]]))
    [0, 2, 3, 1]
    """
    pixels = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
