"""Who looks at a video, and what all of them are told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from masklet.studio.errors import Refusal

BEHIND = 512  # messages that a tab may be behind before it is disconnected

Message = dict[str, Any]


@dataclass(eq=False)
class Watcher:
    """One open WebSocket, and the frame in its view. None in its messages: it fell behind."""

    person: str
    name: str
    looking: int = -1
    messages: asyncio.Queue[Message | None] = field(default_factory=lambda: asyncio.Queue(BEHIND))


class Hub:
    """Hands messages from any thread to the tabs that look at a video."""

    def __init__(self, sockets: int) -> None:
        self._sockets = sockets
        self._watchers: dict[str, set[Watcher]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Belong to the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def join(self, video: str, watcher: Watcher) -> None:
        if sum(map(len, self._watchers.values())) >= self._sockets:
            raise Refusal(429, "queue", f"{self._sockets} tabs are open. Close one first.", retry=5)
        self._watchers[video].add(watcher)
        self._tell(video, {"type": "people", "people": self.people(video)})

    def leave(self, video: str, watcher: Watcher) -> None:
        self._watchers[video].discard(watcher)
        self._tell(video, {"type": "people", "people": self.people(video)})
        if not self._watchers[video]:
            del self._watchers[video]

    def people(self, video: str) -> list[dict[str, str]]:
        present = {each.person: each.name for each in self._watchers.get(video, ())}
        return [{"id": id, "name": name} for id, name in sorted(present.items())]

    def watched(self, video: str) -> bool:
        return bool(self._watchers.get(video))

    def tell(self, video: str, message: Message) -> None:
        """Tell all who look at a video; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, video, message)

    def _tell(self, video: str, message: Message) -> None:
        for watcher in tuple(self._watchers.get(video, ())):
            try:
                watcher.messages.put_nowait(message)
            except asyncio.QueueFull:
                while not watcher.messages.empty():
                    watcher.messages.get_nowait()
                watcher.messages.put_nowait(None)
