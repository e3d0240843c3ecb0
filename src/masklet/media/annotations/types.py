"""Annotations of other tools.

An annotation is one object on one frame. Its shape becomes a prompt once the frame's size is known: masks and
outlines become masks, boxes become boxes. Entries that cannot be used are reported with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from masklet import rle
from masklet.boxes import Box
from masklet.errors import MediaError
from masklet.prompts import Prompt

Size = tuple[int, int]  # height, width

ELLIPSE_CORNERS = 64
OWN_ATTRIBUTES = {"occluded", "outside", "keyframe", "rotation", "object_id", "track_id", "instance_id"}
MAX_NAME, MAX_VALUE = 100, 200  # characters of an attribute


class Shape(Protocol):
    """The region that an annotation marks on a frame."""

    def to_prompt(self, size: Size) -> Prompt:
        """The shape on a frame of `size` (H, W).

        Raises:
            MaskletError: The shape is invalid, or belongs to a frame of another size.
        """


@dataclass(frozen=True)
class Annotation:
    """One object on one frame.

    Attributes:
        file: The annotation file, for messages.
        entry: The entry in the file, for messages.
        source: The file name of the image or video, as in the file; empty if it has none.
        frame: The frame number, if the file has it.
        object: Identifies the object across frames; None if nothing does.
        label: Its class; empty if it has none.
        shape: Its mask, outlines or box.
        attributes: The object's other attributes, by name.
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
    """An entry that is left out, and the reason."""

    file: str
    entry: str
    reason: str


@dataclass
class AnnotationFile:
    """The content of one file.

    Attributes:
        format: The kind of file, as shown to users.
        title: Its name for the video or task; empty if it has none.
        labels: Colours of classes by name; None if the file has no colour for it.
        choices: Attributes of classes, by class and name: the values to choose from; if empty, any text.
        notes: Remarks for the user.
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
        """Read one entry; a MediaError in it is recorded, and reading continues after it."""
        try:
            yield
        except MediaError as error:
            self.skip(entry, error)


@dataclass(frozen=True)
class BoxShape:
    """A box.

    Attributes:
        corners: x0, y0, x1, y1.
        relative: Whether they are fractions of the frame's width and height.
    """

    corners: Box
    relative: bool = False

    def to_prompt(self, size: Size) -> Prompt:
        x0, y0, x1, y1 = self.corners
        width, height = (size[1], size[0]) if self.relative else (1, 1)
        return Prompt(box=(x0 * width, y0 * height, x1 * width, y1 * height))


@dataclass(frozen=True)
class OutlineShape:
    """Outlines, each x0, y0, x1, y1, ...; as fractions of the frame's width and height if `relative`."""

    outlines: Sequence[Sequence[float]]
    relative: bool = False

    def to_prompt(self, size: Size) -> Prompt:
        height, width = size
        outlines = [np.asarray(outline, dtype=np.float64) for outline in self.outlines]
        if self.relative:
            outlines = [outline * np.tile([width, height], len(outline) // 2) for outline in outlines]
        return mask_prompt(rle.from_polygons(outlines, size))


@dataclass(frozen=True)
class SizedShape:
    """A shape in pixels of a frame whose size the file states, perhaps rounded."""

    shape: Shape
    size: Size

    def to_prompt(self, size: Size) -> Prompt:
        if not is_same_size(self.size, size):
            raise MediaError(
                f"it was drawn on an image of {self.size[1]} x {self.size[0]}, but this file has {size[1]} "
                f"x {size[0]}"
            )
        return self.shape.to_prompt(size)


def mask_prompt(mask: np.ndarray) -> Prompt:
    """A mask as a prompt.

    Raises:
        MediaError: It is empty.
    """
    if not mask.any():
        raise MediaError("its mask covers no pixel of the frame")
    return Prompt(mask=mask)


def is_same_size(stated: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a stated size (H, W) is the image's actual size. A difference of one pixel or 1 % is
    rounding."""
    return all(abs(a - b) <= 1 + b / 100 for a, b in zip(stated, size, strict=True))


def recorded_size(height: object, width: object) -> Size | None:
    """The size that a file states; None if it has none."""
    numbers = parse_floats([str(height), str(width)])
    if numbers is None or min(numbers) < 1 or max(numbers) > 1e6:
        return None
    return int(numbers[0]), int(numbers[1])


def read_attributes(values: object) -> dict[str, str]:
    """Attributes of an object as text, without those that tools use internally.

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


def ellipse_outline(cx: float, cy: float, rx: float, ry: float, degrees: float) -> list[float]:
    """The corners x0, y0, ... of an ellipse, rotated clockwise around its centre."""
    angles = np.linspace(0, 2 * math.pi, ELLIPSE_CORNERS, endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    turn = math.radians(degrees)
    corners = np.stack(
        [cx + x * math.cos(turn) - y * math.sin(turn), cy + x * math.sin(turn) + y * math.cos(turn)]
    )
    return [float(value) for value in corners.T.ravel()]


def parse_floats(texts: Sequence[str]) -> list[float] | None:
    """Finite numbers from texts; None if a text is not one."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
