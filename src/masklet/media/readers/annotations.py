"""Annotations as other tools have them, and the reader of CVAT's XML.

An annotation is one object on one frame. Its shape becomes a prompt once the frame's size is known: masks and
outlines become masks, boxes become boxes. Entries that cannot be used are named with the reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np

from masklet import rle
from masklet.errors import MediaError
from masklet.media.readers.coco import is_same_size, segmentation_mask
from masklet.prompts import Prompt

Size = tuple[int, int]  # height, width

ELLIPSE_CORNERS = 64
UNDEFINED = "__undefined__"  # CVAT's word for a choice that nobody made
OWN_ATTRIBUTES = {"occluded", "outside", "keyframe", "rotation", "object_id", "track_id", "instance_id"}
MAX_NAME, MAX_VALUE = 100, 200  # characters of an attribute
DOCTYPE = re.compile(rb"<!\s*(doctype|entity)", re.IGNORECASE)


class Shape(Protocol):
    """What an annotation says of a frame's pixels."""

    def to_prompt(self, size: Size) -> Prompt:
        """The shape on a frame of `size` (H, W).

        Raises:
            MaskletError: It is broken, or of a frame of another size.
        """


@dataclass(frozen=True)
class Annotation:
    """One object on one frame.

    Attributes:
        file: The annotation file, for messages.
        entry: The place in it, for messages.
        source: The picture's or video's file name, as the file has it; empty where it has none.
        frame: The frame's number, where the file says so.
        object: What tells the object from others on other frames; None where nothing does.
        label: Its class; empty where it has none.
        shape: Where it is.
        attributes: What else is said of the object, by name.
    """

    file: str
    entry: str
    source: str
    frame: int | None
    object: str | None
    label: str
    shape: Shape
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SkippedEntry:
    """An entry that is left out, and why."""

    file: str
    entry: str
    reason: str


@dataclass
class AnnotationFile:
    """What one file holds.

    Attributes:
        format: What kind of file it is, for people.
        title: What it calls its video or task; empty where it does not say.
        labels: Colours of classes by name; None where the file has no colour for it.
        choices: Attributes of classes, by class and name: the values to choose from; any text where empty.
        notes: What people should know of it.
    """

    name: str
    format: str
    title: str = ""
    annotations: list[Annotation] = field(default_factory=list)
    skipped: list[SkippedEntry] = field(default_factory=list)
    labels: dict[str, str | None] = field(default_factory=dict)
    choices: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def skip(self, entry: str, reason: object) -> None:
        self.skipped.append(SkippedEntry(self.name, entry, str(reason).rstrip(".")))

    def add(
        self,
        entry: str,
        source: str,
        frame: int | None,
        object: str | None,
        label: str,
        shape: Shape,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.annotations.append(
            Annotation(self.name, entry, source, frame, object, label, shape, attributes or {})
        )
        if label:
            self.labels.setdefault(label, None)
            for attribute in attributes or ():
                self.choices.setdefault(label, {}).setdefault(attribute, [])

    @contextmanager
    def reading(self, entry: str) -> Iterator[None]:
        """Read one entry; a MediaError in it is noted, and reading goes on behind it."""
        try:
            yield
        except MediaError as error:
            self.skip(entry, error)


@dataclass(frozen=True)
class BoxShape:
    """A box.

    Attributes:
        corners: x0, y0, x1, y1.
        relative: Whether they are shares of the frame's width and height.
    """

    corners: tuple[float, float, float, float]
    relative: bool = False

    def to_prompt(self, size: Size) -> Prompt:
        x0, y0, x1, y1 = self.corners
        width, height = (size[1], size[0]) if self.relative else (1, 1)
        return Prompt(box=(x0 * width, y0 * height, x1 * width, y1 * height))


@dataclass(frozen=True)
class OutlineShape:
    """Outlines, each x0, y0, x1, y1, ...; as shares of the frame's sides where `relative`."""

    outlines: Sequence[Sequence[float]]
    relative: bool = False

    def to_prompt(self, size: Size) -> Prompt:
        height, width = size
        outlines = [np.asarray(outline, dtype=np.float64) for outline in self.outlines]
        if self.relative:
            outlines = [outline * np.tile([width, height], len(outline) // 2) for outline in outlines]
        return mask_prompt(rle.from_polygons(outlines, size))


@dataclass(frozen=True)
class CocoShape:
    """A segmentation in one of COCO's forms."""

    segmentation: Any

    def to_prompt(self, size: Size) -> Prompt:
        return mask_prompt(segmentation_mask(self.segmentation, size, "the mask"))


@dataclass(frozen=True)
class RowRunsShape:
    """CVAT's mask: runs of background and object in turn, row by row in a rectangle.

    Attributes:
        rectangle: Left, top, width, height.
    """

    runs: Sequence[float]
    rectangle: tuple[int, int, int, int]

    def to_prompt(self, size: Size) -> Prompt:
        left, top, width, height = self.rectangle
        return mask_prompt(rle.decode_rows(self.runs, (left, top), (height, width), size))


def mask_prompt(mask: np.ndarray) -> Prompt:
    """A mask as a prompt.

    Raises:
        MediaError: It is empty.
    """
    if not mask.any():
        raise MediaError("its mask covers no pixel of the frame")
    return Prompt(mask=mask)


@dataclass(frozen=True)
class SizedShape:
    """A shape in pixels of a frame whose size the file states, perhaps rounded."""

    shape: Shape
    size: Size

    def to_prompt(self, size: Size) -> Prompt:
        if not is_same_size(self.size, size):
            raise MediaError(
                f"it was drawn on a picture of {self.size[1]} x {self.size[0]}, and the file here has "
                f"{size[1]} x {size[0]}"
            )
        return self.shape.to_prompt(size)


def read_cvat(content: bytes, name: str) -> AnnotationFile:
    """CVAT's XML 1.1, for images and for video.

    Raises:
        MediaError: It is not XML, or not CVAT's.
    """
    root = parse_xml(content, name)
    if root.tag != "annotations":
        raise MediaError(
            f"{name} is not CVAT's XML: it begins with <{root.tag[:40]}> and not with <annotations>."
        )
    file = AnnotationFile(name, "CVAT")
    file.title = next((title.text.strip() for title in root.iterfind("meta//name") if title.text), "")
    for entry in root.iterfind("meta//labels/label"):
        text, color = entry.findtext("name", "").strip(), entry.findtext("color", "").strip()
        if text:
            file.labels[text] = color if re.fullmatch("#[0-9a-fA-F]{6}", color) else None
            file.choices[text] = _cvat_choices(entry)
    for number, track in enumerate(root.iterfind("track")):
        id = track.get("id") or str(number)
        for element in track:
            where = f"track {id}, frame {element.get('frame', '?')[:20]}"
            with file.reading(where):
                frame = _whole_number(element, "frame")
                if element.get("outside") == "1":
                    continue  # the object is not in the frame
                label, values = track.get("label", "").strip(), _cvat_values(track) | _cvat_values(element)
                file.add(where, "", frame, f"track {id}", label, _cvat_shape(element), values)
    for image in root.iterfind("image"):
        source = image.get("name", "")
        size = recorded_size(image.get("height"), image.get("width"))
        for number, element in enumerate(image):
            where = f"image {source[:100]}, {element.tag[:20]} {number + 1}"
            with file.reading(where):
                group = element.get("group_id", "0")
                object = None if group in ("", "0") else f"group {group}"
                shape = _cvat_shape(element)
                sized = shape if size is None else SizedShape(shape, size)
                label, values = element.get("label", "").strip(), _cvat_values(element)
                file.add(where, source, None, object, label, sized, values)
    return file


def _cvat_choices(label: ElementTree.Element) -> dict[str, list[str]]:
    """The attributes of a class, and the values that they may have; none where any text may be written."""
    choices = {}
    for attribute in label.iterfind("attributes/attribute"):
        name = (attribute.findtext("name") or "").strip()
        is_list = (attribute.findtext("input_type") or "").strip() in ("select", "radio", "checkbox")
        values = (attribute.findtext("values") or "").splitlines() if is_list else []
        if name:
            choices[name] = [
                value.strip()[:MAX_NAME] for value in values if value.strip() not in ("", UNDEFINED)
            ]
    return choices


def _cvat_values(element: ElementTree.Element) -> dict[str, str]:
    values = {attribute.get("name"): attribute.text for attribute in element.iterfind("attribute")}
    return read_attributes({name: value for name, value in values.items() if value != UNDEFINED})


def read_attributes(values: object) -> dict[str, str]:
    """Attributes of an object as text, without those that tools keep for themselves.

    >>> read_attributes({"pose": "lying", "occluded": False, "age": 3, "track_id": 7, "note": ""})
    {'pose': 'lying', 'age': '3'}
    """
    read = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            continue
        name, text = name.strip(), str(value).lower() if isinstance(value, bool) else str(value).strip()
        if name and text and name not in OWN_ATTRIBUTES and len(name) <= MAX_NAME and len(text) <= MAX_VALUE:
            read[name] = text
    return read


def parse_xml(content: bytes, name: str) -> ElementTree.Element:
    """The root of an XML file without a document type or entities, which can grow without end."""
    if DOCTYPE.search(content):
        raise MediaError(f"{name} declares a document type or entities, which are not read.")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise MediaError(f"{name} is not XML: {error}.") from None


def _cvat_shape(element: ElementTree.Element) -> Shape:
    match element.tag:
        case "box":
            x0, y0, x1, y1 = (_number(element, side) for side in ("xtl", "ytl", "xbr", "ybr"))
            return BoxShape(_upright_box((x0, y0, x1, y1), _number(element, "rotation", 0.0)))
        case "polygon":
            points = [point.split(",") for point in element.get("points", "").split(";")]
            outline = _floats([value for point in points for value in point])
            if outline is None or len(outline) < 6 or any(len(point) != 2 for point in points):
                raise MediaError("a polygon needs three points x,y;x,y;x,y")
            return OutlineShape([outline])
        case "ellipse":
            cx, cy, rx, ry = (_number(element, side) for side in ("cx", "cy", "rx", "ry"))
            return OutlineShape([ellipse_outline(cx, cy, rx, ry, _number(element, "rotation", 0.0))])
        case "mask":
            runs = _floats(element.get("rle", "").split(","))
            if runs is None:
                raise MediaError("a mask needs run lengths rle=1, 2, 3")
            left, top, width, height = (
                _whole_number(element, side) for side in ("left", "top", "width", "height")
            )
            return RowRunsShape(runs, (left, top, width, height))
    raise MediaError(f"masks, polygons, ellipses and boxes are read, and no {element.tag[:20]}")


def ellipse_outline(cx: float, cy: float, rx: float, ry: float, degrees: float) -> list[float]:
    """The corners x0, y0, ... of an ellipse, turned clockwise around its centre."""
    angles = np.linspace(0, 2 * math.pi, ELLIPSE_CORNERS, endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    turn = math.radians(degrees)
    corners = np.stack(
        [cx + x * math.cos(turn) - y * math.sin(turn), cy + x * math.sin(turn) + y * math.cos(turn)]
    )
    return [float(value) for value in corners.T.ravel()]


def _upright_box(box: tuple[float, float, float, float], degrees: float) -> tuple[float, float, float, float]:
    """The upright box around one that is turned around its middle."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise MediaError(f"a box needs a width and a height. Got {x1 - x0:g} x {y1 - y0:g}")
    if not degrees % 180:
        return box
    turn = math.radians(degrees)
    width, height = x1 - x0, y1 - y0
    half_width = (abs(width * math.cos(turn)) + abs(height * math.sin(turn))) / 2
    half_height = (abs(width * math.sin(turn)) + abs(height * math.cos(turn))) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def _number(element: ElementTree.Element, name: str, default: float | None = None) -> float:
    text = element.get(name)
    if text is None and default is not None:
        return default
    numbers = _floats([text or ""])
    if numbers is None:
        raise MediaError(f"{name} must be a number. Got {text!r:.40}")
    return numbers[0]


def _whole_number(element: ElementTree.Element, name: str) -> int:
    number = _number(element, name)
    if number % 1 or not 0 <= number < 1e9:
        raise MediaError(f"{name} must be a whole number from 0 on. Got {number:g}")
    return int(number)


def _floats(texts: Sequence[str]) -> list[float] | None:
    """Finite numbers from texts; None where one is not."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None


def recorded_size(height: object, width: object) -> Size | None:
    """The size that a file states; None where it does not."""
    numbers = _floats([str(height), str(width)])
    if numbers is None or min(numbers) < 1 or max(numbers) > 1e6:
        return None
    return int(numbers[0]), int(numbers[1])
