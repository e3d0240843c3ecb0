"""What the server sends over the WebSocket of a video: the form of each message."""

from __future__ import annotations

from typing import Literal

from masklet.studio.schemas import Export, FrameMasks, Mask, Propagation, Schema, Span


class Viewer(Schema):
    """Somebody who has a video open."""

    id: str
    name: str
    frame: int | None
    """The frame in view; null until the page said which."""


class HelloEvent(Schema):
    """The first message. A page that reconnects compares `head`, and fetches the video anew if it differs."""

    type: Literal["hello"] = "hello"
    head: int
    people: list[Viewer]
    propagation: Propagation | None
    client: str | None


class ChangedEvent(Schema):
    """Something was done or undone. Fetch the video, and the masks in view if they lie on these frames."""

    type: Literal["changed"] = "changed"
    head: int
    do: str
    title: str
    person: str
    client: str | None
    """The tab that did it."""
    frames: list[Span]
    """Where masks may differ."""
    objects: list[int]


class MasksEvent(FrameMasks):
    """The masks of one frame after a prompt, for the other tabs."""

    type: Literal["masks"] = "masks"
    client: str | None


class FrameEvent(Schema):
    """One more frame was tracked."""

    type: Literal["frame"] = "frame"
    frame: int
    masks: list[Mask]
    """Of the objects that were tracked there."""
    propagation: Propagation


class PropagationEvent(Schema):
    """A propagation began, waits, stopped, finished or failed."""

    type: Literal["propagation"] = "propagation"
    propagation: Propagation


class ExportEvent(Schema):
    """An export made progress."""

    type: Literal["export"] = "export"
    export: Export


class PeopleEvent(Schema):
    """Who has the video open now, and which frame is in view."""

    type: Literal["people"] = "people"
    people: list[Viewer]


class CommentsEvent(Schema):
    """Somebody wrote a comment or resolved one. Fetch the comments anew."""

    type: Literal["comments"] = "comments"


class ReadyEvent(Schema):
    """The frame is encoded: a click on it is answered at once."""

    type: Literal["ready"] = "ready"
    frame: int


class GoneEvent(Schema):
    """The video was deleted."""

    type: Literal["gone"] = "gone"


class ErrorEvent(Schema):
    """A message of the client's was not understood."""

    type: Literal["error"] = "error"
    error: str
    message: str


class PongEvent(Schema):
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"


Event = (
    HelloEvent
    | ChangedEvent
    | MasksEvent
    | FrameEvent
    | PropagationEvent
    | ExportEvent
    | PeopleEvent
    | CommentsEvent
    | ReadyEvent
    | GoneEvent
    | ErrorEvent
    | PongEvent
)
