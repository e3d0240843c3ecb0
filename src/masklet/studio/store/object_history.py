"""The history of a video in the database, and its objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from masklet import rle
from masklet.media import color
from masklet.sessions.events import KINDS, Script, SessionEvent, event_from_json, prompts_after
from masklet.sessions.object_state import History
from masklet.types import Prompt

CANDIDATE = "candidate"  # the field of a step that only the studio knows
ATTRIBUTE = "attribute "  # before the names of attributes among an object's fields
FIELD_NAMES = {"name": "the name", "color": "the colour", "label": "the class", "hidden": "hidden"}
PIXEL = rle.encode(np.ones((1, 1), dtype=bool))


@dataclass(frozen=True)
class EventRecord:
    """Something that a person did: a session's event, or a change of names and colours.

    Attributes:
        fields: The event's fields, as plain JSON.
    """

    number: int
    do: str
    fields: dict[str, Any]
    title: str
    batch: str
    person: str
    at: datetime

    @property
    def event(self) -> SessionEvent | None:
        """The session's event; None for changes that only the studio stores."""
        fields = {name: value for name, value in self.fields.items() if name != CANDIDATE}
        return event_from_json({"do": self.do, **fields}) if self.do in KINDS else None

    @property
    def candidate(self) -> dict[str, Any] | None:
        """The click whose selected candidate is the event's mask, if it is one, and its quality."""
        candidate: dict[str, Any] | None = self.fields.get(CANDIDATE)
        return candidate

    @cached_property
    def outline(self) -> SessionEvent | None:
        """The same with a pixel in place of a drawn mask: hundreds of masks would take much room and time."""
        prompt = self.fields.get("prompt", {})
        if "mask" not in prompt:
            return self.event
        return replace(self, fields={**self.fields, "prompt": {**prompt, "mask": PIXEL}}).event


@dataclass(frozen=True)
class ObjectView:
    """An object with its name, colour and attributes."""

    id: int
    name: str
    color: str  # #rrggbb
    hidden: bool = False
    label: str | None = None  # its class
    attributes: Mapping[str, str] = field(default_factory=dict)


def script_of(records: Iterable[EventRecord]) -> Script:
    return Script(event for record in records if (event := record.event) is not None)


def history_of(records: Iterable[EventRecord]) -> History:
    """The states that the events lead to; drawn masks in them are a pixel."""
    history = History()
    for record in records:
        history = history if record.outline is None else history.after(record.outline, record.number)
    return history


def find_prompt(records: Iterable[EventRecord], frame: int, id: int) -> Prompt | None:
    """The prompt of an object on a frame, with drawn masks; None if there is none.

    Args:
        records: Of the video, in order.
        frame: The frame.
        id: The object.
    """
    prompts: dict[int, Prompt] = {}
    for record in records:
        if record.fields.get("id") != id or record.fields.get("frame", frame) != frame:
            continue
        event = record.event if record.do in ("prompt", "clear", "remove") else None
        if event is not None:
            prompts = dict(prompts_after(prompts, event))  # type: ignore[arg-type]
    return prompts.get(frame)


def chosen_candidates(records: Iterable[EventRecord]) -> dict[tuple[int, int], dict[str, Any]]:
    """The clicks whose candidates were chosen, by frame and object, as far as their masks are still there."""
    chosen: dict[tuple[int, int], dict[str, Any]] = {}
    for record in records:
        id, frame = record.fields.get("id"), record.fields.get("frame")
        if record.do == "remove":
            chosen = {key: candidate for key, candidate in chosen.items() if key[1] != id}
        if id is None or frame is None:
            continue
        if record.candidate is not None:
            chosen[frame, id] = record.candidate
        elif record.do == "clear" or "mask" in record.fields.get("prompt", {}):
            chosen.pop((frame, id), None)
    return chosen


def objects_of(records: Iterable[EventRecord]) -> dict[int, ObjectView]:
    """Objects by id, in the order in which they came; a prompt makes one that was not made before."""
    objects: dict[int, ObjectView] = {}
    for record in records:
        id = record.fields.get("id")
        if id is None:
            continue
        if record.do == "remove" or record.fields.get("gone"):
            objects.pop(id, None)
            continue
        obj = objects.get(id) or ObjectView(id, f"object {id}", first_color(id))
        names = ("name", "color", "hidden", "label", "attributes")
        changes = {name: record.fields[name] for name in names if name in record.fields}
        objects[id] = replace(obj, **changes) if record.do == "object" else obj
    return objects


@dataclass(frozen=True)
class FieldChange:
    """A value that someone set for a field of an object.

    Attributes:
        field: name, color, label, hidden, or `ATTRIBUTE` and the name of an attribute.
        person: The id of who set it.
    """

    field: str
    value: object
    person: str

    def conflict(self, name: str, value: object) -> str:
        """A sentence about another value that replaces this one.

        Args:
            name: Of who set this one.
            value: The other value.
        """
        field = FIELD_NAMES.get(self.field, f"“{self.field.removeprefix(ATTRIBUTE)}”")
        return f"{name} set {field} to {_quote(self.value)} at the same time; now it is {_quote(value)}."


def flatten_fields(fields: Mapping[str, Any]) -> dict[str, object]:
    """An object's fields, with each attribute as a separate field.

    >>> flatten_fields({"id": 1, "name": "a", "attributes": {"mood": "good"}})
    {'name': 'a', 'attribute mood': 'good'}
    """
    plain = {name: fields[name] for name in FIELD_NAMES if name in fields}
    return plain | {ATTRIBUTE + name: value for name, value in fields.get("attributes", {}).items()}


def merge_attributes(attributes: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Attributes after a change of some of them; an empty value takes one away.

    >>> merge_attributes({"mood": "good", "note": "?"}, {"note": "", "pose": "sits"})
    {'mood': 'good', 'pose': 'sits'}
    """
    return {name: value for name, value in {**attributes, **changes}.items() if value}


def changes_since(records: Iterable[EventRecord], id: int, head: int) -> dict[str, FieldChange]:
    """The fields of an object that have another value than at an earlier head, and who set it.

    Args:
        records: Of the video, in order.
        id: The object.
        head: The earlier head.
    """
    records = list(records)
    before = objects_of(record for record in records if record.number <= head).get(id)
    if before is None:
        return {}
    old = flatten_fields(vars(before))
    values, changes = dict(old), {}
    for record in records:
        if record.number <= head or record.do != "object" or record.fields.get("id") != id:
            continue
        given = flatten_fields(record.fields)
        if "attributes" in record.fields:  # all that the object has then
            gone = {name for name in values if name.startswith(ATTRIBUTE)} - given.keys()
            given |= dict.fromkeys(gone, "")
        for name, value in given.items():
            if value != values.get(name, ""):
                values[name], changes[name] = value, FieldChange(name, value, record.person)
    return {name: change for name, change in changes.items() if change.value != old.get(name, "")}


def _quote(value: object) -> str:
    """A field's value as a sentence has it.

    >>> _quote("cat"), _quote(None), _quote(True)
    ('“cat”', 'nothing', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"“{value}”" if value else "nothing"


def first_color(id: int) -> str:
    red, green, blue = color(id)
    return f"#{red:02x}{green:02x}{blue:02x}"
