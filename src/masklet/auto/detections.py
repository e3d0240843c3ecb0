"""A detector's boxes or masks as prompts by frame, instead of the grid."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from masklet.arrays import to_array
from masklet.errors import MaskletError, MediaError, PromptError
from masklet.media.annotations.coco import CocoAnnotation, CocoFile, check_image_size
from masklet.media.readers.images import natural_key
from masklet.media.writers.writer import check_class
from masklet.prompts import check_prompt
from masklet.types import Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detection:
    """One object that a detector found on a frame.

    Attributes:
        prompt: Its box or mask.
        category: Its class, if the detector gives one.
    """

    prompt: Prompt
    category: str | None = None


Detector = Callable[[int, tuple[int, int]], list[Detection] | None]


def make_detector(source: object, file_name: Callable[[int], str], count: int | None = None) -> Detector:
    """The detections on a frame of size (H, W); None for frames without an entry.

    Args:
        source: A list with an entry for each frame, a dict by frame, or the path of a COCO JSON (see
            `CocoDetections`). An entry is None, boxes (n, 4) as x0, y0, x1, y1, masks (n, H, W), a list of
            `Prompt` or `Detection`, or an object with `xyxy` and perhaps `mask` and `data["class_name"]`, as
            `supervision.Detections` has them. A `CocoDetections` is returned unchanged.
        file_name: The file name of a frame.
        count: Frames of the video, if known.

    Raises:
        PromptError: The source has another type.
        MediaError: The JSON is missing, is not COCO, or is of another video.
    """
    if isinstance(source, CocoDetections):
        return source
    if isinstance(source, str | os.PathLike):
        return CocoDetections(Path(source), file_name, count)
    if not isinstance(source, Mapping | Sequence):
        raise PromptError(
            "detections must be a list with an entry for each frame, a dict by frame, or the path of a "
            f"COCO JSON. Got {type(source).__name__}."
        )
    entries = source if isinstance(source, Mapping) else dict(enumerate(source))
    if not all(isinstance(frame, int | np.integer) and not isinstance(frame, bool) for frame in entries):
        raise PromptError(
            "detections by frame must have whole numbers as keys. Got "
            f"{', '.join(map(repr, list(entries)[:3]))}."
        )
    beyond = [frame for frame in entries if frame < 0 or (count is not None and frame >= count)]
    if beyond:
        length = "" if count is None else f" to {count - 1}"
        raise PromptError(
            f"detections must be on frames from 0{length}. Got frame {beyond[0]}: are they for another "
            "video or frame rate?"
        )

    def detect(frame: int, size: tuple[int, int]) -> list[Detection] | None:
        entry = entries.get(frame)
        return None if entry is None else _check_detections(_read_entry(entry, frame), frame, size)

    return detect


def _check_detections(found: list[Detection], frame: int, size: tuple[int, int]) -> list[Detection]:
    for number, detection in enumerate(found):
        try:
            check_prompt(detection.prompt, size)
        except PromptError as error:
            raise PromptError(f"detection {number} of frame {frame}: {error}") from None
    return found


def _read_entry(entry: Any, frame: int) -> list[Detection]:
    data = getattr(entry, "data", None)
    names = data.get("class_name") if isinstance(data, Mapping) else None
    if hasattr(entry, "xyxy"):
        entry = entry.xyxy if getattr(entry, "mask", None) is None else entry.mask
    entry = to_array(entry)
    if isinstance(entry, Iterable) and not isinstance(entry, np.ndarray):
        entry = [to_array(item) for item in entry]
        if all(isinstance(item, Prompt | Detection) for item in entry):
            return [item if isinstance(item, Detection) else Detection(item) for item in entry]
    prompts = _array_prompts(entry, frame)
    categories = [None] * len(prompts) if names is None else [str(name) for name in names]
    if len(categories) != len(prompts):
        raise PromptError(
            f"frame {frame} has {len(prompts)} detections and {len(categories)} in class_name: give each "
            "detection a class."
        )
    return [
        Detection(prompt, category)
        for prompt, category in zip(prompts, categories, strict=True)
        if prompt is not None
    ]


def _array_prompts(entry: Any, frame: int) -> list[Prompt | None]:
    """Boxes or masks as prompts; None for a mask that covers no pixel."""
    try:
        array = np.asarray(entry)
    except (ValueError, RuntimeError):
        raise PromptError(f"detections of frame {frame} must be of one kind. Got {entry!r:.60}.") from None
    if array.size == 0:
        return []
    if array.ndim == 2 and array.shape[1] == 4:
        return [_box_prompt(box, number, frame) for number, box in enumerate(array)]
    if array.ndim == 3:
        prompts = [Prompt(mask=mask) for mask in array]
        empty = [number for number, prompt in enumerate(prompts) if not np.any(prompt.mask)]
        if empty:
            log.warning(
                "frame %d: %d of %d detected masks cover no pixel and are ignored: %s.",
                frame,
                len(empty),
                len(prompts),
                ", ".join(map(str, empty)),
            )
        return [None if number in empty else prompt for number, prompt in enumerate(prompts)]
    raise PromptError(
        f"detections on frame {frame} must be boxes (n, 4), as x0, y0, x1, y1, or masks (n, H, W). Got "
        f"shape {array.shape}."
    )


def _box_prompt(box: np.ndarray, number: int, frame: int) -> Prompt:
    try:
        x0, y0, x1, y1 = map(float, box)
        return Prompt(box=(x0, y0, x1, y1))
    except (PromptError, TypeError, ValueError) as error:
        raise PromptError(f"detection {number} of frame {frame}: {error}") from None


class CocoDetections:
    """The annotations of a COCO JSON by frame: masks if it has them, otherwise boxes.

    An image belongs to the frame in its `frame_index` or `frame_id`; without these, to the frame of its file
    name, with or without folder and suffix; without names, images are the first frames in order. Annotations
    that cover nothing of their frame are logged and left out. Their categories are the classes.

    Args:
        count: Frames of the video, if known: as many images of other names are its frames, in
            the natural order of these names.
    """

    def __init__(self, path: Path, file_name: Callable[[int], str], count: int | None) -> None:
        self._file = CocoFile.read(path)
        images = self._file.images
        for annotation in (item for items in self._file.annotations.values() for item in items):
            check_class(annotation.category or "")
        indices = [image.frame for image in images]
        by_name = sorted(images, key=lambda image: natural_key(Path(image.file_name)))
        in_order = {frame: image.id for frame, image in enumerate(by_name)}
        self._by_frame: dict[int, str] = {}
        self._by_name: dict[str, list[str]] = {}
        self._file_name = file_name
        self._sizes = {image.id: image.size for image in images}
        if not any(image.file_name for image in images) and None in indices:
            self._by_frame = in_order
        elif None not in indices:
            self._by_frame = self._frames_by_index(count)
        else:
            self._by_name = _names([(image.file_name, image.id) for image in images])
            if count is not None and not any(self._find(frame) for frame in range(count)):
                self._by_frame = self._frames_in_order(in_order, count)

    def check(self, count: int, size: tuple[int, int]) -> None:
        """Check all images at once, before a long run.

        Args:
            count: Frames of the video.
            size: (H, W) of each.

        Raises:
            LabelSizeError: An image is of another size.
            MediaError: Two images may be the same frame.
        """
        for frame in range(count):
            self._image(frame, size)

    def _image(self, frame: int, size: tuple[int, int]) -> str | None:
        """The image of a frame of this size."""
        image = self._find(frame)
        if image is not None:
            check_image_size(self._sizes[image], size, f"{self._file.path}, frame {frame}")
        return image

    def __call__(self, frame: int, size: tuple[int, int]) -> list[Detection] | None:
        image = self._image(frame, size)
        if image is None:
            return None
        annotations = self._file.annotations.get(image, ())
        return [
            Detection(prompt, item.category)
            for item in annotations
            if (prompt := self._prompt(item, frame, size)) is not None
        ]

    def _frames_by_index(self, count: int | None) -> dict[int, str]:
        by_frame: dict[int, str] = {}
        for image in self._file.images:
            if image.frame is None:
                continue
            if image.frame in by_frame:
                raise MediaError(
                    f"{self._file.path} has two images of frame {image.frame}, with the ids "
                    f"{by_frame[image.frame]} and {image.id}: it must be for one video."
                )
            by_frame[image.frame] = image.id
        if count is not None and max(by_frame, default=0) >= count:
            raise MediaError(
                f"{self._file.path} has an image for frame {max(by_frame)}, but the video has {count} "
                f"frames, 0 to {count - 1}. frame_index and frame_id start at 0."
            )
        return by_frame

    def _frames_in_order(self, in_order: dict[int, str], count: int) -> dict[int, str]:
        if len(in_order) != count:
            raise MediaError(
                f"{self._file.path} names {len(in_order)} images such as {next(iter(self._by_name))}, but "
                f"none of the video's {count} frames, {self._file_name(0)} and so on. Rename them, or give "
                "each image its frame as frame_index."
            )
        log.warning(
            "%s: no image has a frame's name; its %d images are used as the video's %d frames, in the "
            "order of their names.",
            self._file.path,
            len(in_order),
            count,
        )
        return in_order

    def _find(self, frame: int) -> str | None:
        if self._by_frame:
            return self._by_frame.get(frame)
        path = PurePosixPath(self._file_name(frame))
        ids: list[str] = next((self._by_name[name] for name in _forms(path) if name in self._by_name), [])
        if len(ids) > 1:
            raise MediaError(
                f"{self._file.path} has {len(ids)} images that match frame {frame}, {path}. Give each image "
                "its frame as frame_index."
            )
        return ids[0] if ids else None

    def _prompt(self, annotation: CocoAnnotation, frame: int, size: tuple[int, int]) -> Prompt | None:
        """An annotation as a prompt; None if it covers no pixel of the frame."""
        try:
            mask = None if annotation.segmentation is None else annotation.mask(size)
            if mask is not None and not mask.any():
                raise MediaError("its segmentation covers no pixel of the frame.")
            prompt = Prompt(box=annotation.box) if mask is None else Prompt(mask=mask)
            check_prompt(prompt, size)
        except MaskletError as error:
            log.warning(
                "%s: annotation %s of frame %d is ignored: %s", self._file.path, annotation.id, frame, error
            )
            return None
        return prompt


def _names(images: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Image ids by path, by file name, and by file name without suffix."""
    by_name: dict[str, list[str]] = {}
    for name, id in images:
        for form in _forms(PurePosixPath(name.replace("\\", "/"))):
            by_name.setdefault(form, []).append(id)
    return by_name


def _forms(path: PurePosixPath) -> list[str]:
    """The possible names of a file, the most exact first."""
    return list(dict.fromkeys([str(path), path.name, path.stem]))
