"""The plan of a propagation: its legs, and the remaining frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from masklet.sessions.object_state import ObjectState, Span, cut_spans
from masklet.studio.schemas import Direction


@dataclass
class Leg:
    """Frames that are to be tracked in one direction.

    Attributes:
        frame: The next one.
        stop: The frame after the last.
        objects: Their ids; None for all that there are.
        batch: Of the events that it makes; they are undone together.
        reverse: Whether they are tracked backwards.
    """

    frame: int
    stop: int
    objects: list[int] | None
    batch: str
    reverse: bool = field(kw_only=True)

    @property
    def left(self) -> int:
        """Frames that are not yet tracked."""
        return max(0, self.frame - self.stop if self.reverse else self.stop - self.frame)

    def covers(self, other: Leg) -> bool:
        """Whether it will track all frames of another leg, in the same direction."""
        if self.reverse != other.reverse:
            return False
        sign = -1 if self.reverse else 1
        return self.frame * sign <= other.frame * sign and self.stop * sign >= other.stop * sign

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class PropagationPlan:
    """A propagation, or the rest of it.

    Attributes:
        legs: Successive legs, of which the first is being tracked.
        later: Remaining legs of earlier propagations, for resuming.
        total: Frames, with those that were tracked already.
    """

    person: str
    direction: Direction
    total: int
    legs: list[Leg]
    later: list[Leg]

    @classmethod
    def of(cls, person: str, direction: Direction, legs: Sequence[Leg]) -> PropagationPlan:
        return cls(person, direction, sum(leg.left for leg in legs), list(legs), [])

    @property
    def leg(self) -> Leg:
        return self.legs[0]

    @property
    def left(self) -> int:
        """Frames that are not yet tracked."""
        return sum(leg.left for leg in self.legs)

    @property
    def done(self) -> int:
        return self.total - self.left

    def beside(self, earlier: PropagationPlan | None, all_objects: Collection[int]) -> PropagationPlan:
        """The plan, with the uncovered rest of an earlier plan kept for later."""
        legs = [] if earlier is None else [*earlier.legs, *earlier.later]
        return replace(self, later=[left for leg in legs for left in self._uncovered(leg, all_objects)])

    def _uncovered(self, leg: Leg, all_objects: Collection[int]) -> Iterable[Leg]:
        ids = set(all_objects if leg.objects is None else leg.objects)
        for own in self.legs:
            if own.covers(leg):
                ids -= ids if own.objects is None else set(own.objects)
        if leg.left and ids:
            are_all = leg.objects is None and len(ids) == len(all_objects)
            yield replace(leg, objects=None if are_all else sorted(ids))

    def to_json(self) -> dict[str, Any] | None:
        """The rest, as plain JSON; None if nothing is left."""
        legs = [leg for leg in (*self.legs, *self.later) if leg.left]
        if not legs:
            return None
        later = sum(leg.left for leg in self.later)
        total = self.total + later if self.left else later
        return {
            "legs": [leg.to_json() for leg in legs],
            "direction": self.direction,
            "total": total,
        }

    @classmethod
    def from_json(cls, plan: dict[str, Any], person: str, batches: Collection[str]) -> PropagationPlan | None:
        """The rest of a plan, without legs whose batches were undone; None if nothing is left."""
        legs = [Leg(**leg) for leg in (plan["legs"] if "legs" in plan else _older(plan))]
        legs = [leg for leg in legs if leg.batch in batches and leg.left]
        return cls(person, plan["direction"], plan["total"], legs, []) if legs else None


def _older(plan: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The legs of a plan in the nested form of studios before version 2."""
    legs: list[dict[str, Any]] = []
    while plan is not None:
        legs.append({name: plan[name] for name in ("frame", "stop", "reverse", "objects", "batch")})
        plan = plan["then"]
    return legs


def missing_legs(
    objects: Iterable[ObjectState],
    masks: Mapping[int, Sequence[Span]],
    span: Span,
    direction: Direction,
    batch: str,
) -> list[Leg]:
    """Legs through those frames of a span on which objects have no mask yet.

    Forward after an object's first prompt, backward before its last; in both directions, each frame once.

    Args:
        objects: Objects with prompts.
        masks: Frames with masks by object: tracking knows nothing of those that edits gave to another object.
        span: The first frame, and the frame after the last.
        direction: forward, backward or both.
        batch: Of the events that the legs make.
    """
    ids: dict[tuple[Span, bool], list[int]] = {}
    for obj in objects:
        first, last = min(obj.prompts), max(obj.prompts)
        passes = [((first, span[1]), False)] if direction != "backward" else [((span[0], last + 1), True)]
        if direction == "both":
            passes.append(((span[0], first), True))
        for (start, stop), reverse in passes:
            gaps: tuple[Span, ...] = ((max(start, span[0]), min(stop, span[1])),)
            for answered in (*obj.answered, *masks.get(obj.id, ())):
                gaps = cut_spans(gaps, answered)
            for gap in gaps:
                if gap[0] < gap[1]:
                    ids.setdefault((gap, reverse), []).append(obj.id)
    legs = [
        Leg(stop - 1, start - 1, some, batch, reverse=True)
        if reverse
        else Leg(start, stop, some, batch, reverse=False)
        for ((start, stop), reverse), some in sorted(ids.items())
    ]
    return legs
