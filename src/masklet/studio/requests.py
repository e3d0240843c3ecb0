"""The bodies of the API's requests, with their checks."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from masklet import files, rle
from masklet.errors import MediaError, PromptError
from masklet.studio.errors import ApiError
from masklet.studio.schemas import Box, Class, Direction, Point, clean_name
from masklet.types import Prompt

MAX_FRAME = 10_000_000
MAX_HEAD = 2**31 - 1
MAX_COUNTS = 1_000_000  # characters or runs of a mask
COLOR = re.compile(r"#[0-9a-fA-F]{6}")

Frame = Annotated[int, Field(ge=0, le=MAX_FRAME)]
StopFrame = Annotated[int, Field(ge=-1, le=MAX_FRAME)]
ObjectId = Annotated[int, Field(ge=1, le=1_000_000)]


Name = Annotated[str, Field(max_length=1000)]  # more is refused before it is looked at
ShortText = Annotated[str, Field(max_length=200)]


def parse_json(text: str | bytes) -> Any:
    """Parse the JSON of a request.

    Raises:
        ApiError: It is not JSON, or an object has a name twice, so that one value would be lost.
    """
    try:
        return files.parse_json(text)
    except UnicodeDecodeError:
        raise ApiError(422, "invalid", "the JSON must be UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ApiError(
            422, "invalid", f"the JSON is invalid at character {error.pos}: {error.msg}."
        ) from None
    except ValueError as error:
        raise ApiError(422, "invalid", f"the JSON cannot be read: {error}.") from None


class RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_values(cls, body: object) -> object:
        """Refuse true as a number, which pydantic would read as 1."""
        if isinstance(body, dict):
            for name, value in body.items():
                field = cls.model_fields.get(name)
                if field is not None and bool not in _types(field.annotation) and _holds_truth(value):
                    raise ValueError(f"{name} must not be true or false")
        return body


def _types(annotation: object) -> tuple[object, ...]:
    return annotation, *get_args(annotation)


def _holds_truth(value: object) -> bool:
    """Whether a value is true or false, or a list that contains one."""
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_truth, value)))


class Rename(RequestBody):
    name: Name


class NewProject(RequestBody):
    name: Name
    policy: Name | None = None
    """One of those that `GET /api/about` lists; by default the first of them."""
    model: Name | None = None
    """One of those that `GET /api/models` lists; by default the one that the studio was started with."""


class ClassChange(Class):
    """A class after the change."""

    was: Annotated[str, Field(max_length=100)] | None = None
    """The earlier name of a renamed class: its objects are renamed too."""


class ProjectChange(RequestBody):
    name: Name | None = None
    policy: Name | None = None
    model: Name | None = None
    """One of those that `GET /api/models` lists; refused after the first prompt."""
    classes: Annotated[list[ClassChange], Field(max_length=200)] | None = None
    """All classes, in order. Objects keep the names of removed classes."""
    seen: Annotated[list[Class], Field(max_length=200)] | None = None
    """The classes that the person saw. Changes and additions by others are kept; if both changed the same
    field, nothing is changed."""


class ModelName(RequestBody):
    name: Name


class SeenVideo(RequestBody):
    """Fields of a file that a person saw."""

    name: Name | None = None
    assignee: ShortText | None = None
    reviewer: ShortText | None = None


class VideoChange(RequestBody):
    """Omitted fields are not changed."""

    name: Name | None = None
    state: Literal["working", "reviewed", "auto"] | None = None
    """`auto`: determined by steps and reviews."""
    assignee: Annotated[str, Field(max_length=100)] | None = None
    """Empty for nobody."""
    reviewer: Annotated[str, Field(max_length=100)] | None = None
    channel: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """The channel of a TIFF to show; null for all, in colours. Existing masks are kept."""
    pixel_size: Annotated[str, Field(max_length=100)] | None = None
    """The size of a pixel in the sample, such as `0.65um` or `0.2x0.2x1um`, for measurements and label TIFFs;
    empty for the file's own."""
    seen: SeenVideo | None = None
    """The fields that the person saw. If someone else has set a field of the change since, nothing is
    changed."""


class FolderFiles(RequestBody):
    paths: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(min_length=1, max_length=100)]


class NewComment(RequestBody):
    frame: Frame
    object: ObjectId | None = None
    text: Annotated[str, Field(min_length=1, max_length=4000)]


class CommentChange(RequestBody):
    resolved: bool


class FolderVideo(RequestBody):
    path: Annotated[str, Field(max_length=10_000)]
    """A path from `GET /api/folder`."""


class NewObject(RequestBody):
    name: Name | None = None
    color: Name | None = None
    """#rrggbb"""
    label: Name | None = None
    """The name of one of the project's classes; an empty one removes the class."""
    attributes: Annotated[dict[ShortText, ShortText], Field(max_length=50)] | None = None
    """Values of the class's attributes, by name."""

    def fields(self) -> dict[str, object]:
        """The given fields, checked and cleaned."""
        fields: dict[str, object] = {}
        if self.name is not None:
            fields["name"] = clean_name(self.name)
        if self.color is not None:
            fields["color"] = check_color(self.color)
        if self.label is not None:
            fields["label"] = clean_name(self.label) if self.label.strip() else None
        if self.attributes is not None:
            fields["attributes"] = dict(self.attributes)
        return fields


def check_color(color: str) -> str:
    if not COLOR.fullmatch(color):
        raise ApiError(422, "invalid", "color must be #rrggbb.")
    return color.lower()


class ObjectChange(NewObject):
    """Omitted fields and attributes are not changed; an empty value removes an attribute."""

    hidden: bool | None = None
    head: Annotated[int, Field(ge=0, le=MAX_HEAD)] | None = None
    """The video's head when the person saw the object: the answer lists changes by others since then."""

    def fields(self) -> dict[str, object]:
        return super().fields() | ({} if self.hidden is None else {"hidden": self.hidden})


class DrawnMask(RequestBody):
    """A mask in COCO's run-length encoding, at the size of the frame."""

    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Height, width."""
    counts: Annotated[str, Field(max_length=MAX_COUNTS)] | Annotated[list[int], Field(max_length=MAX_COUNTS)]
    """Compressed as text, or a plain list of run lengths."""

    def decode(self, size: tuple[int, int]) -> np.ndarray:
        """Decode the mask.

        Args:
            size: (H, W) of the frame.

        Returns:
            bool (H, W).

        Raises:
            PromptError: The mask has another size, or its run lengths are invalid.
        """
        if tuple(self.size) != size:
            raise PromptError(f"mask must have the frame's size, (H, W) = {size}. Got {tuple(self.size)}.")
        try:
            return rle.decode({"size": list(size), "counts": self.counts})
        except MediaError as error:
            raise PromptError(str(error)) from error


class PromptBody(RequestBody):
    """A prompt. All fields are optional."""

    positive: list[Point] = []
    """Clicks on the object, in pixels. For the first pixel, send its centre, (0.5, 0.5): other positions in
    it are refused, since they look like fractions of width and height."""
    negative: list[Point] = []
    box: Box | None = None
    mask: DrawnMask | None = None

    def to_prompt(self, size: tuple[int, int], max_points: int) -> Prompt:
        """The prompt on a frame.

        Args:
            size: (H, W) of the frame.
            max_points: Clicks that a prompt may have.

        Raises:
            PromptError: It has more clicks, or a mask that does not fit.
        """
        if len(self.positive) + len(self.negative) > max_points:
            raise PromptError(f"a prompt can have at most {max_points} points.")
        mask = None if self.mask is None else self.mask.decode(size)
        return Prompt(positive=self.positive, negative=self.negative, box=self.box, mask=mask)


class NewPrompt(PromptBody):
    frame: Frame
    object: ObjectId
    candidates: bool = False
    """Whether to send the candidates of a single click."""
    label: Name | None = None
    """The class of the object, one of the project's, if this prompt creates the object."""
    new: bool = False
    """Whether the prompt creates an object: if its number has been used since, it gets the next one."""


class PreviewPrompt(PromptBody):
    frame: Frame


class FrameNumber(RequestBody):
    frame: Frame


class CandidateChoice(RequestBody):
    frame: Frame
    object: ObjectId
    rank: Annotated[int, Field(ge=0, le=2)]


class NewEdit(RequestBody):
    operation: Literal["fill", "drop", "grow", "shrink", "smooth", "copy", "merge", "split"]
    """`fill` holes, `drop` islands, `grow` and `shrink` by pixels, `smooth` over time, `copy` the mask of
    `start` to the frames after it, `merge` another object into this one, `split` pieces into objects."""
    object: ObjectId
    start: Frame = 0
    stop: Frame = MAX_FRAME
    """The frame after the last. A merge uses all frames, regardless of start and stop."""
    amount: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    """Fill, drop and split: pixels of the largest hole or island, or smallest piece; by default 1 % of the
    mask. Grow and shrink: pixels, up to 100. Smooth: frames on each side, up to 10; by default 2."""
    others: Annotated[list[ObjectId], Field(max_length=1000)] = []
    """Further objects to edit, as one step of undo. For a merge: the objects to merge into this one, which
    are deleted."""


class NewPropagation(RequestBody):
    direction: Direction = "forward"
    start: Frame | None = None
    """The first frame; by default the first prompted one, backward the last."""
    stop: StopFrame | None = None
    """The frame after the last one in the direction of tracking; by default the end, backward -1."""
    objects: Annotated[list[ObjectId], Field(min_length=1, max_length=1000)] | None = None
    """By default all; the others keep their masks."""
    frames: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The maximum number of frames; with both directions, in each."""
    scope: Literal["all", "affected", "missing"] = "all"
    """`affected`: only the objects in the video's `affected`, from there on. `missing`: only frames without a
    mask, from start to before stop."""
    stop_when_doubtful: Annotated[float, Field(ge=0, le=1)] | None = None
    """Stop at the first mask with a confidence below this."""
    resume: bool = False
    """Resume the video's `unfinished`, after a stop or a crash."""


class Review(RequestBody):
    start: Frame
    stop: Frame
    reviewed: bool


class NewExport(RequestBody):
    format: Name
    """One of those that `GET /api/about` lists."""
    objects: list[ObjectId] | None = None
    """By default all that are not hidden."""
    hidden: bool = False
    """Whether to include hidden objects, if `objects` is empty."""
    start: Frame = 0
    stop: Frame | None = None
    """The frame after the last; by default the end."""
    frames: Literal["all", "tracked"] = "all"
    """The frames in formats that show the images: all, or from the first to the last with masks."""
    audio: bool = True
    """Whether to keep the sound, in formats that support it."""
    soft: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Pixels over which the edges of cut-outs fade out: feathered edges."""
    background: Annotated[str, Field(pattern="^(blur|#[0-9a-fA-F]{6}|[a-z]{1,20})$")] = "blur"
    """The background of a composite: `blur`, or a colour such as `green` or `#00b140`."""


class NewProjectExport(RequestBody):
    format: Literal["coco", "yolo", "cvat-images", "measures"]
    validation: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The approximate fraction of files in val. A file's name determines its split, so adding files does not
    move others. All frames of a video are in the same split."""
    hidden: bool = False
    """Whether to include hidden objects."""
    images: bool = True
    """Whether to add the images."""
    reviewed_only: bool = False
    """Whether to include only reviewed frames."""


class LookEvent(RequestBody):
    """This frame is in view: encode it, so that a click on it is answered at once."""

    type: Literal["look"]
    frame: Frame


class PingEvent(RequestBody):
    """Answered by `pong`."""

    type: Literal["ping"]


ClientEvent = LookEvent | PingEvent
