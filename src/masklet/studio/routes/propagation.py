"""Following objects through a video."""

from __future__ import annotations

from fastapi import APIRouter

from masklet.media import NoSuchFrame
from masklet.studio import schemas
from masklet.studio.database import new_id
from masklet.studio.errors import ApiError
from masklet.studio.object_history import past_of
from masklet.studio.propagation_plan import Course
from masklet.studio.requests import NewPropagation
from masklet.studio.routes.dependencies import RequesterDep, StudioDep
from masklet.studio.security import Requester
from masklet.studio.studio import Studio
from masklet.studio.views import changed_objects, find_video

router = APIRouter(prefix="/videos/{video}/propagation", tags=["propagation"])


@router.get("")
def propagation(studio: StudioDep, video: str) -> schemas.Propagation | None:
    """What runs now; null where nothing does."""
    following = studio.followings.get(video)
    return None if following is None else following.view()


@router.post("", status_code=202)
def start(
    studio: StudioDep, requester: RequesterDep, video: str, body: NewPropagation
) -> schemas.Propagation:
    """Begin to follow, or go on with what was stopped.

    While it runs, prompts, renamings and review marks are welcome. A prompt overtakes; following then goes on
    with it.
    """
    plan = studio.unfinished(video, requester) if body.resume else _plan(studio, requester, video, body)
    if plan is None:
        raise ApiError(409, "nothing", "there is nothing to go on with.")
    return studio.followings.start(video, plan, requester.name).view()


@router.delete("")
def stop(studio: StudioDep, video: str) -> schemas.Propagation:
    """Stop after the frame that is being worked on. What was followed stays."""
    following = studio.followings.stop(video)
    if following is None:
        raise ApiError(409, "nothing", "nothing is being followed.")
    return following.view()


def _plan(studio: Studio, requester: Requester, video: str, body: NewPropagation) -> Course:
    with studio.live.ledger(video).read() as (session, state):
        row = find_video(session, video)
        count, name = row.frames, row.name
    objects, start = body.objects, body.start
    if body.scope == "affected":
        changed = changed_objects(state)
        if changed is None:
            raise ApiError(409, "nothing", "nothing was changed since everything was followed.")
        objects, start = changed.objects, changed.start
    pasts = [past_of(state.steps, state.thing(id).id) for id in objects or state.things]
    prompted = sorted({frame for past in pasts if past is not None for frame in past.prompted})
    if not prompted:
        raise ApiError(409, "nothing", "following needs at least one prompt: click on something first.")
    if start is not None and start >= count:
        raise NoSuchFrame(name, start, count)
    batch = new_id()

    def pass_through(
        first: int, end: int, total: int, *, reverse: bool, then: Course | None = None
    ) -> Course:
        return Course(requester.id, batch, first, end, reverse, objects, body.direction, total, then)

    first = prompted[0] if start is None else start
    last = prompted[-1] if start is None else start
    if body.direction == "both":
        total = last + 1 + count - first
        forward = pass_through(first, count, total, reverse=False)
        return pass_through(last, -1, total, reverse=True, then=forward)
    reverse = body.direction == "backward"
    begin = last if reverse else first
    end = (-1 if reverse else count) if body.stop is None else min(body.stop, count)
    total = begin - end if reverse else end - begin
    if total <= 0:
        raise ApiError(422, "invalid", f"stop must lie behind start, in the direction {body.direction}.")
    return pass_through(begin, end, total, reverse=reverse)
