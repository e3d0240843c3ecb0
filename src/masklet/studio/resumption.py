"""Sessions made again from the database, in the middle of their work."""

from __future__ import annotations

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from masklet import rle
from masklet.model import Sam2
from masklet.sessions.object_state import ObjectState
from masklet.sessions.video import VideoSession
from masklet.studio.ledger import State, standing
from masklet.studio.live import Live
from masklet.studio.object_history import Past, outline_of, past_of
from masklet.studio.result_cache import Rows
from masklet.studio.tables import Result
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.policies import POLICIES, find_policy
from masklet.tracking.policies.recency import MemoryPolicy

# All but the one that still changes frames which people have seen, and perhaps corrected, by then.
RESUMABLE = tuple(name for name in POLICIES if find_policy(name)().resumable)

SEEN = 2 * POINTERS  # memories of a kind that are held ready
GOOD_IOU = 0.5  # what the pickiest rule asks of a memory
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
        at: tuple[int, bool] | None = None,
    ) -> VideoSession:
        """A session that stands where the video stands.

        near : frames whose tracked memories it must have
        frame : the frame whose answers it must have; None for none
        ids : the objects that it must know; None for all
        at : the frame from which it is to follow on, and whether backwards
        """
        script = outline_of(state.steps, frame)
        pasts = {id: past_of(state.steps, id) for id in (state.things if ids is None else ids)}
        known = sorted(
            ((past.begun, id, past) for id, past in pasts.items() if past is not None),
            key=lambda each: each[0],
        )
        policy = find_policy(live.policy)
        objects = [
            self._followee(database, live, state.head, id, past, policy(), near, frame, at)
            for _, id, past in known
        ]
        if frame is not None:
            for each in objects:
                said = script.get(frame, {}).get(each.id)
                if said is not None and said.is_mask_only:
                    each.stand(frame, said.mask)
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
        here: tuple[int, bool] | None,
    ) -> ObjectState:
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
        each = ObjectState(id, MemoryBank(None), policy, prompted=set(past.prompted))
        for at in (*past.order, *(at for at in then if at not in past.order)):
            if at in then:
                memory = known[then[at].id].memory(at, prompted=then[at].prompted)
                if memory is not None:
                    each.bank.keep(memory)
                    if then[at].anchor:
                        each.bank.anchors[at] = memory
        if here is not None and here[0] in then and past.stands(here[0], reverse=here[1]):
            each.at, state = here, known[then[here[0]].id].state
            if state:
                policy.load_state(state)
        for at in past.pending:
            memory = known[now[at].id].memory(at, prompted=True)
            if memory is not None:
                each.pending[at] = memory
        if frame in now:
            each.answers[frame] = known[now[frame].id].answer
            if known[now[frame].id].close:
                each.stand(frame, rle.decode({"size": list(live.frames.size), "counts": now[frame].counts}))
        if frame is not None and (passed := past.passed(frame)) is not None:
            each.passed[frame] = passed
        return each


def _worthy(database: Session, video: str, head: int, id: int, near: range) -> set[int]:
    """Frames far off that rules may want to look at: of each kind those nearest, on either side.

    Rules that pass over frames without the object look back as far as it takes.
    """
    mine = (standing(video, head), Result.object == id, Result.prompted.is_(False))
    seen = Result.score > 0
    found: set[int] = set()
    for kind in (seen, and_(seen, Result.iou > GOOD_IOU), Result.anchor):
        frames = select(Result.frame).where(*mine, kind).limit(SEEN)
        found |= {*database.scalars(frames.where(Result.frame < near.start).order_by(Result.frame.desc()))}
        found |= {*database.scalars(frames.where(Result.frame >= near.stop).order_by(Result.frame))}
    return found


def trim(session: VideoSession, done: int) -> None:
    """Forget what following on from a frame does not look at; the database has it."""
    for each in session.objects.values():
        each.answers.pop(done, None)
        each.passed.pop(done, None)
        tracked, anchors = each.bank.tracked, each.bank.anchors
        if len(tracked) <= 2 * SEEN:
            continue
        by_nearness = sorted(tracked, key=lambda frame: abs(frame - done))
        seen = [frame for frame in by_nearness if float(tracked[frame].score) > 0]
        good = [frame for frame in seen if float(tracked[frame].iou) > GOOD_IOU]
        for frame in set(tracked) - {*by_nearness[:SEEN], *seen[:SEEN], *good[:SEEN]}:
            del tracked[frame]
        for frame in sorted(anchors, key=lambda frame: abs(frame - done))[SEEN:]:
            del anchors[frame]
