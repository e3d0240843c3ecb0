"""One video: what it is, how it looks, what was done with it, and undo."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from masklet.studio import answers
from masklet.studio.errors import Refusal, missing
from masklet.studio.ledger import names_of, results
from masklet.studio.names import tidy_name
from masklet.studio.object_history import Noted
from masklet.studio.routes.common import Asking, Frame, Here, View
from masklet.studio.strips import doubtful, strips
from masklet.studio.tables import Video
from masklet.studio.views import mask_view

router = APIRouter(prefix="/videos/{video}", tags=["videos"])

FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
PAGE = 256  # frames of masks in one answer
MOST_BINS = 4096


class Name(BaseModel):
    name: str


class Review(BaseModel):
    start: Frame
    stop: Frame
    reviewed: bool


@router.get("", response_model=answers.Video)
def video(studio: Here, video: str) -> View:
    """All that a page needs to draw itself, except masks."""
    return studio.video(video)


@router.patch("", response_model=answers.Video)
def rename(studio: Here, video: str, body: Name) -> View:
    with studio.database.begin() as session:
        row = session.get(Video, video)
        if row is None:
            raise missing(f"there is no video {video}.")
        row.name = tidy_name(body.name, 220)
    return studio.video(video)


@router.delete("", status_code=204)
def delete(studio: Here, video: str) -> None:
    studio.delete_video(video)


@router.get("/frames/{frame}.jpg", response_class=Response)
def frame(
    studio: Here, video: str, frame: Frame, width: Annotated[int | None, Query(ge=16, le=8192)] = None
) -> Response:
    """A frame as JPEG, no wider than asked for."""
    return Response(studio.jpegs.frame(video, frame, width), media_type="image/jpeg", headers=FOR_EVER)


@router.get("/thumbnails/{frame}.jpg", response_class=Response)
def thumbnail(studio: Here, video: str, frame: Frame) -> Response:
    return Response(studio.jpegs.thumbnail(video, frame), media_type="image/jpeg", headers=FOR_EVER)


@router.get("/masks", response_model=answers.MasksOfFrames)
def masks(
    studio: Here, video: str, start: Frame = 0, stop: Frame | None = None, objects: str | None = None
) -> View:
    """The masks that stand on frames, at most 256 frames at once."""
    ids = None if objects is None else _numbers(objects)
    with studio.live.ledger(video).read() as (session, state):
        row = session.get_one(Video, video)
        end = min(row.frames if stop is None else stop, row.frames)
        begin = max(0, start)
        upto = min(end, begin + PAGE)
        found: dict[int, list[View]] = {}
        for each in results(session, video, state.head, begin, upto, ids):
            found.setdefault(each.frame, []).append(mask_view(each))
    return {
        "size": [row.height, row.width],
        "frames": [{"frame": frame, "masks": each} for frame, each in found.items()],
        "next": upto if upto < end else None,
    }


@router.post("/undo", response_model=answers.Video)
def undo(studio: Here, who: Asking, video: str) -> View:
    """Go back to before the last step; what is being followed stops first."""
    studio.followings.stop(video)
    return _moved(studio, who, video, studio.live.ledger(video).undo(who.id))


@router.post("/redo", response_model=answers.Video)
def redo(studio: Here, who: Asking, video: str) -> View:
    studio.followings.stop(video)
    return _moved(studio, who, video, studio.live.ledger(video).redo(who.id))


def _moved(studio: Here, who: Asking, video: str, step: Noted) -> View:
    view = studio.video(video)
    studio.tell(video, who, step, [[0, view["frames"]]], [each["id"] for each in view["objects"]])
    return view


@router.get("/history", response_model=answers.History)
def history(studio: Here, video: str, limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> View:
    """What was done, newest first, and by whom."""
    with studio.live.ledger(video).read() as (session, state):
        steps = [(step, True) for step in reversed(state.redo)]
        steps = (steps + [(step, False) for step in reversed(state.steps)])[:limit]
        called = names_of(session, {step.person for step, _ in steps})
    return {
        "steps": [
            {
                "head": step.number,
                "do": step.do,
                "title": step.title,
                "person": called.get(step.person, "somebody"),
                "at": step.at.isoformat(),
                "undone": undone,
            }
            for step, undone in steps
        ]
    }


@router.get("/strips", response_model=answers.Strips)
def confidence(
    studio: Here,
    video: str,
    start: Frame = 0,
    stop: Frame | None = None,
    bins: Annotated[int, Query(ge=1, le=MOST_BINS)] = 1200,
) -> View:
    """How sure the model is of each object along the video."""
    with studio.live.ledger(video).read() as (session, state):
        frames = session.get_one(Video, video).frames
        end = frames if stop is None else min(stop, frames)
        if not 0 <= start < end:
            raise Refusal(422, "invalid", f"start and stop must lie in 0 to {frames}, start first.")
        return strips(session, video, state, start, end, bins)


@router.get("/doubtful", response_model=answers.Doubtful | None)
def most_doubtful(studio: Here, video: str, skip: str = "") -> View | None:
    """Where a person should look next."""
    with studio.live.ledger(video).read() as (session, state):
        return doubtful(session, video, state, _numbers(skip))


@router.put("/reviewed", response_model=answers.Video)
def review(studio: Here, who: Asking, video: str, body: Review) -> View:
    """Mark frames as looked at and right, or take the mark back."""
    with studio.live.ledger(video).change(who.id) as change:
        frames = change.database.get_one(Video, video).frames
        if not 0 <= body.start < body.stop <= frames:
            raise Refusal(422, "invalid", f"start and stop must lie in 0 to {frames}, start first.")
        word = "mark" if body.reviewed else "unmark"
        one = body.stop == body.start + 1
        where = f"frame {body.start}" if one else f"frames {body.start} to {body.stop - 1}"
        step = change.note("review", body.model_dump(), f"{word} {where}")
    studio.tell(video, who, step, [], [])
    return studio.video(video)


def _numbers(text: str) -> list[int]:
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > 1000 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise Refusal(422, "invalid", "numbers must be written 1,2,3.")
    return [int(part.strip()[:9]) for part in parts]
