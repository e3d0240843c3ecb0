"""What becomes of each object of a video: when it appears, is lost, is found again, and ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from masklet.sessions.visibility import VisibilityMonitor
from masklet.types import Masks

MAX_RECORDS = 1000  # transitions of one object, and ended objects, so that a stream's record does not grow

Transition = tuple[int, Literal["lost", "found"]]


@dataclass
class TrackRecord:
    """One object's record.

    Attributes:
        id: The object.
        first: The first frame with a mask of it.
        last: The last frame with one.
        visible: The number of frames with one.
        transitions: (frame, "lost" or "found"), in order; the newest thousand.
        ended: The frame on which it was dropped; None where it was tracked to the end.
    """

    id: int
    first: int
    last: int = -1
    visible: int = 0
    transitions: deque[Transition] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS))
    ended: int | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it was out of sight on the newest frame."""
        return bool(self.transitions) and self.transitions[-1][1] == "lost"

    def to_json(self) -> dict[str, object]:
        """A plain dict that `json` writes."""
        return {
            "id": self.id,
            "first": self.first,
            "last": self.last,
            "visible": self.visible,
            "transitions": [list(transition) for transition in self.transitions],
            "ended": self.ended,
        }


class TrackRecords:
    """The records of all objects by id, updated frame by frame."""

    def __init__(self) -> None:
        self.by_id: dict[int, TrackRecord] = {}
        self._monitor = VisibilityMonitor()
        self._ended: deque[int] = deque()

    def step(self, masks: Masks, visible: Sequence[bool]) -> None:
        """Take the next frame, and which of its objects have a mask there."""
        for id, is_visible in zip(masks.ids, visible, strict=True):
            if is_visible:
                record = self.by_id.setdefault(id, TrackRecord(id, masks.frame))
                record.last, record.visible = masks.frame, record.visible + 1
        for event in self._monitor.step(masks):
            if event.id in self.by_id and event.kind in ("lost", "found"):
                self.by_id[event.id].transitions.append((event.since, event.kind))

    def end(self, frame: int, *ids: int) -> None:
        """Note that objects were dropped on a frame. One that never had a mask has no record."""
        self._monitor.forget(*ids)
        for id in ids:
            if id in self.by_id:
                self.by_id[id].ended = frame
                self._ended.append(id)
        while len(self._ended) > MAX_RECORDS:
            self.by_id.pop(self._ended.popleft())
