"""COCO JSON files from many tools: read tolerantly, and entries that cannot be read are reported.

Annotation tools write COCO in many ways: one outline without the list around it, ids as text, the same id
twice, boxes of no width, a byte order mark. Valid entries are read; others are left out, with a reason.
"""

from __future__ import annotations

import ast
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from masklet import rle
from masklet.boxes import Box
from masklet.errors import MediaError
from masklet.files import parse_json
from masklet.media.annotations.types import (
    AnnotationFile,
    BoxShape,
    Shape,
    Size,
    SizedShape,
    is_same_size,
    mask_prompt,
    read_attributes,
    recorded_size,
)
from masklet.prompts import Prompt

LONGEST_NUMBER = 18  # digits of a frame, id or size; longer ones are names
NAMED = 5  # skipped entries that a warning names; it counts the others

log = logging.getLogger(__name__)


class LabelSizeError(MediaError):
    """The labels were made for another image size, so none of the image's labels can be trusted."""


def check_image_size(stated: tuple[int, int] | None, size: tuple[int, int], name: str) -> None:
    """Compare the size (H, W) that a file states for an image, if any, with the actual size.

    Raises:
        LabelSizeError: They differ.
    """
    if stated is None or is_same_size(stated, size):
        return
    cause = "turned" if stated == size[::-1] else "resized"
    raise LabelSizeError(
        f"{name}: the labels are for an image of (H, W) = {list(stated)}, but the image has {list(size)}. "
        f"Were the images {cause} without their labels?"
    )


@dataclass(frozen=True)
class CocoShape:
    """A segmentation in one of COCO's forms."""

    segmentation: Any

    def to_prompt(self, size: Size) -> Prompt:
        return mask_prompt(segmentation_mask(self.segmentation, size, "the mask"))


@dataclass(frozen=True)
class CocoImage:
    """An image of a COCO file.

    Attributes:
        id: As text: files mix 1, 1.0 and "1".
        frame: Its frame number in a video, if the file has it.
        size: (H, W), if the file has it.
        place: The video's name and the frame in it, if the file has both, as masklet's project exports do.
    """

    id: str
    file_name: str
    frame: int | None = None
    size: tuple[int, int] | None = None
    place: tuple[str, int] | None = None


@dataclass(frozen=True)
class CocoAnnotation:
    """One object on one image.

    Attributes:
        number: Its index in the file, from 0.
        segmentation: Outlines or run lengths; None if it has only a box.
        box: None if it has no box with a width and height.
        category: The class name, if the file has it.
        object: Identifies the object across frames, if the file has such an id.
        attributes: As in the file.
    """

    number: int
    id: Any
    image: str
    segmentation: Any
    box: Box | None
    category: str | None
    is_crowd: bool
    has_attributes: bool
    object: str | None = None
    attributes: Any = None

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """Its segmentation as a mask on an image of `size` (H, W).

        Raises:
            MediaError: The run lengths are invalid, or belong to an image of another size.
        """
        return segmentation_mask(self.segmentation, size, f"annotation {self.id}")


@dataclass(frozen=True)
class CocoFile:
    """A COCO file's images, and their annotations by image id.

    Attributes:
        skipped: One sentence for each entry that was left out.
    """

    path: Path
    images: tuple[CocoImage, ...]
    annotations: Mapping[str, Sequence[CocoAnnotation]]
    skipped: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> CocoFile:
        """Read a file; entries that cannot be used are logged as one warning.

        Raises:
            MediaError: The file is missing or is not COCO.
        """
        file = cls.parse(read_json(path), path)
        skipped = file.skipped
        if skipped:
            more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
            log.warning(
                "%s: %d entries are left out: %s%s.", path, len(skipped), "; ".join(skipped[:NAMED]), more
            )
        return file

    @classmethod
    def parse(cls, content: Any, path: Path) -> CocoFile:
        """The same, from JSON that is already loaded."""
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), list) for key in ("images", "annotations")
        ):
            raise MediaError(f"{path} is not a COCO file: it needs the lists images and annotations.")
        skipped: list[str] = []
        try:
            images = _read_images(content["images"], skipped)
            names = read_category_names(content.get("categories"))
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from None
        annotations: dict[str, list[CocoAnnotation]] = defaultdict(list)
        ids = {image.id for image in images}
        for number, entry in enumerate(content["annotations"]):
            try:
                annotation = _read_annotation(entry, number, names)
                if annotation.image not in ids:
                    raise MediaError(f"there is no image {annotation.image}")
            except MediaError as error:
                name = entry.get("id", number) if isinstance(entry, dict) else number
                skipped.append(f"annotation {name}: {str(error).rstrip('.')}")
                continue
            annotations[annotation.image].append(annotation)
        return cls(path, images, annotations, tuple(skipped))


def read_json(path: Path) -> Any:
    """The content of a JSON file, with or without a byte order mark.

    Raises:
        MediaError: The file is missing or is not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise MediaError(f"there is no file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MediaError(f"{path} cannot be read as JSON: {error}.") from error


def segmentation_mask(segmentation: Any, size: tuple[int, int], name: str) -> Bool[np.ndarray, "H W"]:
    """A segmentation in any of COCO's forms (outlines, run lengths, compressed run lengths) as a mask.

    Args:
        segmentation: As in the file.
        size: (H, W) of the image.
        name: The annotation's name, for the error message.
    """
    try:
        shape = _readable_segmentation(segmentation)
        if isinstance(shape, list):
            return rle.from_polygons(shape, size)
        recorded = rle.pack(shape)["size"]
        if recorded != list(size):
            raise LabelSizeError(
                f"{name}: the mask is for an image of (H, W) = {recorded}, but the image has {list(size)}. "
                "Were the images resized without their labels?"
            )
        return rle.decode(shape)
    except LabelSizeError:
        raise
    except MediaError as error:
        raise MediaError(f"{name}: {str(error).rstrip('.')}.") from None


def read_coco(content: Mapping[str, Any], name: str) -> AnnotationFile:
    coco = CocoFile.parse(content, Path(name))
    file = AnnotationFile(name, "COCO", title=_description(content))
    for sentence in coco.skipped:
        entry, _, reason = sentence.partition(": ")
        file.skip(entry, reason)
    for label in read_category_names(content.get("categories")).values():
        file.labels.setdefault(label, None)
    for image in coco.images:
        for annotation in coco.annotations.get(image.id, ()):
            box = annotation.box
            shape: Shape = (
                BoxShape(box)
                if annotation.segmentation is None and box
                else CocoShape(annotation.segmentation)
            )
            if image.size is not None:
                shape = SizedShape(shape, image.size)
            source, frame = image.place or (image.file_name, image.frame)
            entry, values = f"annotation {annotation.id}", read_attributes(annotation.attributes)
            file.add(entry, source, frame, annotation.object, annotation.category or "", shape, values)
    return file


def read_youtube_vis(content: Mapping[str, Any], name: str) -> AnnotationFile:
    """An annotation is an object in a video, with a mask for each frame or none."""
    file = AnnotationFile(name, "YouTube-VIS", title=_description(content))
    try:
        names = read_category_names(content.get("categories"))
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from None
    videos = {
        read_id(video.get("id")): (
            video["file_names"],
            recorded_size(video.get("height"), video.get("width")),
        )
        for video in content["videos"]
        if isinstance(video, dict) and isinstance(video.get("file_names"), list)
    }
    for number, entry in enumerate(content["annotations"]):
        where = f"annotation {entry.get('id', number + 1) if isinstance(entry, dict) else number + 1}"[:60]
        with file.reading(where):
            if not isinstance(entry, dict) or read_id(entry.get("video_id")) not in videos:
                raise MediaError("its video_id is not a video of the file")
            frames, size = videos[read_id(entry["video_id"])]
            masks, boxes = (entry.get(key) for key in ("segmentations", "bboxes"))
            masks = masks if isinstance(masks, list) else []
            boxes = boxes if isinstance(boxes, list) else []
            label = names.get(read_id(entry.get("category_id")) or "", "")
            for frame in range(max(len(masks), len(boxes))):
                mask = masks[frame] if frame < len(masks) else None
                box = boxes[frame] if frame < len(boxes) else None
                if mask is None and box is None:
                    continue
                place = f"{where}, frame {frame}"
                with file.reading(place):
                    source = str(frames[frame]) if frame < len(frames) else ""
                    shape = _coco_shape(mask, box)
                    sized = shape if size is None else SizedShape(shape, size)
                    file.add(place, source, frame, where, label, sized)
    return file


def _coco_shape(mask: Any, box: Any) -> Shape:
    """The mask if there is one, otherwise the box."""
    if mask is not None:
        return CocoShape(mask)
    corners, fault = read_box(box)
    if corners is None:
        raise MediaError(fault)
    return BoxShape(corners)


def _description(content: Mapping[str, Any]) -> str:
    info = content.get("info")
    text = info.get("description") if isinstance(info, dict) else None
    return text if isinstance(text, str) else ""


def _read_images(entries: Sequence[Any], skipped: list[str]) -> tuple[CocoImage, ...]:
    images: dict[str, CocoImage] = {}
    for number, entry in enumerate(entries):
        id = read_id(entry.get("id")) if isinstance(entry, dict) else None
        if id is None:
            skipped.append(f"image {number}: it has no id")
            continue
        places = (_read_index(entry.get(key)) for key in ("frame_index", "frame_id"))
        height, width = _read_index(entry.get("height")), _read_index(entry.get("width"))
        video, frame = entry.get("video"), _read_index(entry.get("frame"))
        image = CocoImage(
            id,
            str(entry.get("file_name") or ""),
            next((place for place in places if place is not None), None),
            (height, width) if height and width else None,
            (video, frame) if isinstance(video, str) and frame is not None else None,
        )
        if images.setdefault(id, image) != image:
            raise MediaError(
                f"two images have the id {id}: {images[id].file_name} and {image.file_name}. Give each "
                "image its own id, and use it as image_id in the annotations."
            )
    return tuple(images.values())


def read_id(id: Any) -> str | None:
    """An id as text; None if it is not an id."""
    if isinstance(id, float) and id.is_integer():
        id = int(id)
    return str(id) if isinstance(id, int | str) and not isinstance(id, bool) else None


def _read_index(value: Any) -> int | None:
    """A number from 0, which files also write as 1.0 or "1"; None if it is not one."""
    text = read_id(value)
    return int(text) if text is not None and text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def read_category_names(categories: Any) -> dict[str, str]:
    """The names of a file's categories by id; categories without a name are left out.

    Raises:
        MediaError: Two categories have one id.
    """
    names: dict[str, str] = {}
    for entry in categories if isinstance(categories, list) else []:
        id = read_id(entry.get("id")) if isinstance(entry, dict) else None
        name = "" if id is None else str(entry.get("name") or "").strip()
        if id is not None and name and names.setdefault(id, name) != name:
            raise MediaError(
                f"two categories have the id {id}: {names[id]} and {name}. Give each category its own id, "
                "and use it as category_id in the annotations."
            )
    return names


def _read_annotation(entry: Any, number: int, names: Mapping[str, str]) -> CocoAnnotation:
    if not isinstance(entry, dict):
        raise MediaError(f"it must be an object with image_id and a segmentation or bbox. Got {entry!r:.40}")
    image = read_id(entry.get("image_id"))
    if image is None:
        raise MediaError("it has no image_id")
    box, fault = read_box(entry.get("bbox"))
    segmentation = entry.get("segmentation") or None
    if segmentation is not None:
        try:
            segmentation = _readable_segmentation(segmentation)
        except MediaError:
            if box is None:
                raise
            segmentation = None
    if segmentation is None and box is None:
        raise MediaError(fault)
    return CocoAnnotation(
        number=number,
        id=entry.get("id", number),
        image=image,
        segmentation=segmentation,
        box=box,
        category=names.get(read_id(entry.get("category_id")) or ""),
        is_crowd=str(entry.get("iscrowd") or 0).lower() not in ("0", "0.0", "false", "none"),
        has_attributes="attributes" in entry,
        object=_find_object(entry),
        attributes=entry.get("attributes"),
    )


def _find_object(entry: Mapping[str, Any]) -> str | None:
    """The object's number in its video, from the keys of masklet, TAO and BURST, or of CVAT and datumaro."""
    attributes = entry.get("attributes")
    for fields in (entry, attributes if isinstance(attributes, dict) else {}):
        for key in ("object_id", "track_id", "instance_id"):
            if (id := read_id(fields.get(key))) is not None:
                return id
    return None


def read_box(box: Any) -> tuple[Box | None, str]:
    """A box x, y, width, height as its corners; or None and the reason."""
    if box is None:
        return None, "it has neither a segmentation nor a bbox"
    numbers = finite_numbers(box)
    if numbers is None or len(numbers) != 4:
        return None, f"bbox must be four finite numbers x, y, width, height. Got {box!r:.60}"
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        return None, f"bbox must have a width and height above 0. Got {width:g} x {height:g}"
    return (x, y, x + width, y + height), ""


def _readable_segmentation(segmentation: Any) -> Any:
    """A list of outlines of three points or more, or run lengths as `rle.decode` takes them."""
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if isinstance(counts, str) and counts.startswith(("b'", 'b"')):
            return {**segmentation, "counts": _bytes_in_text(counts)}
        return segmentation
    if not isinstance(segmentation, list):
        raise MediaError(f"segmentation must be outlines or run lengths. Got {segmentation!r:.60}")
    outlines = [segmentation] if finite_numbers(segmentation) is not None else segmentation
    readable = [numbers for outline in outlines if (numbers := finite_numbers(_flat(outline))) is not None]
    readable = [outline for outline in readable if len(outline) >= 6 and len(outline) % 2 == 0]
    if not readable:
        raise MediaError("segmentation has no outline of three points x0, y0, x1, y1, x2, y2")
    return readable


def _flat(outline: Any) -> Any:
    """An outline of (x, y) pairs as one list of numbers."""
    if isinstance(outline, list) and all(isinstance(point, list) and len(point) == 2 for point in outline):
        return [value for point in outline for value in point]
    return outline


def finite_numbers(values: Any) -> list[float] | None:
    """A list's finite numbers; None if it is not such a list."""
    if not isinstance(values, list) or not values:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    try:
        numbers = [float(value) for value in values]
    except OverflowError:  # a whole number that is larger than any float
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _bytes_in_text(counts: str) -> bytes:
    """Counts that Python's str() made of bytes: "b'...'"."""
    try:
        value = ast.literal_eval(counts)
    except (ValueError, SyntaxError):
        value = None
    if not isinstance(value, bytes):
        raise MediaError(f"counts are not a COCO run-length string. Got {counts:.40}")
    return value
