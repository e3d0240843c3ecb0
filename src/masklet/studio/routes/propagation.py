"""Tracking objects through a video."""

from __future__ import annotations

from fastapi import APIRouter

from masklet.media import NoSuchFrame
from masklet.sessions.object_state import ObjectState, Span
from masklet.studio import schemas
from masklet.studio.errors import ApiError
from masklet.studio.inference.propagation_plan import Leg, PropagationPlan, missing_legs
from masklet.studio.requests import NewPropagation
from masklet.studio.routes import ANSWER_SECONDS, RequesterDep, StrictRoute, StudioDep
from masklet.studio.security import Requester
from masklet.studio.store.database import new_id
from masklet.studio.store.video_history import find_tracked_spans
from masklet.studio.studio import Studio
from masklet.studio.views import changed_objects, find_video, unfinished_plan

router = APIRouter(route_class=StrictRoute, prefix="/videos/{video}/propagation", tags=["propagation"])


@router.get("")
def propagation(studio: StudioDep, video: str) -> schemas.Propagation | None:
    """The running propagation; null if there is none."""
    propagation = studio.propagations.get(video)
    return None if propagation is None else propagation.view()


@router.post("", status_code=202)
def start(
    studio: StudioDep, requester: RequesterDep, video: str, body: NewPropagation
) -> schemas.Propagation:
    """Start tracking, or resume stopped tracking.

    Prompts, renamings and review marks are allowed while it runs. A prompt has priority, and tracking
    continues with it. Earlier prompts of the same person are answered first.
    """
    studio.pending.wait(video, requester.id, ANSWER_SECONDS)
    plan = studio.unfinished(video, requester) if body.resume else _plan(studio, requester, video, body)
    if plan is None:
        raise ApiError(409, "nothing", "there is nothing to resume.")
    return studio.propagations.start(video, plan, requester.name, body.stop_when_doubtful).view()


@router.delete("")
def stop(studio: StudioDep, video: str) -> schemas.Propagation:
    """Stop after the current frame. Tracked frames are kept."""
    propagation = studio.propagations.stop(video)
    if propagation is None:
        raise ApiError(409, "nothing", "nothing is being tracked.")
    return propagation.view()


def _plan(studio: Studio, requester: Requester, video: str, body: NewPropagation) -> PropagationPlan:
    with studio.live.history(video).read() as (session, state):
        row = find_video(session, video)
        earlier = unfinished_plan(row, state, requester.id)
        masks = find_tracked_spans(session, video, state.head) if body.scope == "missing" else {}
    objects, start = body.objects, body.start
    if body.scope == "affected":
        changed = changed_objects(state)
        if changed is None:
            raise ApiError(409, "nothing", "nothing has changed since the last tracking.")
        objects, start = changed.objects, changed.start
    named = [state.object(id).id for id in objects or state.objects]
    tracked = [obj for id in named if (obj := state.session.objects.get(id)) is not None]
    if not tracked:
        raise ApiError(409, "nothing", "tracking needs at least one prompt: click on an object first.")
    if start is not None and start >= row.frames:
        raise NoSuchFrame(row.name, start, row.frames)
    if body.scope == "missing":
        span = _missing_span(body, start, row.frames)
        legs = missing_legs(tracked, masks, span, body.direction, new_id())
        if not legs:
            raise ApiError(
                409, "nothing", "no masks are missing: every object has a mask on all these frames."
            )
    else:
        legs = _legs(body, tracked, objects, start, row.frames)
    plan = PropagationPlan.of(requester.id, body.direction, legs)
    return plan.beside(earlier, state.session.objects.keys())


def _legs(
    body: NewPropagation,
    tracked: list[ObjectState],
    objects: list[int] | None,
    start: int | None,
    count: int,
) -> list[Leg]:
    """The legs that a request asks for, on a video of `count` frames."""
    batch, direction, stop = new_id(), body.direction, body.stop
    prompted = sorted({frame for obj in tracked for frame in obj.prompts})
    first = prompted[0] if start is None else start
    last = prompted[-1] if start is None else start
    if direction == "both":
        begin, end = -1, count
        if body.frames is not None:
            begin, end = max(last - body.frames, -1), min(first + body.frames, count)
        elif stop is not None:
            inside = [frame for frame in prompted if first <= frame < stop] or [first]
            begin, end, first, last = first - 1, min(stop, count), inside[0], inside[-1]
        legs = [
            Leg(last, begin, objects, batch, reverse=True),
            Leg(first, end, objects, batch, reverse=False),
        ]
    elif direction == "backward":
        lowest = -1 if stop is None else stop
        lowest = lowest if body.frames is None else max(lowest, last - body.frames)
        legs = [Leg(last, lowest, objects, batch, reverse=True)]
    else:
        end = count if stop is None else min(stop, count)
        end = end if body.frames is None else min(end, first + body.frames)
        legs = [Leg(first, end, objects, batch, reverse=False)]
    if not sum(leg.left for leg in legs):
        raise ApiError(422, "invalid", f"stop must come after start in the direction {direction}.")
    return [leg for leg in legs if leg.left]


def _missing_span(body: NewPropagation, start: int | None, count: int) -> Span:
    """The frames to search for missing masks, limited by start and stop."""
    stop = body.stop
    if body.direction == "backward":
        end = count if start is None else start + 1
        begin = 0 if stop is None else stop + 1
        return (max(begin, end - body.frames) if body.frames is not None else begin, end)
    begin = start or 0
    end = count if stop is None else min(stop, count)
    return begin, (min(end, begin + body.frames) if body.frames is not None else end)
