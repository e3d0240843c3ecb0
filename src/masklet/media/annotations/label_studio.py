"""Label Studio's JSON: brushes, polygons, ellipses and boxes on images, and boxes in videos."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from masklet.boxes import Box
from masklet.errors import MediaError
from masklet.media.annotations.coco import finite_numbers
from masklet.media.annotations.types import (
    AnnotationFile,
    BoxShape,
    OutlineShape,
    Shape,
    Size,
    SizedShape,
    ellipse_outline,
    mask_prompt,
    recorded_size,
)
from masklet.prompts import Prompt


@dataclass(frozen=True)
class BrushShape:
    """Label Studio's brush: the bytes of its own run lengths."""

    code: Sequence[int]

    def to_prompt(self, size: Size) -> Prompt:
        return mask_prompt(decode_brush(self.code, size))


def is_label_studio(content: Any) -> bool:
    """Whether JSON looks like Label Studio's tasks."""
    tasks = content if isinstance(content, list) else [content]
    keys = ("annotations", "predictions", "completions", "result")
    return any(
        isinstance(task, dict) and "data" in task and any(key in task for key in keys) for task in tasks
    )


def read_label_studio(content: Any, name: str) -> AnnotationFile:
    """Label Studio's JSON: brushes, polygons, ellipses and boxes on images, and boxes in videos.

    A task's newest annotation that was not cancelled is used, or else its newest prediction.
    """
    file = AnnotationFile(name, "Label Studio")
    for number, task in enumerate(content if isinstance(content, list) else [content]):
        entry = f"task {task.get('id', number + 1)}" if isinstance(task, dict) else f"task {number + 1}"
        with file.reading(entry[:60]):
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise MediaError("its data has no image or video")
            results = _task_results(task)
            labels = {result.get("id"): label for result in results if (label := _find_label(result))}
            drawn = {result.get("id") for result in results if result.get("type") not in (None, "labels")}
            for place, result in enumerate(results):
                id = result.get("id")
                if result.get("type") == "labels" and id in drawn:
                    continue  # it names the class of a region that is another entry
                region = f"{entry}, region {id if id is not None else place + 1}"[:100]
                with file.reading(region):
                    _read_region(file, region, task, result, labels.get(id, ""))
    return file


def _task_results(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    for key in ("annotations", "completions", "predictions"):
        lists = task.get(key)
        usable = [
            entry["result"]
            for entry in (lists if isinstance(lists, list) else ())
            if isinstance(entry, dict)
            and isinstance(entry.get("result"), list)
            and not entry.get("was_cancelled")
        ]
        if usable:
            if not all(isinstance(result, dict) and _is_id(result.get("id")) for result in usable[-1]):
                raise MediaError("its result must be a list of regions with ids")
            return list(usable[-1])
    if isinstance(task.get("result"), list) and all(isinstance(result, dict) for result in task["result"]):
        return list(task["result"])
    raise MediaError("it has no annotation")


def _is_id(value: object) -> bool:
    return value is None or isinstance(value, str | int)


def _find_label(result: Mapping[str, Any]) -> str:
    value = result.get("value")
    for key, entry in value.items() if isinstance(value, dict) else ():
        if key.endswith("labels") and isinstance(entry, list) and entry and isinstance(entry[0], str):
            return entry[0].strip()
    return ""


def _read_region(
    file: AnnotationFile, entry: str, task: Mapping[str, Any], result: Mapping[str, Any], label: str
) -> None:
    value, kind = result.get("value"), str(result.get("type", "")).removesuffix("labels")
    if not isinstance(value, dict):
        raise MediaError("it has no value")
    data = task["data"]
    names = ("video", "image") if kind == "videorectangle" else ("image", "img", "picture", "photo", "video")
    source = next((str(data[key]) for key in names if isinstance(data.get(key), str)), "")
    source = source or next((text for text in data.values() if isinstance(text, str)), "")
    frame = data.get("frame")
    frame = frame if isinstance(frame, int) and not isinstance(frame, bool) and frame >= 0 else None
    if frame is not None and isinstance(data.get("video"), str):
        source = data["video"]  # masklet's own export: the image is a frame of it
    if kind == "videorectangle":
        sequence = value.get("sequence")
        for keyframe in sequence if isinstance(sequence, list) else ():
            number = keyframe.get("frame") if isinstance(keyframe, dict) else None
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise MediaError("a keyframe of its sequence needs a frame number from 1")
            with file.reading(f"{entry}, frame {number}"):
                box = BoxShape(_percent_box(keyframe), relative=True)
                file.add(f"{entry}, frame {number}", source, number - 1, entry, label, box)
        if not sequence:
            raise MediaError("its sequence is empty")
        return
    file.add(entry, source, frame, _read_object(result), label, _read_shape(kind, value, result))


def _read_object(result: Mapping[str, Any]) -> str | None:
    """The object that masklet's own export names in a region's notes."""
    meta = result.get("meta")
    text = meta.get("text") if isinstance(meta, dict) else None
    first = text[0] if isinstance(text, list) and text else None
    return first if isinstance(first, str) and re.fullmatch(r"object \d+", first) else None


def _read_shape(kind: str, value: Mapping[str, Any], result: Mapping[str, Any]) -> Shape:
    if result.get("image_rotation"):
        raise MediaError("its image is rotated in Label Studio")
    match kind:
        case "rectangle":
            return BoxShape(_percent_box(value), relative=True)
        case "polygon":
            points = value.get("points")
            outline = (
                [share for point in points for share in _percents(point, 2)]
                if isinstance(points, list)
                else []
            )
            if len(outline) < 6:
                raise MediaError("a polygon needs three points")
            return OutlineShape([outline], relative=True)
        case "ellipse":
            numbers = [value.get(key) for key in ("x", "y", "radiusX", "radiusY")]
            x, y, rx, ry = _percents(numbers, 4)
            if value.get("rotation"):
                raise MediaError("rotated ellipses are not read")
            return OutlineShape([ellipse_outline(x, y, rx, ry, 0.0)], relative=True)
        case "brush":
            size = recorded_size(result.get("original_height"), result.get("original_width"))
            code = value.get("rle")
            if size is None or not isinstance(code, list) or value.get("format", "rle") != "rle":
                raise MediaError("a brush needs rle, original_width and original_height")
            return SizedShape(BrushShape(code), size)
    raise MediaError(
        f"only brushes, polygons, ellipses and boxes are read. Got {kind[:40] or 'another region'}"
    )


def _percent_box(value: Mapping[str, Any]) -> Box:
    x, y, width, height = _percents([value.get(key) for key in ("x", "y", "width", "height")], 4)
    if value.get("rotation"):
        raise MediaError("rotated boxes are not read")
    if width <= 0 or height <= 0:
        raise MediaError(f"a box needs a width and height above 0. Got {width:g} x {height:g}")
    return x, y, x + width, y + height


def _percents(values: Any, count: int) -> list[float]:
    """Percentages as fractions."""
    numbers = finite_numbers(values)
    if numbers is None or len(numbers) != count:
        raise MediaError(f"expected {count} numbers in percent. Got {values!r:.60}")
    return [number / 100 for number in numbers]


def decode_brush(code: Sequence[int], size: Size) -> np.ndarray:
    """Label Studio's brush as a mask, bool (H, W). `brush_rle` says what its bits are.

    Raises:
        MediaError: The bytes are not a brush of an image of this size.
    """
    if not all(isinstance(byte, int) and 0 <= byte <= 255 for byte in code):
        raise MediaError("a brush's rle must be numbers from 0 to 255")
    bits = (np.unpackbits(np.asarray(code, dtype=np.uint8)) + ord("0")).tobytes()
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise MediaError("a brush's rle is truncated")
        value = int(bits[place : place + count], 2)
        place += count
        return value

    length, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    if length != 4 * size[0] * size[1] or word != 8:
        raise MediaError(f"a brush of {length // 4} pixels does not fit an image of {size[1]} x {size[0]}")
    values = np.empty(length, dtype=np.uint8)
    written = 0
    while written < length:
        if take(1):
            run = take(sizes[take(2)]) + 1
            values[written : written + run] = take(8)
            written += run
        else:
            run = take(sizes[take(2)]) + 1
            for _ in range(min(run, length - written)):
                values[written] = take(8)
                written += 1
    mask: np.ndarray = values.reshape(*size, 4)[:, :, 3] > 127
    return mask
