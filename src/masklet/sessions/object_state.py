"""The state of a session from its events: a pure reducer, (state, event) -> state, without model or database.

`VideoSession` and the studio run it over the same events. Masks and memories are not in the state. A
`MemoryStore` has them by object, frame and event, and the state determines which of them are valid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from masklet.sessions.events import (
    Cleared,
    Prompted,
    Propagated,
    Removed,
    Reviewed,
    Script,
    SessionEvent,
    by_frame,
    prompts_after,
)
from masklet.types import Prompt

Span = tuple[int, int]  # first frame, and the frame after the last


@dataclass(frozen=True)
class BankState:
    """Which memories an object's bank has: those of the event that last tracked it.

    Attributes:
        settled: That event; 0 before the first.
        conditioning: Prompted and reviewed frames, in the order in which they were added.
        cleared: Frames whose prompts were removed since, and whose memories are gone.
    """

    settled: int = 0
    conditioning: tuple[int, ...] = ()
    cleared: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ObjectState:
    """One object after an event.

    Attributes:
        begun: The event that created it. Older results belong to another object with the same id.
        prompts: Its prompts, by frame.
        bank: What is in its memory bank. States between which the bank does not change share it.
        pending: Frames with prompts that are added to the bank when the object is tracked next. As published,
            successive corrections do not attend to each other.
        forward: Frames through which it was last tracked forward, in order.
        backward: Frames through which it was last tracked backward, in order.
        reviewed: Frames whose masks were marked as reviewed, in order. They are kept.
        position: The frame to which it was last tracked, and whether backward. None if its policy must
            restart.
    """

    id: int
    begun: int
    prompts: Mapping[int, Prompt] = field(default_factory=dict)
    bank: BankState = field(default_factory=BankState)
    pending: tuple[int, ...] = ()
    forward: tuple[Span, ...] = ()
    backward: tuple[Span, ...] = ()
    reviewed: tuple[Span, ...] = ()
    position: tuple[int, bool] | None = None

    def direction(self, frame: int) -> bool | None:
        """Whether it was last tracked through a frame backward; None if it was not tracked.

        A prompt on a tracked frame is a correction, and uses the memory. A prompt elsewhere is answered
        as in an image.
        """
        directions = (self.forward, False), (self.backward, True)
        return next(
            (reverse for spans, reverse in directions for start, stop in spans if start <= frame < stop),
            None,
        )

    def has_answer(self, frame: int) -> bool:
        return frame in self.prompts or self.direction(frame) is not None

    @property
    def answered(self) -> tuple[Span, ...]:
        """The frames on which it has a mask."""
        prompted = [(frame, frame + 1) for frame in self.prompts]
        return join_spans([*self.forward, *self.backward, *prompted])

    def is_fixed(self, frame: int) -> bool:
        """Whether tracking keeps its mask on a frame, because the frame is prompted or reviewed."""
        return frame in self.prompts or any(start <= frame < stop for start, stop in self.reviewed)

    def is_reached(self, frame: int, *, reverse: bool) -> bool:
        """Whether it was prompted on this frame, or on an earlier one in the direction of tracking."""
        return frame <= max(self.prompts) if reverse else frame >= min(self.prompts)

    def continues(self, frame: int, *, reverse: bool) -> bool:
        """Whether its policy continues to a frame: it was tracked to the frame before, and is not prompted
        here."""
        before = frame + 1 if reverse else frame - 1
        return self.position == (before, reverse) and not self.is_fixed(frame)

    @property
    def changed(self) -> frozenset[int]:
        """Frames on which its prompts changed since it was last tracked."""
        return self.bank.cleared.union(self.pending)

    @property
    def is_settled(self) -> bool:
        """Whether tracking it would not change its conditioning frames."""
        return not self.pending and self._conditioning() == self.bank.conditioning

    def _conditioning(self) -> tuple[int, ...]:
        """The bank's conditioning frames when it is tracked next.

        Their order matters, since a full bank never drops the first: those of before, then new prompts in the
        order in which they were made, then the ends of reviewed spans.

        A reviewed span adds only its ends, so that a long span does not fill the memory; its other frames are
        memorized as tracked ones.
        """
        ends = {end for start, stop in self.reviewed for end in (start, stop - 1)} - self.prompts.keys()
        before = [at for at in self.bank.conditioning if at not in self.pending]
        stay = [at for at in before if at in self.prompts or at in ends]
        return (*stay, *self.pending, *sorted(ends.difference(stay)))


@dataclass(frozen=True)
class SessionState:
    """All objects after an event, in the order in which they were first prompted, and the reviewed frames."""

    objects: Mapping[int, ObjectState] = field(default_factory=dict)
    reviewed: tuple[Span, ...] = ()

    @property
    def prompts(self) -> dict[int, dict[int, Prompt]]:
        """Frame -> object id -> prompt, clicks added up."""
        return by_frame({id: obj.prompts for id, obj in self.objects.items()})

    @property
    def answered(self) -> tuple[Span, ...]:
        """The frames on which any object has a mask."""
        return join_spans(span for obj in self.objects.values() for span in obj.answered)

    def chosen(self, ids: Collection[int] | None) -> list[ObjectState]:
        """The objects with these ids, if they exist; None for all."""
        return [obj for id, obj in self.objects.items() if ids is None or id in ids]


@dataclass(frozen=True, eq=False)
class History:
    """A position in a session's events, and the state there.

    Each position refers to the one before it and shares with it everything unchanged. So undo only goes back,
    without a copy.
    """

    number: int = 0
    event: SessionEvent | None = field(default=None, repr=False)
    state: SessionState = field(default_factory=SessionState, repr=False)
    before: History | None = field(default=None, repr=False)

    def after(self, event: SessionEvent, number: int | None = None) -> History:
        """The position after one more event, by default numbered one higher."""
        number = self.number + 1 if number is None else number
        return History(number, event, apply_event(self.state, event, number), self)

    @property
    def script(self) -> Script:
        """The events up to here."""
        events: list[SessionEvent] = []
        here: History | None = self
        while here is not None and here.event is not None:
            events.append(here.event)
            here = here.before
        return Script(reversed(events))

    def track_to(self, frame: int, ids: tuple[int, ...] | None, *, reverse: bool) -> History:
        """The position after objects were tracked to a frame. An event that ends there is extended."""
        last, stop = self.event, frame - 1 if reverse else frame + 1
        if isinstance(last, Propagated) and (last.stop, last.reverse, last.objects) == (frame, reverse, ids):
            assert self.before is not None
            return self.before.after(replace(last, stop=stop), self.number)
        return self.after(Propagated(frame, stop, reverse, ids))


def apply_event(state: SessionState, event: SessionEvent, number: int) -> SessionState:
    """The state after an event. Unchanged parts are shared with the state before.

    Args:
        number: The event's number. Numbers grow, and may have gaps.
    """
    objects = state.objects
    match event:
        case Prompted(frame, id):
            obj = objects.get(id) or ObjectState(id, number)
            pending = obj.pending if frame in obj.pending else (*obj.pending, frame)
            prompts = prompts_after(obj.prompts, event)
            obj = replace(obj, prompts=prompts, pending=pending, position=None)
            return replace(state, objects={**objects, id: obj})
        case Cleared(frame, id) if id in objects:
            if objects[id].prompts.keys() <= {frame}:
                return replace(state, objects=_without(objects, id))
            return replace(state, objects={**objects, id: _clear(objects[id], event)})
        case Removed(id):
            return replace(state, objects=_without(objects, id))
        case Propagated(objects=ids):
            moved = {obj.id: _propagate(obj, event, number) for obj in state.chosen(ids)}
            return replace(state, objects={**objects, **moved})
        case Reviewed():
            marked = {id: _review(obj, event) for id, obj in objects.items()}
            return SessionState(marked, _marked(state.reviewed, event, [(event.start, event.stop)]))
    return state


def _clear(obj: ObjectState, event: Cleared) -> ObjectState:
    frame, bank = event.frame, obj.bank
    cleared = frame, frame + 1
    conditioning = tuple(at for at in bank.conditioning if at != frame)
    return replace(
        obj,
        prompts=prompts_after(obj.prompts, event),
        bank=BankState(bank.settled, conditioning, bank.cleared | {frame}),
        pending=tuple(at for at in obj.pending if at != frame),
        forward=cut_spans(obj.forward, cleared),
        backward=cut_spans(obj.backward, cleared),
        reviewed=cut_spans(obj.reviewed, cleared),
        position=None,
    )


def _propagate(obj: ObjectState, event: Propagated, number: int) -> ObjectState:
    settled = replace(obj, bank=BankState(number, obj._conditioning()), pending=())
    if event.reverse:
        start, stop = event.stop + 1, min(event.start, max(obj.prompts)) + 1
    else:
        start, stop = max(event.start, min(obj.prompts)), event.stop
    if start >= stop:
        return settled
    span = start, stop
    forward, backward = cut_spans(obj.forward, span), cut_spans(obj.backward, span)
    if event.reverse:
        backward, position = join_spans([*backward, span]), (start, True)
    else:
        forward, position = join_spans([*forward, span]), (stop - 1, False)
    return replace(settled, forward=forward, backward=backward, position=position)


def _review(obj: ObjectState, event: Reviewed) -> ObjectState:
    span = event.start, event.stop
    reviewed = _marked(obj.reviewed, event, clip_spans(obj.answered, span))
    return obj if reviewed == obj.reviewed else replace(obj, reviewed=reviewed)


def _marked(spans: tuple[Span, ...], event: Reviewed, new: Iterable[Span]) -> tuple[Span, ...]:
    if event.reviewed:
        return join_spans([*spans, *new])
    return cut_spans(spans, (event.start, event.stop))


def _without(objects: Mapping[int, ObjectState], id: int) -> dict[int, ObjectState]:
    return {other: obj for other, obj in objects.items() if other != id}


def join_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same frames in as few spans as possible, in order.

    >>> join_spans([(4, 6), (0, 2), (2, 3)])
    ((0, 3), (4, 6))
    """
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


def cut_spans(spans: Collection[Span], cut: Span) -> tuple[Span, ...]:
    """The frames of spans that are not in another span.

    >>> cut_spans([(0, 10)], (3, 5))
    ((0, 3), (5, 10))
    """
    parts = [
        part for start, stop in spans for part in ((start, min(stop, cut[0])), (max(start, cut[1]), stop))
    ]
    return tuple((start, stop) for start, stop in parts if start < stop)


def clip_spans(spans: Iterable[Span], window: Span) -> tuple[Span, ...]:
    """The frames of spans that are in another span.

    >>> clip_spans([(0, 4), (6, 8)], (2, 7))
    ((2, 4), (6, 7))
    """
    clipped = [(max(start, window[0]), min(stop, window[1])) for start, stop in spans]
    return tuple((start, stop) for start, stop in clipped if start < stop)
