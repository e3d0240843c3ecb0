"""What the steps of a video come to: objects, marks, and what the model knew of an object when.

Pure functions over steps; no database, no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from masklet import rle
from masklet.media import color
from masklet.sessions.events import KINDS, Cleared, Followed, Prompted, Removed, Script
from masklet.sessions.events import Step as ScriptStep

Span = tuple[int, int]  # start, and stop just behind the end
PIXEL = rle.encode(np.ones((1, 1), dtype=bool))


@dataclass(frozen=True)
class Noted:
    """A step as it stands in the database.

    said : its fields, as plain JSON
    """

    number: int
    do: str
    said: dict[str, Any]
    title: str
    batch: str
    person: str
    at: datetime

    @property
    def script(self) -> ScriptStep | None:
        """The session's own step; None for what only the studio knows."""
        return _script_step(self.do, self.said)

    @cached_property
    def outline(self) -> ScriptStep | None:
        """The same with a pixel in place of a drawn mask: hundreds of masks would take much room and time."""
        prompt = self.said.get("prompt", {})
        if "mask" not in prompt:
            return self.script
        return _script_step(self.do, {**self.said, "prompt": {**prompt, "mask": PIXEL}})


@dataclass(frozen=True)
class Thing:
    """An object as people see it."""

    id: int
    name: str
    color: str  # #rrggbb
    hidden: bool = False


def script_of(steps: Iterable[Noted]) -> Script:
    return Script([made for step in steps if (made := step.script) is not None])


def outline_of(steps: Iterable[Noted], frame: int | None = None) -> Script:
    """The script with a pixel in place of drawn masks, but for those on one frame."""
    made = (step.script if step.said.get("frame") == frame else step.outline for step in steps)
    return Script([step for step in made if step is not None])


def _script_step(do: str, said: dict[str, Any]) -> ScriptStep | None:
    return Script.from_json([{"do": do, **said}]).steps[0] if do in KINDS else None


def things_of(steps: Iterable[Noted]) -> dict[int, Thing]:
    """Objects by id, in the order in which they came; a prompt makes one that was not made before."""
    things: dict[int, Thing] = {}
    for step in steps:
        id = step.said.get("id")
        if id is None:
            continue
        if step.do == "remove" or step.said.get("gone"):
            things.pop(id, None)
            continue
        thing = things.get(id) or Thing(id, f"object {id}", first_color(id))
        changes = {name: step.said[name] for name in ("name", "color", "hidden") if name in step.said}
        things[id] = replace(thing, **changes) if step.do == "object" else thing
    return things


def first_color(id: int) -> str:
    red, green, blue = color(id)
    return f"#{red:02x}{green:02x}{blue:02x}"


def reviewed_of(steps: Iterable[Noted]) -> list[Span]:
    """The frames that somebody marked as reviewed."""
    spans: list[Span] = []
    for step in steps:
        if step.do == "review":
            start, stop = step.said["start"], step.said["stop"]
            spans = [piece for span in spans for piece in _outside(span, (start, stop))]
            spans = joined([*spans, (start, stop)] if step.said["reviewed"] else spans)
    return spans


def _outside(span: Span, cut: Span) -> list[Span]:
    pieces = [(span[0], min(span[1], cut[0])), (max(span[0], cut[1]), span[1])]
    return [(start, stop) for start, stop in pieces if start < stop]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same frames in as few spans as there can be.

    >>> joined([(4, 6), (0, 2), (2, 3)])
    [(0, 3), (4, 6)]
    """
    whole: list[Span] = []
    for start, stop in sorted(spans):
        if whole and start <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(whole[-1][1], stop)
        else:
            whole.append((start, stop))
    return whole


@dataclass
class Past:
    """What became of one object, as `VideoSession` would tell it.

    begun : the step that made it; what is older is of another object with the same number
    settled : the last step that followed it; 0 before
    prompted : frames on which something stands said of it
    order : prompted frames in its memory bank, in the order in which they came there
    pending : those that come there when it is next followed
    cleared : frames taken back since it was last followed
    """

    begun: int = 0
    settled: int = 0
    prompted: set[int] = field(default_factory=set)
    order: dict[int, None] = field(default_factory=dict)
    pending: dict[int, None] = field(default_factory=dict)
    cleared: set[int] = field(default_factory=set)
    follows: list[tuple[Followed, frozenset[int]]] = field(default_factory=list)
    forgotten: dict[int, int] = field(default_factory=dict)

    def passed(self, frame: int) -> bool | None:
        """Whether the object was last followed through a frame backwards; None where it was not followed."""
        for number in range(len(self.follows) - 1, self.forgotten.get(frame, 0) - 1, -1):
            followed, prompted = self.follows[number]
            way = range(followed.start, followed.stop, -1 if followed.reverse else 1)
            if frame in way and any(at >= frame if followed.reverse else at <= frame for at in prompted):
                return followed.reverse
        return None

    def stands(self, frame: int, *, reverse: bool) -> bool:
        """Whether the object was last followed to just this frame, and nothing was said of it since."""
        if not self.follows or self.changed:
            return False
        followed, _ = self.follows[-1]
        return (followed.stop, followed.reverse) == (frame - 1 if reverse else frame + 1, reverse)

    @property
    def changed(self) -> set[int]:
        """Frames on which something was said or taken back since it was last followed."""
        return set(self.pending) | self.cleared


def past_of(steps: Sequence[Noted], id: int) -> Past | None:
    """What became of an object; None where nothing is said of it."""
    past = Past()
    for step in steps:
        match step.outline:
            case Prompted(frame, of) if of == id:
                past.begun = past.begun or step.number
                past.prompted.add(frame)
                past.pending[frame] = None
            case Cleared(frame, of) if of == id:
                past.prompted.discard(frame)
                past.pending.pop(frame, None)
                past.order.pop(frame, None)
                past.cleared.add(frame)
                past.forgotten[frame] = len(past.follows)
                past = past if past.prompted else Past()
            case Removed(of) if of == id:
                past = Past()
            case Followed(objects=objects) as followed if past.begun and (objects is None or id in objects):
                past.settled = step.number
                past.follows.append((followed, frozenset(past.prompted)))
                past.order = {**{at: None for at in past.order if at not in past.pending}, **past.pending}
                past.pending, past.cleared = {}, set()
    return past if past.begun else None
