"""CVAT's XML 1.1, for images and for video."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from masklet import rle
from masklet.boxes import Box
from masklet.errors import MediaError
from masklet.media.annotations.types import (
    MAX_NAME,
    AnnotationFile,
    BoxShape,
    OutlineShape,
    Shape,
    Size,
    SizedShape,
    ellipse_outline,
    mask_prompt,
    parse_floats,
    read_attributes,
    recorded_size,
)
from masklet.prompts import Prompt

UNDEFINED = "__undefined__"  # CVAT's value for "no choice made"
DOCTYPE = re.compile(rb"<!\s*(doctype|entity)", re.IGNORECASE)


@dataclass(frozen=True)
class RowRunsShape:
    """CVAT's mask: alternating runs of background and object, row by row in a rectangle.

    Attributes:
        rectangle: Left, top, width, height.
    """

    runs: Sequence[float]
    rectangle: tuple[int, int, int, int]

    def to_prompt(self, size: Size) -> Prompt:
        left, top, width, height = self.rectangle
        return mask_prompt(rle.decode_rows(self.runs, (left, top), (height, width), size))


def read_cvat(content: bytes, name: str) -> AnnotationFile:
    """CVAT's XML 1.1, for images and for video.

    Raises:
        MediaError: It is not XML, or not CVAT's.
    """
    root = _parse_xml(content, name)
    if root.tag != "annotations":
        raise MediaError(
            f"{name} is not CVAT XML: it must begin with <annotations>, and begins with <{root.tag[:40]}>."
        )
    file = AnnotationFile(name, "CVAT")
    file.title = next((title.text.strip() for title in root.iterfind("meta//name") if title.text), "")
    for entry in root.iterfind("meta//labels/label"):
        text, color = entry.findtext("name", "").strip(), entry.findtext("color", "").strip()
        if text:
            file.labels[text] = color if re.fullmatch("#[0-9a-fA-F]{6}", color) else None
            file.choices[text] = _read_choices(entry)
    for number, track in enumerate(root.iterfind("track")):
        _read_track(file, track, track.get("id") or str(number))
    for image in root.iterfind("image"):
        _read_image(file, image)
    return file


def _read_track(file: AnnotationFile, track: ElementTree.Element, id: str) -> None:
    """One object of a video: a shape for each keyframe."""
    for element in track:
        where = f"track {id}, frame {element.get('frame', '?')[:20]}"
        with file.reading(where):
            frame = _whole_number(element, "frame")
            if element.get("outside") == "1":
                continue  # the object is not in the frame
            label, values = track.get("label", "").strip(), _read_values(track) | _read_values(element)
            file.add(where, "", frame, f"track {id}", label, _read_shape(element), values)


def _read_image(file: AnnotationFile, image: ElementTree.Element) -> None:
    """The shapes on one image."""
    source = image.get("name", "")
    size = recorded_size(image.get("height"), image.get("width"))
    for number, element in enumerate(image):
        where = f"image {source[:100]}, {element.tag[:20]} {number + 1}"
        with file.reading(where):
            group = element.get("group_id", "0")
            object = None if group in ("", "0") else f"group {group}"
            shape = _read_shape(element)
            sized = shape if size is None else SizedShape(shape, size)
            label, values = element.get("label", "").strip(), _read_values(element)
            file.add(where, source, None, object, label, sized, values)


def _parse_xml(content: bytes, name: str) -> ElementTree.Element:
    """The root of an XML file. Document types and entities are refused, since they can expand without
    limit."""
    if DOCTYPE.search(content):
        raise MediaError(f"{name} declares a document type or entities, which are not allowed. Remove them.")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise MediaError(f"{name} is not valid XML: {error}.") from None


def _read_choices(label: ElementTree.Element) -> dict[str, list[str]]:
    """The attributes of a class, and the values that they may have; none if any text is allowed."""
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


def _read_values(element: ElementTree.Element) -> dict[str, str]:
    values = {attribute.get("name"): attribute.text for attribute in element.iterfind("attribute")}
    return read_attributes({name: value for name, value in values.items() if value != UNDEFINED})


def _read_shape(element: ElementTree.Element) -> Shape:
    match element.tag:
        case "box":
            x0, y0, x1, y1 = (_number(element, side) for side in ("xtl", "ytl", "xbr", "ybr"))
            return BoxShape(_upright_box((x0, y0, x1, y1), _number(element, "rotation", 0.0)))
        case "polygon":
            points = [point.split(",") for point in element.get("points", "").split(";")]
            outline = parse_floats([value for point in points for value in point])
            if outline is None or len(outline) < 6 or any(len(point) != 2 for point in points):
                raise MediaError("a polygon needs three points x,y;x,y;x,y")
            return OutlineShape([outline])
        case "ellipse":
            cx, cy, rx, ry = (_number(element, side) for side in ("cx", "cy", "rx", "ry"))
            return OutlineShape([ellipse_outline(cx, cy, rx, ry, _number(element, "rotation", 0.0))])
        case "mask":
            runs = parse_floats(element.get("rle", "").split(","))
            if runs is None:
                raise MediaError("a mask needs run lengths rle=1, 2, 3")
            left, top, width, height = (
                _whole_number(element, side) for side in ("left", "top", "width", "height")
            )
            return RowRunsShape(runs, (left, top, width, height))
    raise MediaError(f"only masks, polygons, ellipses and boxes are read. Got {element.tag[:20]}")


def _upright_box(box: Box, degrees: float) -> Box:
    """The upright box around a box that is rotated around its centre."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise MediaError(f"a box needs a width and height above 0. Got {x1 - x0:g} x {y1 - y0:g}")
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
    numbers = parse_floats([text or ""])
    if numbers is None:
        raise MediaError(f"{name} must be a number. Got {text!r:.40}")
    return numbers[0]


def _whole_number(element: ElementTree.Element, name: str) -> int:
    number = _number(element, name)
    if number % 1 or not 0 <= number < 1e9:
        raise MediaError(f"{name} must be a whole number from 0. Got {number:g}")
    return int(number)
