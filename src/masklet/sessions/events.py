"""What a person did in a session, in order. Masks, memories and features can be made from it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from masklet.errors import PromptError
from masklet.types import Prompt


@dataclass(frozen=True)
class Prompted:
    """A prompt was given; on a frame that has one, clicks add up and a mask starts anew."""

    frame: int
    id: int
    prompt: Prompt


@dataclass(frozen=True)
class Cleared:
    """An object's prompts on a frame were taken back."""

    frame: int
    id: int


@dataclass(frozen=True)
class Removed:
    """An object was given up."""

    id: int


@dataclass(frozen=True)
class Followed:
    """Objects were followed from start to just before stop, as `range` counts.

    objects : the ids of those that were; None stands for all that there were
    """

    start: int
    stop: int
    reverse: bool
    objects: tuple[int, ...] | None = None


Step = Prompted | Cleared | Removed | Followed
KINDS: dict[str, type[Step]] = {"prompt": Prompted, "clear": Cleared, "remove": Removed, "follow": Followed}


class Script(Mapping[int, Mapping[int, Prompt]]):
    """The steps of a session; read as a mapping, frame -> object id -> all that was said of it there.

    >>> first, second = Prompt(positive=[(5, 5)]), Prompt(negative=[(9, 9)])
    >>> script = Script([Prompted(0, 1, first), Prompted(0, 1, second)])
    >>> script[0][1]
    Prompt(positive=((5.0, 5.0),), negative=((9.0, 9.0),))
    >>> Script.from_json(script.to_json()) == script
    True
    """

    def __init__(self, steps: list[Step] | None = None) -> None:
        self.steps: list[Step] = list(steps or ())

    def __getitem__(self, frame: int) -> Mapping[int, Prompt]:
        return self._prompts()[frame]

    def __iter__(self) -> Iterator[int]:
        return iter(self._prompts())

    def __len__(self) -> int:
        return len(self._prompts())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Script) and self.steps == other.steps

    def said(self, frame: int, id: int, prompt: Prompt) -> Prompt:
        """A prompt together with what was said before it of the same object on the same frame."""
        before = self.get(frame, {}).get(id)
        return prompt if before is None or prompt.mask is not None else before | prompt

    def leading_to(
        self, frame: int, *, reverse: bool, objects: tuple[int, ...] | None = None
    ) -> Followed | None:
        """The last step, where it followed the same objects to just before this frame."""
        match self.steps[-1:]:
            case [Followed() as last] if (last.stop, last.reverse, last.objects) == (frame, reverse, objects):
                return last
        return None

    def followed(self, frame: int, *, reverse: bool, objects: tuple[int, ...] | None = None) -> None:
        """Note that objects were followed through one more frame."""
        stop = frame - 1 if reverse else frame + 1
        last = self.leading_to(frame, reverse=reverse, objects=objects)
        if last is None:
            self.steps.append(Followed(frame, stop, reverse, objects))
        else:
            self.steps[-1] = replace(last, stop=stop)

    def whereabouts(self, id: int) -> str:
        """A sentence on where something is said of an object."""
        frames = [str(frame) for frame, said in self.items() if id in said]
        return f"It has some on frames {', '.join(frames)}." if frames else "Nothing was said of it."

    def to_json(self) -> list[dict[str, Any]]:
        """One plain dict for each step."""
        names = {kind: name for name, kind in KINDS.items()}
        return [{"do": names[type(step)], **_plain(step)} for step in self.steps]

    @classmethod
    def from_json(cls, steps: list[dict[str, Any]]) -> Script:
        return cls([_step(step) for step in steps])

    def _prompts(self) -> dict[int, dict[int, Prompt]]:
        said: dict[int, dict[int, Prompt]] = {}
        for step in self.steps:
            match step:
                case Prompted(frame, id, prompt):
                    here = said.setdefault(frame, {})
                    new = id not in here or prompt.mask is not None
                    here[id] = prompt if new else here[id] | prompt
                case Cleared(frame, id):
                    said.get(frame, {}).pop(id, None)
                case Removed(id):
                    for here in said.values():
                        here.pop(id, None)
        return {frame: here for frame, here in said.items() if here}


def _plain(step: Step) -> dict[str, Any]:
    said = {name: value for name, value in vars(step).items() if value is not None}
    return {name: value.to_json() if isinstance(value, Prompt) else value for name, value in said.items()}


def _step(said: Mapping[str, Any]) -> Step:
    kind = KINDS.get(said.get("do", ""))
    values = {name: value for name, value in said.items() if name != "do"}
    if kind is Followed:
        objects = values.get("objects")
        values["objects"] = None if objects is None else tuple(objects)
    if kind is None or set(values) != {field.name for field in fields(kind)}:
        raise PromptError(
            f"a script's step is one of {', '.join(KINDS)}, with its fields. Got {dict(said)!r}."
        )
    if "prompt" in values:
        values["prompt"] = Prompt.from_json(values["prompt"])
    return kind(**values)
