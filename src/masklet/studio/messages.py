"""The messages that the server sends over a video's WebSocket, and the hub that distributes them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from masklet.studio.errors import ApiError
from masklet.studio.schemas import Export, FrameMasks, Mask, Propagation, Schema, Span


class Viewer(Schema):
    """A person who has a video open."""

    id: str
    name: str
    frame: int | None
    """The current frame; null until the page has sent it."""


class HelloEvent(Schema):
    """The first message. A page that reconnects fetches the video again if its `head` differs."""

    type: Literal["hello"] = "hello"
    head: int
    people: list[Viewer]
    propagation: Propagation | None
    client: str | None


class ChangedEvent(Schema):
    """A step was made or undone. Fetch the video, and the shown masks if they are on these frames."""

    type: Literal["changed"] = "changed"
    head: int
    do: str
    title: str
    how: Literal["done", "undone", "redone"] = "done"
    """Whether the step is new, was undone, or was redone."""
    person: str
    client: str | None
    """The tab that made it."""
    frames: list[Span]
    """The frames whose masks may differ."""
    objects: list[int]


class MasksEvent(FrameMasks):
    """The masks of one frame after a prompt, for the other tabs."""

    type: Literal["masks"] = "masks"
    client: str | None


class FrameEvent(Schema):
    """A frame was tracked."""

    type: Literal["frame"] = "frame"
    frame: int
    masks: list[Mask]
    """Of the objects that were tracked there."""
    propagation: Propagation


class PropagationEvent(Schema):
    """A propagation started, waits, stopped, finished or failed."""

    type: Literal["propagation"] = "propagation"
    propagation: Propagation


class ExportEvent(Schema):
    """An export made progress."""

    type: Literal["export"] = "export"
    export: Export


class PeopleEvent(Schema):
    """The people who have the video open, and the frames that they see."""

    type: Literal["people"] = "people"
    people: list[Viewer]


class CommentsEvent(Schema):
    """A comment was written or resolved. Fetch the comments again."""

    type: Literal["comments"] = "comments"


class ReadyEvent(Schema):
    """The frame is encoded: a click on it is answered at once."""

    type: Literal["ready"] = "ready"
    frame: int


class GoneEvent(Schema):
    """The video was deleted."""

    type: Literal["gone"] = "gone"


class ErrorEvent(Schema):
    """A message of the client was not understood."""

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


MAX_PENDING = 512  # unsent messages after which a tab is disconnected


@dataclass(eq=False)
class Subscriber:
    """An open WebSocket: its current frame, and the JSON messages to send. None disconnects it."""

    person: str
    name: str
    frame_in_view: int | None = None
    messages: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(MAX_PENDING))


class Hub:
    """Passes messages from any thread to the subscribers of a video."""

    def __init__(self, sockets: int) -> None:
        self._sockets = sockets
        # Of a video, who moved to another frame last comes last.
        self._subscribers: dict[str, dict[Subscriber, None]] = defaultdict(dict)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Use the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def subscribe(self, video: str, subscriber: Subscriber) -> None:
        """Send a video's events to a subscriber from now on.

        Raises:
            ApiError: As many tabs are open as may be.
        """
        if sum(map(len, self._subscribers.values())) >= self._sockets:
            raise ApiError(429, "queue", f"{self._sockets} tabs are open. Close one first.", retry=5)
        self._subscribers[video][subscriber] = None
        self._deliver_people(video)

    def unsubscribe(self, video: str, subscriber: Subscriber) -> None:
        self._subscribers[video].pop(subscriber, None)
        self._deliver_people(video)
        if not self._subscribers[video]:
            del self._subscribers[video]

    def show_frame(self, video: str, subscriber: Subscriber, frame: int) -> None:
        """Store and publish a person's current frame."""
        subscriber.frame_in_view = frame
        subscribers = self._subscribers.get(video, {})
        if subscriber in subscribers:
            del subscribers[subscriber]
            subscribers[subscriber] = None
        if len(subscribers) > 1:
            self._deliver_people(video)

    def people(self, video: str) -> list[Viewer]:
        """Who has a video open. Of a person with several tabs, the one that moved last counts."""
        viewers = {
            subscriber.person: Viewer(
                id=subscriber.person, name=subscriber.name, frame=subscriber.frame_in_view
            )
            for subscriber in self._subscribers.get(video, ())
        }
        return [viewer for _, viewer in sorted(viewers.items())]

    def has_subscribers(self, video: str) -> bool:
        return bool(self._subscribers.get(video))

    def publish(self, video: str, event: Event) -> None:
        """Send an event to all who have a video open. May be called from any thread.

        Args:
            video: Its id.
            event: Sent as JSON.
        """
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, video, event.model_dump_json())

    def _deliver_people(self, video: str) -> None:
        self._deliver(video, PeopleEvent(people=self.people(video)).model_dump_json())

    def _deliver(self, video: str, message: str) -> None:
        for subscriber in tuple(self._subscribers.get(video, ())):
            try:
                subscriber.messages.put_nowait(message)
            except asyncio.QueueFull:
                while not subscriber.messages.empty():
                    subscriber.messages.get_nowait()
                subscriber.messages.put_nowait(None)
