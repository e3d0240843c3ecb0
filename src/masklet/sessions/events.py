"""The events of a session, in order. Its masks can be computed from them again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from masklet.errors import PromptError
from masklet.prompts import check_frame, check_id, check_ids
from masklet.types import Prompt


@dataclass(frozen=True)
class Prompted:
    """A prompt was added. On a frame with a prompt, clicks are added to it, and a mask replaces it."""

    frame: int
    id: int
    prompt: Prompt


@dataclass(frozen=True)
class Cleared:
    """An object's prompts on a frame were removed."""

    frame: int
    id: int


@dataclass(frozen=True)
class Removed:
    """An object was removed."""

    id: int


@dataclass(frozen=True)
class Propagated:
    """Objects were tracked from start to just before stop, as `range` counts.

    Attributes:
        objects: Their ids. None stands for all objects that the session had.
    """

    start: int
    stop: int
    reverse: bool
    objects: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Reviewed:
    """Frames from start to just before stop were marked as reviewed, or the mark was removed."""

    start: int
    stop: int
    reviewed: bool = True


SessionEvent = Prompted | Cleared | Removed | Propagated | Reviewed
KINDS: dict[str, type[SessionEvent]] = {  # by their names in files
    "prompt": Prompted,
    "clear": Cleared,
    "remove": Removed,
    "follow": Propagated,
    "review": Reviewed,
}
NAMES = {kind: name for name, kind in KINDS.items()}


class Script(Mapping[int, Mapping[int, Prompt]]):
    """The events of a session. As a mapping: frame -> object id -> the combined prompt.

    Args:
        events: The events, in order.

    Example:
        >>> first, second = Prompt(positive=[(5, 5)]), Prompt(negative=[(9, 9)])
        >>> script = Script([Prompted(0, 1, first), Prompted(0, 1, second)])
        >>> script[0][1]
        Prompt(positive=((5.0, 5.0),), negative=((9.0, 9.0),))
        >>> Script.from_json(script.to_json()) == script
        True
    """

    def __init__(self, events: Iterable[SessionEvent] = ()) -> None:
        self.events: list[SessionEvent] = list(events)

    def __getitem__(self, frame: int) -> Mapping[int, Prompt]:
        return self._prompts()[frame]

    def __iter__(self) -> Iterator[int]:
        return iter(self._prompts())

    def __len__(self) -> int:
        return len(self._prompts())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Script) and self.events == other.events

    def __repr__(self) -> str:
        return f"Script({self.events!r})"

    def to_json(self) -> list[dict[str, Any]]:
        """Return a plain dict for each event."""
        return [event_to_json(event) for event in self.events]

    @classmethod
    def from_json(cls, events: Iterable[Mapping[str, Any]]) -> Script:
        """Create a script from dicts, as `to_json` returns them.

        Args:
            events: One dict for each event.

        Raises:
            PromptError: It is not a list, or an event in it has a wrong form.
        """
        if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
            raise PromptError(f"a script must be a list of events. Got {type(events).__name__}.")
        return cls(event_from_json(event) for event in events)

    @classmethod
    def check(cls, script: object) -> Script:
        """Check that a value is a script, and return it.

        Args:
            script: The value to check.

        Raises:
            PromptError: It is something else, for example the path of a saved session.
        """
        if not isinstance(script, cls):
            raise PromptError(
                f"a script must be a Script, such as another session's. Got {type(script).__name__}: open a "
                "saved session with VideoSession.restore(model, path)."
            )
        return script

    def _prompts(self) -> dict[int, dict[int, Prompt]]:
        by_object: dict[int, Mapping[int, Prompt]] = {}
        for event in self.events:
            if isinstance(event, Prompted | Cleared | Removed):
                by_object[event.id] = prompts_after(by_object.get(event.id, {}), event)
        return by_frame(by_object)


def prompts_after(prompts: Mapping[int, Prompt], event: Prompted | Cleared | Removed) -> Mapping[int, Prompt]:
    """An object's prompts by frame, after an event of the object."""
    match event:
        case Prompted(frame, _, prompt):
            adds_up = frame in prompts and prompt.mask is None
            return {**prompts, frame: prompts[frame] | prompt if adds_up else prompt}
        case Cleared(frame):
            return {at: prompt for at, prompt in prompts.items() if at != frame}
    return {}


def by_frame(by_object: Mapping[int, Mapping[int, Prompt]]) -> dict[int, dict[int, Prompt]]:
    """Frame -> object id -> prompt, from object id -> frame -> prompt."""
    frames: dict[int, dict[int, Prompt]] = {}
    for id, prompts in by_object.items():
        for frame, prompt in prompts.items():
            frames.setdefault(frame, {})[id] = prompt
    return frames


def event_to_json(event: SessionEvent) -> dict[str, Any]:
    """A plain dict: the event's name as `do`, and its fields, without those that are None."""
    values = {name: value for name, value in vars(event).items() if value is not None}
    plain = {name: value.to_json() if isinstance(value, Prompt) else value for name, value in values.items()}
    return {"do": NAMES[type(event)], **plain}


def event_from_json(event: Mapping[str, Any]) -> SessionEvent:
    """The event from a plain dict, as `event_to_json` makes it.

    Raises:
        PromptError: It is not such a dict, or a frame, id or prompt in it has another form.
    """
    do = event.get("do") if isinstance(event, Mapping) else None
    kind = KINDS.get(do) if isinstance(do, str) else None
    values = {name: value for name, value in event.items() if name != "do"} if kind else {}
    if kind is Propagated:
        values.setdefault("objects", None)
    if kind is None or set(values) != {field.name for field in fields(kind)}:
        raise PromptError(
            f"an event of a script must be one of {', '.join(KINDS)}, with its fields. Got {event!r}."
        )
    return kind(**{name: _CHECKS[name](value) for name, value in values.items()})


def _check_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise PromptError(f"reverse and reviewed must be true or false. Got {value!r}.")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "frame": check_frame,
    "start": check_frame,
    "stop": check_frame,
    "id": check_id,
    "prompt": Prompt.from_json,
    "reverse": _check_flag,
    "reviewed": _check_flag,
    "objects": lambda ids: None if ids is None else check_ids(ids),
}
