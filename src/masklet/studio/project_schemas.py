"""What the API sends of projects as jobs: lists of files, comments, the audit, imports and models."""

from __future__ import annotations

from masklet.studio.schemas import Schema, VideoSummary


class FileList(Schema):
    """Files of a project, in the order of their names, numbers by their value."""

    total: int
    """How many match; the list may hold fewer."""
    counts: dict[str, int]
    """How many files of the project are in each state."""
    files: list[VideoSummary]


class FailedFile(Schema):
    path: str
    message: str


class AddedFiles(Schema):
    files: list[VideoSummary]
    failed: list[FailedFile]
    """Files that could not be opened, and why."""


class Neighbours(Schema):
    """The files before and behind one in its project's list."""

    previous: str | None
    next: str | None
    position: int
    """From 1; 0 where the file itself does not match."""
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
    """The file's id; null where it is not about a file, or the file was deleted."""
    file: str
    title: str


class Audit(Schema):
    entries: list[AuditEntry]
    """Newest first."""
