"""A video's history: its steps, their authors, and the valid masks. All changes of a video are made here.

Changes and consistent reads hold the history's lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from threading import RLock
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from masklet.sessions.object_state import History, SessionState, Span, join_spans
from masklet.studio.errors import ApiError, not_found
from masklet.studio.store.database import Database, new_id
from masklet.studio.store.object_history import (
    EventRecord,
    FieldChange,
    ObjectView,
    changes_since,
    first_color,
    flatten_fields,
    history_of,
    merge_attributes,
    objects_of,
)
from masklet.studio.store.tables import Person, Project, Result, ResultParts, Step, Video, now


@dataclass(frozen=True)
class NewResult:
    """The row of the model's result for one object on one frame.

    Attributes:
        anchor: The policy wants to look at its memory when that is old.
    """

    object: int
    frame: int
    prompted: bool
    anchor: bool
    counts: str
    box: list[float] | None
    iou: float
    score: float
    confidence: float


@dataclass(frozen=True)
class State:
    """A video at its head.

    Attributes:
        records: The steps, oldest first.
        redo: The undone steps, which can be redone.
        history: The session's events among the records, and the state after each.
    """

    records: tuple[EventRecord, ...]
    redo: tuple[EventRecord, ...]
    history: History

    @classmethod
    def of(cls, records: tuple[EventRecord, ...], redo: tuple[EventRecord, ...]) -> State:
        return cls(records, redo, history_of(records))

    @property
    def head(self) -> int:
        return self.records[-1].number if self.records else 0

    @property
    def session(self) -> SessionState:
        """Prompts, tracked and reviewed frames."""
        return self.history.state

    @cached_property
    def objects(self) -> dict[int, ObjectView]:
        return objects_of(self.records)

    @property
    def next_id(self) -> int:
        """A number that no object has or had."""
        return max((record.fields.get("id", 0) for record in self.records), default=0) + 1

    @property
    def reviewed(self) -> list[Span]:
        return list(self.session.reviewed)

    def object(self, id: int) -> ObjectView:
        if id not in self.objects:
            ids = ", ".join(map(str, self.objects)) or "none"
            raise not_found(f"there is no object {id}. There are: {ids}.")
        return self.objects[id]

    def at(self, head: int) -> State:
        """The state after an earlier step, or after an undone one."""
        records = (*self.records, *self.redo)
        return State.of(tuple(record for record in records if record.number <= head), ())

    def added(self, record: EventRecord) -> State:
        """The state with one more record, and without steps to redo."""
        history, event = self.history, record.outline
        history = history if event is None else history.after(event, record.number)
        return State((*self.records, record), (), history)

    def extended(self, number: int, fields: dict[str, Any]) -> State:
        """The state with other fields for the last event of the session."""
        at = next(at for at in reversed(range(len(self.records))) if self.records[at].number == number)
        longer = replace(self.records[at], fields=fields)
        assert longer.outline is not None and self.history.before is not None
        records = (*self.records[:at], longer, *self.records[at + 1 :])
        return State(records, (), self.history.before.after(longer.outline, number))


class Change:
    """Steps and masks that are added together, in one transaction."""

    def __init__(self, database: Session, video: str, state: State, person: str) -> None:
        self.database = database
        self.state = state
        self.video = video
        self._person = person

    def add(self, do: str, fields: dict[str, Any], title: str, *, batch: str | None = None) -> EventRecord:
        """Add a record. Undone steps can no longer be redone.

        Args:
            do: Its kind, such as prompt.
            fields: Of its event.
            title: As people read it.
            batch: The batch of steps that are undone together; by default only this step.
        """
        number = self.state.head + 1
        if self.state.redo:
            self._forget_undone(number)
        record = EventRecord(number, do, fields, title[:200], batch or new_id(), self._person, now())
        self.database.add(Step(video=self.video, **_columns(record)))
        self.state = self.state.added(record)
        self._save_head()
        return record

    def add_object(self, id: int, fields: dict[str, Any], *, batch: str | None = None) -> EventRecord:
        """Add an object. Its class gives it a name and a colour, as far as `fields` does not.

        Args:
            id: Of the object.
            fields: label, name, color, hidden, attributes, as far as they are given.
            batch: Of the steps that are undone together.

        Raises:
            ApiError: The project has no such class.
        """
        defaults = {"name": f"object {id}", "color": first_color(id)}
        if fields.get("label"):
            chosen = self.find_class(fields["label"])
            defaults = {"name": self.free_name(chosen["name"]), "color": chosen["color"]}
        named = {"id": id, **defaults, **fields}
        return self.add("object", named, f"add {named['name']}", batch=batch)

    def change_object(
        self, id: int, fields: dict[str, Any], title: str, head: int | None
    ) -> tuple[EventRecord, list[FieldChange]]:
        """Change some fields of an object, and leave those alone that are not given.

        Args:
            id: Of the object.
            fields: label, name, color, hidden, and the attributes that change.
            title: As people read it.
            head: The head at which the person saw the object; None for the newest.

        Returns:
            The record, and the values of the same fields that others have set since that head.

        Raises:
            ApiError: There is no such object, or the project has no such class.
        """
        before = self.state.object(id)
        others = {} if head is None else changes_since(self.state.records, id, head)
        others = {field: change for field, change in others.items() if change.person != self._person}
        given = flatten_fields(fields)
        conflicts = [
            change for field, change in others.items() if change.value != given.get(field, change.value)
        ]
        if "attributes" in fields:
            fields = {**fields, "attributes": merge_attributes(before.attributes, fields["attributes"])}
        if fields.get("label"):
            of_class = self.set_class(before, str(fields["label"]))
            if "color" in others:  # somebody has just chosen one
                del of_class["color"]
            fields = {**of_class, **fields}
        return self.add("object", {"id": id, **fields}, title), conflicts

    def set_class(self, obj: ObjectView, name: str) -> dict[str, Any]:
        """Fields that make an object one of a class: its colour, and a name in place of one that was given
        by itself."""
        fields = {"label": name, "color": self.find_class(name)["color"]}
        words, _, number = obj.name.rpartition(" ")
        is_given = number.isdigit() and words in ("object", obj.label)
        return {**fields, "name": self.free_name(name)} if is_given and words != name else fields

    def free_name(self, name: str) -> str:
        """A name for an object of a class: the class's with the first number that no object has."""
        names = {obj.name for obj in self.state.objects.values()}
        return next(f"{name} {number}" for number in count(1) if f"{name} {number}" not in names)

    def find_class(self, name: str) -> dict[str, Any]:
        """A class of the video's project, as the project's row holds it.

        Raises:
            ApiError: The project has no such class.
        """
        project = self.database.get_one(Project, self.database.get_one(Video, self.video).project)
        classes = project.classes or []
        chosen = next((entry for entry in classes if entry["name"] == name), None)
        if chosen is None:
            names = ", ".join(entry["name"] for entry in classes) or "none"
            raise ApiError(422, "invalid", f"the project has no class {name}. It has: {names}.")
        return chosen

    def extend(self, number: int, fields: dict[str, Any]) -> None:
        """Replace the fields of the session's last event. Undone steps can no longer be redone."""
        if self.state.redo:
            self._forget_undone(self.state.head + 1)
        which = Step.video == self.video, Step.number == number
        self.database.execute(update(Step).where(*which).values(fields=fields))
        self.state = self.state.extended(number, fields)

    def put(self, number: int, row: NewResult, tensors: bytes) -> int:
        """Replace the result of an object on a frame.

        Args:
            number: The step from which on the new one holds.
            row: The new result.
            tensors: The tensors that tracking needs.

        Returns:
            The id of the new result.
        """
        self.end(number, Result.object == row.object, Result.frame == row.frame)
        result = Result(video=self.video, since=number, **vars(row))
        self.database.add(result)
        self.database.flush()
        self.database.add(ResultParts(result=result.id, parts=tensors))
        return result.id

    def end(self, number: int, *which: ColumnElement[bool]) -> None:
        """End results: from a step on they hold no longer."""
        ended = (Result.video == self.video, Result.until.is_(None), *which)
        self.database.execute(delete(Result).where(*ended, Result.since >= number))
        self.database.execute(update(Result).where(*ended).values(until=number))

    def leave_unfinished(self, propagation: dict[str, Any] | None) -> None:
        self.database.execute(update(Video).where(Video.id == self.video).values(unfinished=propagation))

    def move(self, state: State) -> None:
        """Undo or redo: only the head moves."""
        self.state = state
        self._save_head()

    def _forget_undone(self, number: int) -> None:
        of_video = Result.video == self.video
        self.database.execute(delete(Step).where(Step.video == self.video, Step.number >= number))
        self.database.execute(delete(Result).where(of_video, Result.since >= number))
        self.database.execute(update(Result).where(of_video, Result.until >= number).values(until=None))

    def _save_head(self) -> None:
        self.database.execute(update(Video).where(Video.id == self.video).values(head=self.state.head))


class VideoHistory:
    """The history of one video. Its state is cached in memory, and equals that of the database."""

    def __init__(self, database: Database, video: str) -> None:
        self.video = video
        self.lock = RLock()
        self._database = database
        with database.begin() as session:
            row = session.get(Video, video)
            if row is None:
                raise not_found(f"there is no video {video}.")
            steps = session.scalars(select(Step).where(Step.video == video).order_by(Step.number)).all()
        records = [record_of(step) for step in steps]
        self.state = State.of(
            tuple(record for record in records if record.number <= row.head),
            tuple(record for record in records if record.number > row.head),
        )

    @contextmanager
    def change(self, person: str) -> Iterator[Change]:
        """Change the video in one transaction.

        Args:
            person: The id of who changes it.

        Raises:
            ApiError: The video has been deleted.
        """
        with self.lock:
            try:
                with self._database.begin() as session:
                    change = Change(session, self.video, self.state, person)
                    yield change
            except Exception:
                self._check_exists()  # the rows of a deleted video disappear while others still use it
                raise
            self.state = change.state

    def _check_exists(self) -> None:
        with self._database.begin() as session:
            if session.get(Video, self.video) is None:
                raise not_found(f"the video {self.video} has been deleted.")

    @contextmanager
    def read(self) -> Iterator[tuple[Session, State]]:
        """The database, and the state that goes with it."""
        state = self.state  # results name the heads at which they hold, so a newer one does no harm
        with self._database.begin() as session:
            yield session, state

    def undo(self, person: str) -> EventRecord:
        """Go back to before the last step, and those that belong to it.

        Returns:
            The last step.

        Raises:
            ApiError: There is nothing to undo.
        """
        with self.change(person) as change:
            steps, redo = change.state.records, change.state.redo
            if not steps:
                raise ApiError(409, "nothing", "there is nothing to undo.")
            last = steps[-1]
            first = len(steps)
            while first and steps[first - 1].batch == last.batch:
                first -= 1
            change.move(State.of(steps[:first], (*steps[first:], *redo)))
        return last

    def redo(self, person: str) -> EventRecord:
        """Redo the step that was undone last.

        Returns:
            The first step that was undone.

        Raises:
            ApiError: There is nothing to redo.
        """
        with self.change(person) as change:
            steps, redo = change.state.records, change.state.redo
            if not redo:
                raise ApiError(409, "nothing", "there is nothing to redo.")
            last = 1
            while last < len(redo) and redo[last].batch == redo[0].batch:
                last += 1
            change.move(State.of((*steps, *redo[:last]), redo[last:]))
        return redo[0]


def holds_at(video: str, head: int, result: Any = Result) -> ColumnElement[bool]:
    """Results that hold at a head; `result` may be an alias of the table."""
    return and_(result.video == video, result.since <= head, or_(result.until.is_(None), result.until > head))


def results(
    database: Session, video: str, head: int, start: int, stop: int, objects: Sequence[int] | None = None
) -> list[Result]:
    """The masks that hold on some frames, by frame and object.

    Args:
        database: A session of the database.
        video: Its id.
        head: The video's last step.
        start: The first frame.
        stop: The frame after the last.
        objects: Ids; by default all objects.
    """
    which = [holds_at(video, head), Result.frame >= start, Result.frame < stop]
    if objects is not None:
        which.append(Result.object.in_(objects))
    return list(database.scalars(select(Result).where(*which).order_by(Result.frame, Result.object)))


def find_tracked_spans(database: Session, video: str, head: int) -> dict[int, list[Span]]:
    """The frames on which each object has masks."""
    # Frames less their rank are alike along a stretch without gaps.
    rank = func.row_number().over(partition_by=Result.object, order_by=Result.frame)
    ranked = (
        select(Result.object, Result.frame, (Result.frame - rank).label("stretch"))
        .where(holds_at(video, head))
        .subquery()
    )
    spans: dict[int, list[Span]] = {}
    for id, first, last in database.execute(
        select(ranked.c.object, func.min(ranked.c.frame), func.max(ranked.c.frame)).group_by(
            ranked.c.object, ranked.c.stretch
        )
    ):
        spans.setdefault(id, []).append((first, last + 1))
    return {id: list(join_spans(some)) for id, some in sorted(spans.items())}


def person_names(database: Session, people: set[str]) -> dict[str, str]:
    """The names of people, by id."""
    rows = database.execute(select(Person.id, Person.name).where(Person.id.in_(people)))
    return {id: name for id, name in rows}


def record_of(step: Step) -> EventRecord:
    return EventRecord(**{name: getattr(step, name) for name in EventRecord.__dataclass_fields__})


def _columns(record: EventRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in EventRecord.__dataclass_fields__}
