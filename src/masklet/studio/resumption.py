"""Sessions made again from the database, in the middle of their work."""

from __future__ import annotations

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from masklet.memory import POINTERS, MemoryBank, MemoryPolicy
from masklet.model import Sam2
from masklet.policies import find_policy
from masklet.sessions.followee import Followee
from masklet.sessions.video import VideoSession
from masklet.studio.ledger import State, standing
from masklet.studio.live import Live
from masklet.studio.past import Past, past_of, script_of
from masklet.studio.rows import Rows
from masklet.studio.tables import Result

# Rules whose state is all in the memory bank, so that they can go on where they were.
RESUMABLE = ("recency", "gated")


SEEN = 2 * POINTERS  # memories of a kind that are held ready
BUDGET = 64 * 2**20  # bytes of answers in one session; the database has all


class Resumption:
    """Takes from the database what a session needs to go on, and no more."""

    def __init__(self, model: Sam2, rows: Rows) -> None:
        self._model = model
        self._rows = rows

    def session(
        self,
        database: Session,
        live: Live,
        state: State,
        near: range,
        *,
        frame: int | None = None,
        ids: list[int] | None = None,
    ) -> VideoSession:
        """A session that stands where the video stands.

        near : frames whose tracked memories it must have
        frame : the frame whose answers it must have; None for none
        ids : the objects that it must know; None for all
        """
        script = script_of(state.steps)
        pasts = {id: past_of(state.steps, id) for id in (state.things if ids is None else ids)}
        known = sorted(
            ((past.begun, id, past) for id, past in pasts.items() if past is not None),
            key=lambda each: each[0],
        )
        policy = find_policy(live.policy)
        objects = [
            self._followee(database, live, state.head, id, past, policy(), near, frame)
            for _, id, past in known
        ]
        session = VideoSession(
            self._model, live.frames, policy=live.policy, features=live.features, budget=BUDGET
        )
        return session.take_up(script, objects)

    def _followee(
        self,
        database: Session,
        live: Live,
        head: int,
        id: int,
        past: Past,
        policy: MemoryPolicy,
        near: range,
        frame: int | None,
    ) -> Followee:
        """What a session would know of an object: memories as of when it was last followed; answers."""
        wanted = {*past.order, *past.pending, *([] if frame is None else [frame])}
        if near:
            wanted |= _worthy(database, live.id, head, id, near)
        rows = database.scalars(
            select(Result)
            .where(
                Result.video == live.id,
                Result.object == id,
                Result.since >= past.begun,
                Result.since <= head,
                or_(Result.until.is_(None), Result.until > (past.settled or head)),
                or_(
                    and_(Result.frame >= near.start, Result.frame < near.stop),
                    Result.frame.in_(wanted),
                ),
            )
            .order_by(Result.id)
        ).all()
        known = self._rows.get(database, [row.id for row in rows])
        now = {row.frame: row for row in rows if row.until is None or row.until > head}
        then = {row.frame: row for row in rows if row.since <= past.settled and row.frame not in past.cleared}
        each = Followee(id, MemoryBank(None), policy, prompted=set(past.prompted))
        for at in (*past.order, *(at for at in then if at not in past.order)):
            if at in then:
                memory = known[then[at].id].memory(at, prompted=then[at].prompted)
                if memory is not None:
                    each.bank.keep(memory)
        for at in past.pending:
            memory = known[now[at].id].memory(at, prompted=True)
            if memory is not None:
                each.pending[at] = memory
        each.answers = {at: known[row.id].answer for at, row in now.items() if at == frame}
        if frame is not None and (passed := past.passed(frame)) is not None:
            each.passed[frame] = passed
        return each


def _worthy(database: Session, video: str, head: int, id: int, near: range) -> set[int]:
    """Frames far off on which the object was seen: those nearest, on either side.

    Rules that pass over frames without the object look back as far as it takes.
    """
    seen = (standing(video, head), Result.object == id, Result.prompted.is_(False), Result.score > 0)
    frames = select(Result.frame)
    before = frames.where(*seen, Result.frame < near.start).order_by(Result.frame.desc()).limit(SEEN)
    after = frames.where(*seen, Result.frame >= near.stop).order_by(Result.frame).limit(SEEN)
    return {*database.scalars(before), *database.scalars(after)}


def trim(session: VideoSession, done: int) -> None:
    """Forget what following on from a frame does not look at; the database has it."""
    for each in session.objects.values():
        each.answers.pop(done, None)
        each.passed.pop(done, None)
        tracked = each.bank.tracked
        if len(tracked) <= 2 * SEEN:
            continue
        by_nearness = sorted(tracked, key=lambda frame: abs(frame - done))
        seen = [frame for frame in by_nearness if float(tracked[frame].score) > 0]
        for frame in set(tracked) - set(by_nearness[:SEEN]) - set(seen[:SEEN]):
            del tracked[frame]
