"""The responses of the API. WebSocket messages are in `messages`.

OpenAPI, the page's `types.js` and the reference in docs/api.md are generated from these classes and those in
`requests` and `messages`, by `dev/studio_api.py`.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from masklet.studio.errors import ApiError

Span = TypeAliasType("Span", tuple[int, int])
Box = TypeAliasType("Box", tuple[float, float, float, float])
Point = TypeAliasType("Point", tuple[float, float])
Direction = Literal["forward", "backward", "both"]
FileState = Literal["new", "working", "reviewed"]
VideoKind = Literal["video", "picture", "pictures"]
ProblemKind = Literal["lost", "jump", "overlap", "doubtful"]
JobState = Literal["waiting", "running", "finished", "failed"]
PropagationState = Literal["waiting", "running", "stopped", "finished", "failed"]


def clean_name(name: str, length: int = 100) -> str:
    """A name as it is stored: one line, no control characters, not too long.

    Args:
        name: As it was sent.
        length: The characters that are kept.

    Raises:
        ApiError: Nothing is left of it.

    Example:
        >>> clean_name("  a\\n dog ")
        'a dog'
    """
    name = name[: 10 * length]  # a header or file name may be longer
    visible = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in name)
    cleaned = " ".join(visible.split())[:length].rstrip()
    if not cleaned:
        raise ApiError(422, "invalid", "a name needs at least one letter.")
    return cleaned


def clean_text(text: str) -> str:
    """A text of several lines as it is stored: no control characters but tabs and line ends.

    Raises:
        ApiError: Nothing is left of it.

    Example:
        >>> clean_text(" too wide\\x00,\\n see the tail ")
        'too wide,\\n see the tail'
    """
    cleaned = "".join(letter for letter in text if letter in "\t\n" or unicodedata.category(letter) != "Cc")
    if not cleaned.strip():
        raise ApiError(422, "invalid", "a text needs at least one letter.")
    return cleaned.strip()


class Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Error(Schema):
    error: str
    message: str
    """A sentence that can be shown to the user."""


class Person(Schema):
    id: str
    name: str


class ExportFormat(Schema):
    id: str
    title: str
    file: str


class About(Schema):
    version: str
    model: str
    """The model that the studio was started with."""
    model_note: str | None
    """Facts about it."""
    device: str
    folder: str | None
    """The name of the folder to choose from; null when the server was started without one."""
    policies: list[str]
    person: Person
    formats: list[ExportFormat]
    limits: dict[str, int]


class VideoSummary(Schema):
    """A video in a project's list."""

    id: str
    name: str
    width: int
    height: int
    frames: int
    fps: float
    kind: VideoKind
    created: str
    objects: int
    """Number of objects."""
    reviewed: int
    """Number of reviewed frames."""
    state: FileState
    """`new`: nothing was done yet. `reviewed`: all frames are reviewed, or a person set this state."""
    assignee: str
    """Who works on it; empty for nobody."""
    reviewer: str
    tracking: float | None
    """Progress of tracking, 0 to 1; null while nothing is tracked."""
    channel: int | None
    """The selected channel of a TIFF; null for all."""
    comments: int
    """Number of unresolved comments."""


class ClassAttribute(Schema):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    values: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)] = []
    """The values to choose from; empty for any text."""


class Class(Schema):
    """A class of objects in a project."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    color: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
    key: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """A letter or digit that selects it."""
    attributes: Annotated[list[ClassAttribute], Field(max_length=20)] = []


class Problem(Schema):
    """Frames that a person should look at."""

    kind: ProblemKind
    start: int
    stop: int
    object: int
    other: int | None
    """The second object of an overlap."""
    value: float
    """Of a doubtful object the lowest confidence, of a jump how many times its size it moved or grew, of an
    overlap the share of the smaller mask."""
    message: str


class ProblemList(Schema):
    problems: list[Problem]
    """By frame."""


class Project(Schema):
    id: str
    name: str
    policy: str
    model: str | None
    """null for the model that the studio was started with."""
    classes: list[Class]
    created: str
    videos: list[VideoSummary]


class ProjectList(Schema):
    projects: list[Project]


class Object(Schema):
    id: int
    name: str
    color: str
    """#rrggbb"""
    hidden: bool
    label: str | None
    """Its class, one of the project's."""
    attributes: dict[str, str]
    prompted: list[int]
    """Frames on which the object has a prompt."""


class ChangedObject(Object):
    """An object after a change of it."""

    conflicts: list[str]
    """Sentences on values that others had set since `head` and that this change replaced."""


class Prompt(Schema):
    positive: list[Point]
    negative: list[Point]
    box: Box | None
    mask: bool
    """Whether there is a mask; the mask itself is the one of the frame."""
    rank: int | None
    """The chosen candidate of the first click; null if none was chosen."""


class FramePrompt(Schema):
    frame: int
    object: int
    prompt: Prompt


class Rle(Schema):
    """A mask in COCO's compressed run-length encoding."""

    size: tuple[int, int]
    """Height, width."""
    counts: str


class PromptWithMask(Schema):
    positive: list[Point]
    negative: list[Point]
    box: Box | None
    mask: Rle | None


class Propagation(Schema):
    state: PropagationState
    direction: Direction
    frame: int
    """The next frame."""
    done: int
    total: int
    seconds_left: float | None
    fps: float | None
    objects: list[int] | None
    """null: all objects."""
    person: str
    message: str | None
    """Why it failed or stopped."""


class UnfinishedPropagation(Schema):
    frame: int
    done: int
    total: int
    direction: Direction


class ChangedObjects(Schema):
    objects: list[int]
    start: int
    """The first frame with a change."""


class Video(Schema):
    """Everything that a page needs to draw a video, except masks."""

    id: str
    project: str
    name: str
    width: int
    height: int
    frames: int
    fps: float
    kind: VideoKind
    channel: int | None
    """The channel of a TIFF that is shown and segmented; null for all, in colours."""
    pixel_size: str | None
    """The pixel size set by a person; null for that of the file."""
    head: int
    """Increases with every change, and decreases with undo."""
    can_undo: bool
    can_redo: bool
    undo: str | None
    """The title of the step that undo reverts, and its author if several people worked."""
    redo: str | None
    """The title of the step that redo repeats."""
    undo_step: str | None
    redo_step: str | None
    """Their ids, for the `step` of undo and redo."""
    objects: list[Object]
    prompts: list[FramePrompt]
    reviewed: list[Span]
    tracked: dict[int, list[Span]]
    """Frames with masks, by object."""
    affected: ChangedObjects | None
    """Objects that were prompted or cleared since they were last tracked."""
    propagation: Propagation | None
    """Tracking that is running."""
    unfinished: UnfinishedPropagation | None
    """Tracking that was interrupted, also by a crash, and can be resumed."""


class Channels(Schema):
    """The axes of a TIFF or of a folder of TIFFs. A video has none of these."""

    channels: list[str]
    """Names of the channels to choose one of, in their order; empty text for one that has no name."""
    depth: int | None
    """Slices at each point in time; null if it is not a TIFF."""
    time: int | None
    """Points in time. Frames are all slices of the first one, then of the next."""
    seconds: list[float]
    """Seconds of each point in time, from the first on; empty if the file does not say."""
    pixel_size: str | None
    """The pixel size in the file, such as `0.2x0.2x1um`."""


class FrameTimes(Schema):
    """When frames are shown. Without a constant frame rate that is not the frame's number by `fps`."""

    seconds: list[float]
    """Of each frame asked for, from the video's start."""


class Mask(Schema):
    """An object's mask on a frame, at the full size of the frame."""

    object: int
    counts: str
    """COCO's compressed run-length encoding."""
    iou: float
    """The predicted quality, 0 to 1."""
    score: float
    """The object score, a logit: above 0 the object is in the frame."""
    confidence: float
    """`iou` times the sigmoid of `score`."""
    box: Box | None
    """x0, y0, x1, y1, the latter two exclusive; null if the mask is empty."""
    prompted: bool


class FrameMasks(Schema):
    """The masks of all objects on a frame."""

    head: int
    frame: int
    masks: list[Mask]


class Candidate(Schema):
    """One of the candidates for a single click."""

    rank: int
    iou: float
    counts: str
    box: Box | None
    """The mask's box, to crop a thumbnail to."""
    chosen: bool


class PromptResult(FrameMasks):
    object: int
    """The object's number, which may be another than the one that was sent with `new`."""
    candidates: list[Candidate]
    """Up to three, best first, if they were asked for and the object has one click only."""
    milliseconds: int


class EditResult(Schema):
    """The result of an edit of masks, which is one undo step."""

    head: int
    frames: int
    """Number of changed frames."""
    reviewed: int
    """Number of frames left unchanged because they are reviewed."""
    objects: list[int]
    """Ids of objects that changed, are new, or were merged into another."""


class Preview(Schema):
    """The preview of a prompt. Nothing is stored."""

    frame: int
    counts: str
    """The best mask, in COCO's compressed run-length encoding."""
    box: Box | None
    iou: float
    milliseconds: int


class Segment(Schema):
    """A mask that was found without a prompt."""

    counts: str
    box: Box
    iou: float


class Segments(Schema):
    """The masks found on a frame, best first. Nothing is stored."""

    frame: int
    segments: list[Segment]


class MasksOfFrame(Schema):
    frame: int
    masks: list[Mask]


class MaskPage(Schema):
    size: tuple[int, int]
    """Height, width."""
    frames: list[MasksOfFrame]
    """Frames without masks are left out."""
    next: int | None
    """The frame from which to continue; null at the end."""


class HistoryStep(Schema):
    head: int
    do: str
    title: str
    person: str
    client: str | None
    """The tab that it came from; null if it came from none, or before the server was started."""
    at: str
    undone: bool


class History(Schema):
    steps: list[HistoryStep]
    """Newest first."""


class ObjectStrip(Schema):
    object: int
    confidence: list[float | None]
    """The lowest in the bin; null if the object has no mask."""
    absent: list[float]
    """The share of the bin in which the object is absent, 0 to 1."""
    prompted: list[int]
    """Frames with prompts."""


class Strips(Schema):
    """Bin `i` covers the frames from `start + floor(i * (stop - start) / bins)` on."""

    start: int
    stop: int
    bins: int
    objects: list[ObjectStrip]
    reviewed: list[float]
    """The share of the bin that is reviewed, 0 to 1."""


class DoubtfulFrame(Schema):
    frame: int
    object: int
    confidence: float


class Export(Schema):
    id: str
    video: str | None
    """null for an export of a whole project."""
    project: str | None
    format: str
    state: JobState
    done: int
    total: int
    file: str | None
    """The name for the download."""
    bytes: int | None
    message: str | None
    """Why it failed."""
    notes: list[str]
    """Notes on the contents of the file, and on missing contents."""


class ImageMask(Schema):
    rank: int
    iou: float
    score: float
    box: Box
    rle: Rle


class PromptMasks(Schema):
    """The masks for one prompt, best first."""

    masks: list[ImageMask]


class ImageMasks(Schema):
    size: tuple[int, int]
    """Height, width."""
    model: str
    milliseconds: int
    results: list[PromptMasks]
    """One for each prompt."""
