"""Annotation files of other tools: COCO, YouTube-VIS, CVAT, Label Studio, YOLO; alone or in a zip file.

Reading is tolerant: what is clear is read, and every other entry is named with the reason. A file may name
pictures by paths that exist nowhere here. Which picture an annotation belongs to is for the caller to decide.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from masklet.errors import MediaError
from masklet.media.readers.annotations import (
    AnnotationFile,
    BoxShape,
    CocoShape,
    OutlineShape,
    Shape,
    SizedShape,
    read_attributes,
    read_cvat,
    recorded_size,
)
from masklet.media.readers.coco import CocoFile, finite_numbers, read_box, read_category_names, read_id
from masklet.media.readers.label_studio import is_label_studio, read_label_studio

MAX_BYTES = 256 * 2**20  # of a file, and of all files in a zip together
MAX_MEMBERS = 200_000
YOLO_NAMES = ("classes.txt", "obj.names", "names.txt")
PICTURE_LINE = re.compile(r"\.(jpe?g|png|bmp|tiff?|webp|gif)\s*$", re.IGNORECASE)
KINDS = "COCO or Label Studio (.json), CVAT (.xml), YOLO (.txt), or a .zip with such files"


def read_annotations(path: Path, name: str | None = None) -> list[AnnotationFile]:
    """Read an annotation file, or those in a zip file.

    Args:
        path: The file.
        name: What people call it; by default its own name. Its suffix says how it is read.

    Raises:
        MediaError: It is none that can be read.
    """
    name = path.name if name is None else PurePosixPath(name.replace("\\", "/")).name
    if path.stat().st_size > MAX_BYTES:
        raise MediaError(f"{name} is larger than {MAX_BYTES >> 20} MiB. Split it first.")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip" or zipfile.is_zipfile(path):
        return _read_zip(path, name)
    content = path.read_bytes()
    if suffix == ".txt":
        return [_read_yolo({name: content}, name)]
    return [_read_one(content, name)]


def _read_one(content: bytes, name: str) -> AnnotationFile:
    """JSON or XML, by its first letter."""
    start = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        return read_cvat(content, name)
    if start in (b"{", b"["):
        return _read_json(content, name)
    raise MediaError(f"{name} is no annotation file that can be read. Use {KINDS}.")


def _read_json(content: bytes, name: str) -> AnnotationFile:
    try:
        parsed = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MediaError(
            f"{name} cannot be read as JSON: {error}. Is it complete? Export or copy it again."
        ) from None
    if is_label_studio(parsed):
        return read_label_studio(parsed, name)
    if isinstance(parsed, dict) and isinstance(parsed.get("annotations"), list):
        if isinstance(parsed.get("images"), list):
            return _read_coco(parsed, name)
        if isinstance(parsed.get("videos"), list):
            return _read_youtube_vis(parsed, name)
    raise MediaError(f"{name} is neither COCO nor Label Studio's JSON. Use {KINDS}.")


def _read_coco(content: Mapping[str, Any], name: str) -> AnnotationFile:
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


def _read_youtube_vis(content: Mapping[str, Any], name: str) -> AnnotationFile:
    """An annotation is an object in a video, with a mask for each frame or none."""
    file = AnnotationFile(name, "YouTube-VIS", title=_description(content))
    names = read_category_names(content.get("categories"))
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
                raise MediaError("it names no video of the file")
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
    """A mask where there is one, else a box."""
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


def _read_zip(path: Path, name: str) -> list[AnnotationFile]:
    files: list[AnnotationFile] = []
    texts: dict[str, bytes] = {}
    for member, content in _zip_members(path, name):
        suffix = PurePosixPath(member).suffix.lower()
        if suffix in (".txt", ".names", ".yaml", ".yml"):
            texts[member] = content
            continue
        try:
            files.append(_read_one(content, member))
        except MediaError as error:
            damaged = AnnotationFile(member, "")
            damaged.skip("the file", error)
            files.append(damaged)
    if any(member.lower().endswith(".txt") for member in texts):
        files.append(_read_yolo(texts, name))
    if not any(file.annotations or file.skipped for file in files):
        raise MediaError(f"{name} holds no annotation file that can be read. Use {KINDS}.")
    return files


def _zip_members(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a zip that may be annotations."""
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) > MAX_MEMBERS:
                raise MediaError(f"{name} holds {len(members)} files; up to {MAX_MEMBERS} are read.")
            for info in members:
                inner = PurePosixPath(info.filename)
                if inner.suffix.lower() not in (".json", ".xml", ".txt", ".names", ".yaml", ".yml"):
                    continue
                if inner.parts[0] == "__MACOSX" or inner.name.startswith("."):
                    continue
                with archive.open(info) as opened:
                    content = opened.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise MediaError(f"{name} unpacks to more than {MAX_BYTES >> 20} MiB. Split it first.")
                yield info.filename, content
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name} cannot be unpacked: {error}.") from None


def _read_yolo(texts: Mapping[str, bytes], name: str) -> AnnotationFile:
    """YOLO's labels: a text file for each picture, a line for each object. Shares of the picture's sides."""
    file = AnnotationFile(name, "YOLO")
    names = _yolo_names(texts, file)
    file.labels.update(dict.fromkeys(names.values()))
    for member, content in sorted(texts.items()):
        path = PurePosixPath(member)
        if path.suffix.lower() != ".txt" or path.name.lower() in YOLO_NAMES:
            continue
        lines = content.decode("utf-8-sig", "replace").splitlines()
        if lines and all(PICTURE_LINE.search(line) for line in lines if line.strip()):
            continue  # a list of pictures, such as train.txt
        for number, line in enumerate(lines, 1):
            values = line.split()
            if not values:
                continue
            entry = f"{path.name}, line {number}"
            with file.reading(entry):
                label, shape = _yolo_shape(values, names)
                file.add(entry, str(path.with_suffix("")), None, None, label, shape)
    return file


def _yolo_shape(values: Sequence[str], names: Mapping[int, str]) -> tuple[str, BoxShape | OutlineShape]:
    try:
        number, shares = int(values[0]), finite_numbers([float(value) for value in values[1:]])
    except ValueError:
        number, shares = -1, None
    if shares is None or not 0 <= number < 10**6 or max(map(abs, shares)) > 10:
        raise MediaError(
            f"a line must be a class and shares of the picture's sides. Got {' '.join(values):.60}"
        )
    label = names.get(number, f"class {number}")
    if len(shares) in (4, 5):  # a fifth is a confidence
        x, y, width, height = shares[:4]
        if width <= 0 or height <= 0:
            raise MediaError(f"a box needs a width and a height. Got {width:g} x {height:g}")
        return label, BoxShape((x - width / 2, y - height / 2, x + width / 2, y + height / 2), relative=True)
    if len(shares) < 6 or len(shares) % 2:
        raise MediaError(f"a box has 4 numbers behind its class, an outline 6 or more. Got {len(shares)}")
    return label, OutlineShape([shares], relative=True)


def _yolo_names(texts: Mapping[str, bytes], file: AnnotationFile) -> dict[int, str]:
    """The names of classes by number: from data.yaml, or a text file with a name a line."""
    for member, content in texts.items():
        path = PurePosixPath(member)
        text = content.decode("utf-8-sig", "replace")
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                parsed = yaml.safe_load(text)
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                file.skip(path.name, f"it is not YAML: {' '.join(str(error).split())[:200]}")
                continue
            names = parsed.get("names") if isinstance(parsed, dict) else None
            pairs = list(enumerate(names)) if isinstance(names, list) else []
            pairs = list(names.items()) if isinstance(names, dict) else pairs
            classes = {int(number): str(label)[:100] for number, label in pairs if _is_class(number, label)}
            if classes:
                return classes
        elif path.name.lower() in YOLO_NAMES:
            return {
                number: line.strip()[:100] for number, line in enumerate(text.splitlines()) if line.strip()
            }
    return {}


def _is_class(number: object, label: object) -> bool:
    is_number = isinstance(number, int) or (isinstance(number, str) and number.isascii() and number.isdigit())
    return is_number and isinstance(label, str | int) and bool(str(label).strip())
