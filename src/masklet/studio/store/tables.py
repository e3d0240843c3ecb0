"""The tables. The steps are the source of truth; results are computed from them by the model.

A result is valid from the step that made it until the step that replaced it. Undo only moves a video's
`head`, which makes earlier results valid again without computing anything.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime

from masklet.studio.schemas import JobState, VideoKind


def now() -> datetime:
    return datetime.now(UTC)


class Table(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012


class Person(Table):
    """A person. The id does not reveal the cookie."""

    __tablename__ = "people"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    since: Mapped[datetime] = mapped_column(default=now)


class Project(Table):
    """A job: files that are segmented with the same model, policy and classes.

    Attributes:
        model: A name that `GET /api/models` lists; None for the one that the studio was started with.
        classes: Names, colours, keys and attributes, as `schemas.Class` has them.
    """

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    policy: Mapped[str] = mapped_column(String(40))
    model: Mapped[str | None] = mapped_column(String(300))
    classes: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    created: Mapped[datetime] = mapped_column(default=now)


class Video(Table):
    """A video or image.

    Attributes:
        place: "upload:NAME" in the data folder, or "folder:PATH" in the folder that the studio serves.
        head: The last step that is not undone.
        unfinished: The rest of a propagation, as JSON.
        review: A state that a person has set: working or reviewed; None if it is determined by the steps.
        assignee: The name of the person who works on it; may be empty.
        reviewer: The name of the person who reviews it; may be empty.
        channel: The number of the one channel that is shown of a TIFF; None for all, in colours.
        pixel_size: In the sample, as text for `PixelSize.parse`; None for that of the file.
    """

    __tablename__ = "videos"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    place: Mapped[str] = mapped_column(Text)
    kind: Mapped[VideoKind] = mapped_column(String(10))
    width: Mapped[int]
    height: Mapped[int]
    frames: Mapped[int]
    fps: Mapped[float]
    head: Mapped[int] = mapped_column(default=0)
    unfinished: Mapped[dict[str, Any] | None]
    review: Mapped[str | None] = mapped_column(String(10))
    assignee: Mapped[str] = mapped_column(String(100), default="", server_default="")
    reviewer: Mapped[str] = mapped_column(String(100), default="", server_default="")
    channel: Mapped[int | None]
    pixel_size: Mapped[str | None] = mapped_column(String(100))
    created: Mapped[datetime] = mapped_column(default=now)


class Step(Table):
    """Something that a person did with a video, numbered from 1.

    Attributes:
        do: Prompt, clear, remove, follow or review, which make the session's script; or object.
        fields: Its fields, as JSON.
        batch: The same for steps that are undone together.
    """

    __tablename__ = "steps"

    video: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    do: Mapped[str] = mapped_column(String(10))
    fields: Mapped[dict[str, Any]]
    title: Mapped[str] = mapped_column(String(200))
    batch: Mapped[str] = mapped_column(String(16))
    person: Mapped[str] = mapped_column(ForeignKey("people.id"))
    at: Mapped[datetime] = mapped_column(default=now)


class Result(Table):
    """The mask of an object on a frame, as it stood from one step to another.

    Attributes:
        since: It holds at heads h with since <= h < until.
        until: None while no newer result replaced it.
        anchor: Whether the policy selects its memory even when it is old.
        box: x0, y0, x1, y1; None if the mask is empty.
    """

    __tablename__ = "results"
    # Numbers are never reused, because caches in memory use them as keys.
    __table_args__ = (Index("results_by_frame", "video", "frame"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    video: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    object: Mapped[int]
    frame: Mapped[int]
    since: Mapped[int]
    until: Mapped[int | None]
    prompted: Mapped[bool]
    anchor: Mapped[bool] = mapped_column(server_default=false())
    counts: Mapped[str] = mapped_column(Text)
    box: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))
    iou: Mapped[float]
    score: Mapped[float]
    confidence: Mapped[float]


class ResultParts(Table):
    """The parts of a result from which the model can continue: logits, pointer, memory tokens."""

    __tablename__ = "result_parts"

    result: Mapped[int] = mapped_column(
        ForeignKey("results.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    parts: Mapped[bytes] = mapped_column(LargeBinary)


class Comment(Table):
    """A comment on a frame.

    Attributes:
        object: The object that it is about; None for the frame.
    """

    __tablename__ = "comments"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    video: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), index=True)
    frame: Mapped[int]
    object: Mapped[int | None]
    text: Mapped[str] = mapped_column(Text)
    resolved: Mapped[bool] = mapped_column(default=False, server_default=false())
    person: Mapped[str] = mapped_column(ForeignKey("people.id"))
    at: Mapped[datetime] = mapped_column(default=now)


class AuditEntry(Table):
    """Something that a person did in a project and that is no step of a video."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    video: Mapped[str] = mapped_column(String(255), default="")
    title: Mapped[str] = mapped_column(String(300))
    person: Mapped[str] = mapped_column(ForeignKey("people.id"))
    at: Mapped[datetime] = mapped_column(default=now)


class Export(Table):
    """A file that was requested, of a video or of a whole project.

    Attributes:
        notes: Notes on the contents of the file, and on missing contents.
        request: The requested options, to continue after a restart; None for exports of earlier versions.
        attempts: How often writing it was started.
    """

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    video: Mapped[str | None] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), index=True)
    project: Mapped[str | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    format: Mapped[str] = mapped_column(String(40))
    state: Mapped[JobState] = mapped_column(String(10), default="waiting")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    file: Mapped[str | None] = mapped_column(String(300))
    message: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    request: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    created: Mapped[datetime] = mapped_column(default=now)
