"""The API's responses on projects: lists of files, comments, the history, imports and models."""

from __future__ import annotations

from typing import Literal

from masklet.studio.schemas import JobState, Schema, VideoSummary

FolderEntryKind = Literal["folder", "video", "picture", "pictures"]


class FolderEntry(Schema):
    name: str
    path: str
    kind: FolderEntryKind
    """`pictures`: a folder of images, which can be entered, or opened as a video."""
    bytes: int
    video: str | None = None
    """Its id in this project, if it is open there."""


class FolderListing(Schema):
    path: str
    entries: list[FolderEntry]


class FileList(Schema):
    """Files of a project, in the order of their names, numbers by their value."""

    total: int
    """The number of matches; the list may be shorter."""
    counts: dict[str, int]
    """The number of the project's files in each state."""
    files: list[VideoSummary]


class FailedFile(Schema):
    path: str
    message: str


class AddedFiles(Schema):
    files: list[VideoSummary]
    failed: list[FailedFile]
    """Files that could not be opened, and the reasons."""


class Neighbours(Schema):
    """The files before and after one in its project's list."""

    previous: str | None
    next: str | None
    position: int
    """From 1; 0 if the file itself does not match."""
    total: int


class Comment(Schema):
    id: str
    frame: int
    object: int | None
    text: str
    resolved: bool
    person: str
    at: str


class CommentList(Schema):
    comments: list[Comment]


class AuditEntry(Schema):
    """Something that a person did in a project."""

    at: str
    person: str
    video: str | None
    """The file's id; null if it is not about a file, or the file was deleted."""
    file: str
    title: str


class Audit(Schema):
    entries: list[AuditEntry]
    """Newest first."""


class ModelSpeed(Schema):
    """Milliseconds on this machine, as they were measured."""

    click: float
    """For a click on a frame that is encoded."""
    frame: float
    """To track one object through one frame, from encoding on."""


class PeopleOfProject(Schema):
    """Names of people who work, or worked, in a project."""

    names: list[str]


class Model(Schema):
    """A model that a project can use."""

    name: str
    parameters: int | None
    image_size: int | None
    """The side of the network's square, in pixels; null if it is not loaded and unknown."""
    bytes: int | None
    loaded: bool
    default: bool
    """Whether it is the one that the studio was started with."""
    milliseconds: ModelSpeed | None
    """null until it is measured."""
    note: str | None
    """A remark on it."""


class ModelList(Schema):
    models: list[Model]


class SkippedEntry(Schema):
    """A skipped entry of an annotation file."""

    file: str
    entry: str
    """Its place in the file, such as "annotation 7"."""
    reason: str


class Import(Schema):
    """Annotations of another tool that are added to a project's files."""

    id: str
    project: str
    format: str
    """The kind of file, such as "COCO"."""
    state: JobState
    done: int
    total: int
    """The number of annotations in the file, without those that could not be read."""
    masks: int
    """The number that became masks."""
    boxes: int
    """The number that became box prompts."""
    videos: list[str]
    """Ids of the files that have new objects."""
    classes: list[str]
    """Names of the created classes."""
    skipped: list[SkippedEntry]
    """The first 1000 skipped entries."""
    skipped_count: int
    """The total number of skipped entries."""
    notes: list[str]
    message: str | None
    """Why it failed."""
