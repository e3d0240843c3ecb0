"""What a detector saw, from whatever source, as prompts by frame: it can take the place of the grid."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from masklet import rle
from masklet.errors import MediaError, PromptError
from masklet.transforms import check_prompt
from masklet.types import Prompt

Detect = Callable[[int, tuple[int, int]], list[Prompt] | None]


def detector(source: object, file_name: Callable[[int], str]) -> Detect:
    """What is detected on a frame of a size (H, W); None on frames of which nothing is said.

    source : a list with an entry for each frame, or a dict by frame; or the path of a COCO JSON, whose images
        are the frames of the same file names, or else, in the order of their ids, the first frames. An entry
        is None, boxes (n, 4) as x0, y0, x1, y1, masks (n, H, W), a list of prompts, or an object with `xyxy`
        and perhaps `mask`, as detectors return it
    file_name : of a frame
    """
    if isinstance(source, str | os.PathLike):
        return _Coco(Path(source), file_name)
    if not isinstance(source, Mapping | Sequence):
        raise PromptError(
            "detections are a list with an entry for each frame, a dict by frame, or the path of a COCO "
            f"JSON. Got {type(source).__name__}."
        )
    entries = source if isinstance(source, Mapping) else dict(enumerate(source))

    def detect(frame: int, size: tuple[int, int]) -> list[Prompt] | None:
        entry = entries.get(frame)
        return None if entry is None else _checked(_prompts(entry, frame), frame, size)

    return detect


def _checked(prompts: list[Prompt], frame: int, size: tuple[int, int]) -> list[Prompt]:
    for number, prompt in enumerate(prompts):
        try:
            check_prompt(prompt, size)
        except PromptError as error:
            raise PromptError(f"detection {number} of frame {frame}: {error}") from None
    return prompts


def _prompts(entry: Any, frame: int) -> list[Prompt]:
    if hasattr(entry, "xyxy"):
        entry = entry.xyxy if getattr(entry, "mask", None) is None else entry.mask
    if isinstance(entry, Iterable) and not isinstance(entry, np.ndarray):
        entry = list(entry)
        if all(isinstance(each, Prompt) for each in entry):
            return entry
    array = np.asarray(entry)
    if array.size == 0:
        return []
    if array.ndim == 2 and array.shape[1] == 4:
        return [_boxed(box, number, frame) for number, box in enumerate(array)]
    if array.ndim == 3:
        return [Prompt(mask=mask) for mask in array]
    raise PromptError(
        f"what is detected on frame {frame} must be boxes (n, 4), as x0, y0, x1, y1, or masks (n, H, W). "
        f"Got shape {array.shape}."
    )


def _boxed(box: np.ndarray, number: int, frame: int) -> Prompt:
    try:
        x0, y0, x1, y1 = map(float, box)
        return Prompt(box=(x0, y0, x1, y1))
    except PromptError as error:
        raise PromptError(f"detection {number} of frame {frame}: {error}") from None


class _Coco:
    """The annotations of a COCO JSON by frame: masks where it has them, else boxes."""

    def __init__(self, path: Path, file_name: Callable[[int], str]) -> None:
        try:
            content = json.loads(path.read_text("utf-8"))
            images = sorted(content["images"], key=lambda image: image["id"])
            self._by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
            for each in content["annotations"]:
                self._by_image[each["image_id"]].append(each)
        except FileNotFoundError:
            raise MediaError(f"there is no file {path}.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MediaError(
                f"{path} is not a COCO JSON with images and annotations: {error or type(error).__name__}."
            ) from error
        self._by_name = {Path(str(image.get("file_name", ""))).name: image["id"] for image in images}
        self._in_order = [image["id"] for image in images]
        self._named = file_name(0) in self._by_name
        self._file_name = file_name

    def __call__(self, frame: int, size: tuple[int, int]) -> list[Prompt] | None:
        if self._named:
            image = self._by_name.get(self._file_name(frame))
        else:
            image = self._in_order[frame] if frame < len(self._in_order) else None
        if image is None:
            return None
        found = [_annotated(each, number, frame, size) for number, each in enumerate(self._by_image[image])]
        return _checked(found, frame, size)


def _annotated(each: Mapping[str, Any], number: int, frame: int, size: tuple[int, int]) -> Prompt:
    shape = each.get("segmentation")
    if not shape:
        x, y, width, height = each["bbox"]
        return _boxed(np.array([x, y, x + width, y + height]), number, frame)
    if isinstance(shape, Mapping) and isinstance(shape["counts"], str):
        return Prompt(mask=rle.decode({"size": shape["size"], "counts": shape["counts"]}))
    packed = coco.frPyObjects(shape, *size)
    merged = coco.merge(packed) if isinstance(packed, list) else packed
    return Prompt(mask=coco.decode(merged).astype(bool))
