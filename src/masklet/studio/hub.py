"""Publishes what happens to a video to every browser tab that has it open."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from masklet.studio.errors import ApiError
from masklet.studio.messages import Event, PeopleEvent, Viewer

MAX_PENDING = 512  # messages that a tab may be behind before it is disconnected


@dataclass(eq=False)
class Subscriber:
    """One open WebSocket: the frame in its view, and the JSON messages to send. None: it fell behind."""

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
        """Note which frame somebody looks at, and publish it."""
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
        """Send an event to all who have a video open. May be called from any thread."""
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
