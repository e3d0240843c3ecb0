"""A video's record: what was done, by whom, and which masks stand. All changes to a video go through here.

One at a time: whoever changes or reads what belongs together holds the ledger's lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from threading import RLock
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from masklet.rle import RLE
from masklet.studio.database import Database, new_id
from masklet.studio.errors import ApiError, not_found
from masklet.studio.object_history import Noted, Span, Thing, joined, reviewed_of, things_of
from masklet.studio.tables import Knowledge, Person, Result, Step, Video, now


@dataclass(frozen=True)
class Found:
    """A new answer about one object on one frame.

    anchor : the policy wants to look at its memory when that is old
    parts : what the model must know of it to go on
    """

    object: int
    frame: int
    prompted: bool
    anchor: bool
    rle: RLE
    box: list[float] | None
    iou: float
    score: float
    confidence: float
    parts: bytes


@dataclass(frozen=True)
class State:
    """A video at its head.

    redo : steps that were undone and can be done again
    """

    steps: tuple[Noted, ...]
    redo: tuple[Noted, ...]

    @property
    def head(self) -> int:
        return self.steps[-1].number if self.steps else 0

    @cached_property
    def things(self) -> dict[int, Thing]:
        return things_of(self.steps)

    @cached_property
    def reviewed(self) -> list[Span]:
        return reviewed_of(self.steps)

    def thing(self, id: int) -> Thing:
        if id not in self.things:
            there = ", ".join(map(str, self.things)) or "none"
            raise not_found(f"there is no object {id}. There are: {there}.")
        return self.things[id]


class Change:
    """Steps and masks that come to stand together, in one transaction."""

    def __init__(self, database: Session, video: str, state: State, person: str) -> None:
        self.database = database
        self.state = state
        self._video = video
        self._person = person

    def note(self, do: str, said: dict[str, Any], title: str, *, batch: str | None = None) -> Noted:
        """Add a step, and give up what could be redone."""
        number = self.state.head + 1
        if self.state.redo:
            self._give_up(number)
        step = Noted(number, do, said, title[:200], batch or new_id(), self._person, now())
        self.database.add(Step(video=self._video, **_columns(step)))
        self.state = State((*self.state.steps, step), ())
        self._save_head()
        return step

    def extend(self, number: int, said: dict[str, Any]) -> None:
        """Let a step say more than it did, and give up what could be redone."""
        if self.state.redo:
            self._give_up(self.state.head + 1)
        self.database.execute(
            update(Step).where(Step.video == self._video, Step.number == number).values(said=said)
        )
        steps = self.state.steps
        longer = replace(steps[number - 1], said=said)
        steps = (*steps[: number - 1], longer, *steps[number:])
        self.state = State(steps, ())

    def put(self, number: int, found: Found) -> int:
        """Let an answer stand from a step on, in place of what stood. Returns the result's id."""
        self.end(number, Result.object == found.object, Result.frame == found.frame)
        result = Result(
            video=self._video,
            object=found.object,
            frame=found.frame,
            since=number,
            prompted=found.prompted,
            anchor=found.anchor,
            counts=found.rle["counts"],
            box=found.box,
            iou=found.iou,
            score=found.score,
            confidence=found.confidence,
        )
        self.database.add(result)
        self.database.flush()
        self.database.add(Knowledge(result=result.id, parts=found.parts))
        return result.id

    def end(self, number: int, *which: ColumnElement[bool]) -> None:
        """Let results stand no longer, from a step on."""
        mine = (Result.video == self._video, Result.until.is_(None), *which)
        self.database.execute(delete(Result).where(*mine, Result.since >= number))
        self.database.execute(update(Result).where(*mine).values(until=number))

    def leave_unfinished(self, what: dict[str, Any] | None) -> None:
        self.database.execute(update(Video).where(Video.id == self._video).values(unfinished=what))

    def move(self, state: State) -> None:
        """Undo or redo: only the head moves."""
        self.state = state
        self._save_head()
        self.leave_unfinished(None)

    def _give_up(self, number: int) -> None:
        mine = Result.video == self._video
        self.database.execute(delete(Step).where(Step.video == self._video, Step.number >= number))
        self.database.execute(delete(Result).where(mine, Result.since >= number))
        self.database.execute(update(Result).where(mine, Result.until >= number).values(until=None))

    def _save_head(self) -> None:
        self.database.execute(update(Video).where(Video.id == self._video).values(head=self.state.head))


class Ledger:
    """The record of one video. Its state is kept in memory, and is what the database holds."""

    def __init__(self, database: Database, video: str) -> None:
        self.video = video
        self.lock = RLock()
        self._database = database
        with database.begin() as session:
            row = session.get(Video, video)
            if row is None:
                raise not_found(f"there is no video {video}.")
            steps = session.scalars(select(Step).where(Step.video == video).order_by(Step.number)).all()
        noted = [
            Noted(**{name: getattr(step, name) for name in Noted.__dataclass_fields__}) for step in steps
        ]
        self.state = State(
            tuple(step for step in noted if step.number <= row.head),
            tuple(step for step in noted if step.number > row.head),
        )

    @contextmanager
    def change(self, person: str) -> Iterator[Change]:
        """Change the video; all of it stands afterwards, or nothing."""
        with self.lock:
            try:
                with self._database.begin() as session:
                    change = Change(session, self.video, self.state, person)
                    yield change
            except Exception:
                self._check_exists()  # its rows vanish under whoever works on a video that is deleted
                raise
            self.state = change.state

    def _check_exists(self) -> None:
        with self._database.begin() as session:
            if session.get(Video, self.video) is None:
                raise not_found(f"the video {self.video} was deleted meanwhile.")

    @contextmanager
    def read(self) -> Iterator[tuple[Session, State]]:
        """The database, and the state that goes with it."""
        state = self.state  # results of a head can still be told from those of a newer one
        with self._database.begin() as session:
            yield session, state

    def undo(self, person: str) -> Noted:
        """Go back to before the last step, and those that belong to it."""
        with self.change(person) as change:
            steps, redo = change.state.steps, change.state.redo
            if not steps:
                raise ApiError(409, "nothing", "there is nothing to undo.")
            last = steps[-1]
            first = len(steps)
            while first and steps[first - 1].batch == last.batch:
                first -= 1
            change.move(State(steps[:first], (*steps[first:], *redo)))
        return last

    def redo(self, person: str) -> Noted:
        """Do again what was undone last."""
        with self.change(person) as change:
            steps, redo = change.state.steps, change.state.redo
            if not redo:
                raise ApiError(409, "nothing", "there is nothing to redo.")
            last = 1
            while last < len(redo) and redo[last].batch == redo[0].batch:
                last += 1
            change.move(State((*steps, *redo[:last]), redo[last:]))
        return redo[0]


def standing(video: str, head: int) -> ColumnElement[bool]:
    """Results that hold at a head."""
    return and_(Result.video == video, Result.since <= head, or_(Result.until.is_(None), Result.until > head))


def results(
    database: Session, video: str, head: int, start: int, stop: int, objects: Sequence[int] | None = None
) -> list[Result]:
    """The masks that stand on frames from start to before stop, by frame and object."""
    which = [standing(video, head), Result.frame >= start, Result.frame < stop]
    if objects is not None:
        which.append(Result.object.in_(objects))
    return list(database.scalars(select(Result).where(*which).order_by(Result.frame, Result.object)))


def spans_followed(database: Session, video: str, head: int) -> dict[int, list[Span]]:
    """The frames on which each object has masks."""
    # Frames less their rank are alike along a stretch without gaps.
    rank = func.row_number().over(partition_by=Result.object, order_by=Result.frame)
    ranked = (
        select(Result.object, Result.frame, (Result.frame - rank).label("stretch"))
        .where(standing(video, head))
        .subquery()
    )
    spans: dict[int, list[Span]] = {}
    for id, first, last in database.execute(
        select(ranked.c.object, func.min(ranked.c.frame), func.max(ranked.c.frame)).group_by(
            ranked.c.object, ranked.c.stretch
        )
    ):
        spans.setdefault(id, []).append((first, last + 1))
    return {id: joined(each) for id, each in sorted(spans.items())}


def names_of(database: Session, people: set[str]) -> dict[str, str]:
    """What people are called, by id."""
    rows = database.execute(select(Person.id, Person.name).where(Person.id.in_(people)))
    return {id: name for id, name in rows}


def _columns(step: Noted) -> dict[str, Any]:
    return {name: getattr(step, name) for name in Noted.__dataclass_fields__}
