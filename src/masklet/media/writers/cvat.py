"""Masks for CVAT: its XML 1.1, for "Upload annotations" of a task whose labels have the objects' names.

https://docs.cvat.ai/docs/dataset_management/formats/xml_format/ describes the format.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from masklet import rle
from masklet.files import StrPath, atomic_write
from masklet.media.kinds import Kinds, Names
from masklet.media.readers.source import Image, Source
from masklet.media.writers.polygons import TOLERANCE, joined, outlines
from masklet.media.writers.spool import Shelf
from masklet.media.writers.writer import Writer
from masklet.types import Masks


class _Xml:
    """XML that is written as it is said, so that no file is ever held as a whole."""

    def __init__(self, path: StrPath) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - open until `close`
        self._xml = XMLGenerator(self._file, encoding="utf-8", short_empty_elements=True)
        self._xml.startDocument()

    @contextmanager
    def within(self, tag: str, attributes: Mapping[str, object] | None = None) -> Iterator[None]:
        said = {name: str(value) for name, value in (attributes or {}).items()}
        self._xml.startElement(tag, AttributesImpl(said))
        yield
        self._xml.endElement(tag)
        self._xml.ignorableWhitespace("\n")

    def element(self, tag: str, text: object = "", **attributes: object) -> None:
        with self.within(tag, attributes):
            self._xml.characters(str(text))

    def close(self) -> None:
        self._file.close()


class _CvatXml(Writer):
    mode: str
    shape: str

    def __init__(self, path: StrPath, source: Source, names: Names | None = None) -> None:
        self._path = path
        self._source = source
        self._kinds = Kinds(names or {})
        self._shelf = Shelf(path)

    def write(self, image: Image, masks: Masks) -> None:
        self._shelf.put(masks)

    def close(self) -> None:
        if self._shelf.closed:
            return
        with atomic_write(self._path) as part:
            xml = _Xml(part)
            with xml.within("annotations"):
                xml.element("version", "1.1")
                self._meta(xml)
                self.shapes(xml)
            xml.close()
        self._shelf.close()

    @abstractmethod
    def shapes(self, xml: _Xml) -> None: ...

    @property
    def _length(self) -> int:
        """Frames of the whole source; of a stream, so far as it was written."""
        return (
            len(self._source) if isinstance(self._source, Sized) else max(self._shelf.frames, default=-1) + 1
        )

    def _meta(self, xml: _Xml) -> None:
        height, width = self._source.size
        with xml.within("meta"), xml.within("task"):
            xml.element("name", self._source.name)
            xml.element("size", self._length)
            xml.element("mode", self.mode)
            xml.element("flipped", "False")
            with xml.within("labels"):
                for name in dict.fromkeys(map(self._kinds.name, self._shelf.ids)):
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

    def shapes(self, xml: _Xml) -> None:
        for id in self._shelf.ids:
            with xml.within("track", {"id": id, "label": self._kinds.name(id), "source": "auto"}):
                self._track(xml, id)

    def _track(self, xml: _Xml, id: int) -> None:
        points = None
        for frame in range(min(self._length, self._shelf.frames[-1] + 2)):
            kept = self._shelf.get(id, frame)
            if kept is None and points is None:
                continue  # still out of sight; between keyframes CVAT keeps what was said last
            outside = int(kept is None)
            points = _points(rle.decode(kept["segmentation"])) if kept else points
            xml.element("polygon", frame=frame, points=points, outside=outside, occluded=0, keyframe=1)
            if kept is None:
                points = None


class CvatMasks(_CvatXml):
    """CVAT for images: the masks themselves. CVAT has no tracks of masks; `group_id` tells objects apart."""

    mode, shape = "annotation", "mask"

    def shapes(self, xml: _Xml) -> None:
        for frame in self._shelf.frames:
            height, width = self._shelf.sizes[frame]
            name = self._source.file_name(frame)
            with xml.within("image", {"id": frame, "name": name, "width": width, "height": height}):
                for id in self._shelf.ids:
                    kept = self._shelf.get(id, frame)
                    if kept:
                        self._mask(xml, id, rle.decode(kept["segmentation"]), kept["bbox"])

    def _mask(self, xml: _Xml, id: int, mask: np.ndarray, box: list[float]) -> None:
        left, top, width, height = map(int, box)
        part = mask[top : top + height, left : left + width]
        xml.element(
            "mask",
            label=self._kinds.name(id),
            source="auto",
            occluded=0,
            rle=", ".join(map(str, _runs(part))),
            left=left,
            top=top,
            width=width,
            height=height,
            z_order=0,
            group_id=id,
        )


def _points(mask: np.ndarray) -> str:
    rings = [ring for polygon in outlines(mask, TOLERANCE) for ring in polygon]
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in joined(rings))


def _runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs, row by row; the first is of the background, and may be 0.

    >>> _runs(np.array([[True, True, False], [False, False, True]]))
    [0, 2, 3, 1]
    """
    pixels = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
