"""The forms of the API's answers, as docs/api.md describes them: OpenAPI tells other programs of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Span = tuple[int, int]
Box = tuple[float, float, float, float]
Xy = tuple[float, float]
Direction = Literal["forward", "backward", "both"]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")  # what an answer holds is written here, or is a mistake


class Error(Answer):
    error: str
    message: str


class Person(Answer):
    id: str
    name: str


class Format(Answer):
    id: str
    title: str
    file: str


class About(Answer):
    version: str
    model: str
    device: str
    folder: str | None
    policies: list[str]
    person: Person
    formats: list[Format]
    limits: dict[str, int]


class Entry(Answer):
    name: str
    path: str
    kind: Literal["folder", "video", "picture", "pictures"]
    bytes: int


class Folder(Answer):
    path: str
    entries: list[Entry]


class VideoLine(Answer):
    """A video in a list; objects and reviewed are counts."""

    id: str
    name: str
    width: int
    height: int
    frames: int
    fps: float
    kind: str
    created: str
    objects: int
    reviewed: int


class Project(Answer):
    id: str
    name: str
    policy: str
    created: str
    videos: list[VideoLine]


class Projects(Answer):
    projects: list[Project]


class Object(Answer):
    id: int
    name: str
    color: str
    hidden: bool
    prompted: list[int]


class Prompt(Answer):
    """What was said; mask tells whether there is one."""

    positive: list[Xy]
    negative: list[Xy]
    box: Box | None
    mask: bool


class PromptAt(Answer):
    frame: int
    object: int
    prompt: Prompt


class Rle(Answer):
    size: tuple[int, int]
    counts: str


class FullPrompt(Answer):
    positive: list[Xy]
    negative: list[Xy]
    box: Box | None
    mask: Rle | None


class Propagation(Answer):
    state: Literal["waiting", "running", "stopped", "finished", "failed"]
    direction: Direction
    frame: int
    done: int
    total: int
    seconds_left: float | None
    fps: float | None
    objects: list[int] | None
    person: str
    message: str | None


class Unfinished(Answer):
    frame: int
    done: int
    total: int
    direction: Direction


class Affected(Answer):
    objects: list[int]
    start: int


class Video(Answer):
    id: str
    project: str
    name: str
    width: int
    height: int
    frames: int
    fps: float
    kind: str
    head: int
    can_undo: bool
    can_redo: bool
    undo: str | None
    redo: str | None
    objects: list[Object]
    prompts: list[PromptAt]
    reviewed: list[Span]
    followed: dict[int, list[Span]]
    affected: Affected | None
    propagation: Propagation | None
    unfinished: Unfinished | None


class Mask(Answer):
    object: int
    counts: str
    iou: float
    score: float
    confidence: float
    box: Box | None
    prompted: bool


class FrameMasks(Answer):
    """All masks of a frame, at a head."""

    head: int
    frame: int
    masks: list[Mask]


class Candidate(Answer):
    rank: int
    iou: float
    counts: str
    chosen: bool


class Prompted(FrameMasks):
    candidates: list[Candidate]
    milliseconds: int


class Masks(Answer):
    """The masks of one frame among many."""

    frame: int
    masks: list[Mask]


class MasksOfFrames(Answer):
    size: tuple[int, int]
    frames: list[Masks]
    next: int | None


class Step(Answer):
    head: int
    do: str
    title: str
    person: str
    at: str
    undone: bool


class History(Answer):
    steps: list[Step]


class Strip(Answer):
    object: int
    confidence: list[float | None]
    absent: list[float]
    prompted: list[int]


class Strips(Answer):
    start: int
    stop: int
    bins: int
    objects: list[Strip]
    reviewed: list[float]


class Doubtful(Answer):
    frame: int
    object: int
    confidence: float


class Export(Answer):
    id: str
    video: str
    format: str
    state: Literal["waiting", "running", "finished", "failed"]
    done: int
    total: int
    file: str | None
    bytes: int | None
    message: str | None


class PictureMask(Answer):
    rank: int
    iou: float
    score: float
    box: Box
    rle: Rle


class PictureResult(Answer):
    masks: list[PictureMask]


class Picture(Answer):
    size: tuple[int, int]
    model: str
    milliseconds: int
    results: list[PictureResult]
