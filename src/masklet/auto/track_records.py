"""What becomes of each object of a video: born, seen, lost, found, ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from masklet.sessions.visibility import VisibilityMonitor
from masklet.types import Masks

REMEMBERED = 1000  # turns of one life, and lives that have ended: so that a stream's record does not grow

Turn = tuple[int, Literal["lost", "found"]]


@dataclass
class Life:
    """One object's.

    born : the first frame with a mask of it
    last : the last frame with one
    seen : frames with one
    turns : (frame, "lost" or "found"), in order; the newest thousand
    ended : the frame on which it was given up; None where it was followed to the end
    """

    id: int
    born: int
    last: int = -1
    seen: int = 0
    turns: deque[Turn] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    ended: int | None = None

    @property
    def lost(self) -> bool:
        """Whether it was out of sight when last looked for."""
        return bool(self.turns) and self.turns[-1][1] == "lost"

    def to_json(self) -> dict[str, object]:
        turns = [list(turn) for turn in self.turns]
        said = {"id": self.id, "born": self.born, "last": self.last, "seen": self.seen, "turns": turns}
        return {**said, "ended": self.ended}


class Lives:
    """The lives of all objects by id, written as frames go by."""

    def __init__(self) -> None:
        self.all: dict[int, Life] = {}
        self._watch = VisibilityMonitor()
        self._ended: deque[int] = deque()

    def step(self, masks: Masks, seen: Sequence[bool]) -> None:
        """Take the next frame, and which of its objects have a mask there."""
        for id, there in zip(masks.ids, seen, strict=True):
            if there:
                life = self.all.setdefault(id, Life(id, masks.frame))
                life.last, life.seen = masks.frame, life.seen + 1
        for event in self._watch.step(masks):
            if event.id in self.all and event.kind in ("lost", "found"):
                self.all[event.id].turns.append((event.since, event.kind))

    def end(self, frame: int, *ids: int) -> None:
        """These are given up on a frame. One that was never seen has had no life."""
        self._watch.forget(*ids)
        for id in ids:
            if id in self.all:
                self.all[id].ended = frame
                self._ended.append(id)
        while len(self._ended) > REMEMBERED:
            self.all.pop(self._ended.popleft())
