"""Following objects through a video."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from masklet.media import NoSuchFrame
from masklet.studio import answers
from masklet.studio.errors import Refusal, missing
from masklet.studio.names import new_id
from masklet.studio.object_history import past_of
from masklet.studio.people import Who
from masklet.studio.propagation_plan import Course
from masklet.studio.routes.common import Asking, Frame, Here, ObjectId, Stop, View
from masklet.studio.studio import Studio
from masklet.studio.tables import Video
from masklet.studio.views import affected

router = APIRouter(prefix="/videos/{video}/propagation", tags=["following"])


class Asked(BaseModel):
    direction: Literal["forward", "backward", "both"] = "forward"
    start: Frame | None = None
    stop: Stop | None = None
    objects: Annotated[list[ObjectId], Field(min_length=1, max_length=1000)] | None = None
    scope: Literal["all", "affected"] = "all"
    resume: bool = False


@router.get("", response_model=answers.Propagation | None)
def propagation(studio: Here, video: str) -> View | None:
    following = studio.followings.get(video)
    return None if following is None else following.view()


@router.post("", status_code=202, response_model=answers.Propagation)
def follow(studio: Here, who: Asking, video: str, body: Asked) -> View:
    """Begin to follow, or go on with what was stopped."""
    course = studio.unfinished(video, who) if body.resume else _course(studio, who, video, body)
    if course is None:
        raise Refusal(409, "nothing", "there is nothing to go on with.")
    return studio.followings.start(video, course, who.name).view()


@router.delete("", response_model=answers.Propagation)
def stop(studio: Here, video: str) -> View:
    """Stop after the frame that is being worked on; what was followed stays."""
    following = studio.followings.stop(video)
    if following is None:
        raise Refusal(409, "nothing", "nothing is being followed.")
    return following.view()


def _course(studio: Studio, who: Who, video: str, body: Asked) -> Course:
    with studio.live.ledger(video).read() as (session, state):
        row = session.get(Video, video)
        if row is None:
            raise missing(f"there is no video {video}.")
        count, name = row.frames, row.name
    objects, start = body.objects, body.start
    if body.scope == "affected":
        changed = affected(state)
        if changed is None:
            raise Refusal(409, "nothing", "nothing was changed since everything was followed.")
        objects, start = changed["objects"], changed["start"]
    pasts = [past_of(state.steps, state.thing(id).id) for id in objects or state.things]
    prompted = sorted({frame for past in pasts if past is not None for frame in past.prompted})
    if not prompted:
        raise Refusal(409, "nothing", "following needs at least one prompt: click on something first.")
    if start is not None and start >= count:
        raise NoSuchFrame(name, start, count)
    batch = new_id()

    def way(first: int, end: int, total: int, *, reverse: bool, then: Course | None = None) -> Course:
        return Course(who.id, batch, first, end, reverse, objects, body.direction, total, then)

    first = prompted[0] if start is None else start
    last = prompted[-1] if start is None else start
    if body.direction == "both":
        total = last + 1 + count - first
        return way(last, -1, total, reverse=True, then=way(first, count, total, reverse=False))
    reverse = body.direction == "backward"
    begin = last if reverse else first
    end = (-1 if reverse else count) if body.stop is None else min(body.stop, count)
    total = begin - end if reverse else end - begin
    if total <= 0:
        raise Refusal(422, "invalid", f"stop must lie behind start, in the direction {body.direction}.")
    return way(begin, end, total, reverse=reverse)
