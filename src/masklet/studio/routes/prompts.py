"""Objects, their prompts, and edits of their masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from fastapi import APIRouter

from masklet import rle
from masklet.boxes import tight_box
from masklet.sessions.object_state import join_spans
from masklet.studio import schemas
from masklet.studio.edits import MaskEditor
from masklet.studio.errors import limit_exceeded, not_found
from masklet.studio.inference.live import Live
from masklet.studio.inference.worker import Priority
from masklet.studio.messages import MasksEvent
from masklet.studio.requests import (
    CandidateChoice,
    Frame,
    FrameNumber,
    NewEdit,
    NewObject,
    NewPrompt,
    ObjectChange,
    ObjectId,
    PreviewPrompt,
)
from masklet.studio.routes import ANSWER_SECONDS, RequesterDep, StrictRoute, StudioDep
from masklet.studio.schemas import clean_name
from masklet.studio.security import Requester
from masklet.studio.store.object_history import find_prompt, flatten_fields
from masklet.studio.store.tables import Result
from masklet.studio.store.video_history import person_names
from masklet.studio.studio import Studio
from masklet.studio.views import frame_masks, object_view, prompt_with_mask, prompted_frames
from masklet.types import Prompt

router = APIRouter(route_class=StrictRoute, prefix="/videos/{video}", tags=["objects and prompts"])

Value = TypeVar("Value")


@router.post("/objects", status_code=201)
def add_object(studio: StudioDep, requester: RequesterDep, video: str, body: NewObject) -> schemas.Object:
    """Name an object before it is clicked on.

    A prompt for a number that no object has also makes one. Names are up to 100 characters of plain text; a
    page must show them as text, never as HTML.
    """
    with studio.live.history(video).change(requester.id) as change:
        objects = change.state.objects
        if len(objects) >= studio.limits.objects:
            raise limit_exceeded(
                f"a video can have at most {studio.limits.objects} objects. Delete one first."
            )
        id = change.state.next_id
        step = change.add_object(id, body.fields())
        obj = change.state.objects[id]
    studio.publish_change(video, requester, step, [], [id])
    return object_view(obj, [])


@router.patch("/objects/{id}")
def change_object(
    studio: StudioDep, requester: RequesterDep, video: str, id: ObjectId, body: ObjectChange
) -> schemas.ChangedObject:
    """Change an object's name, colour, visibility, class or attributes.

    Omitted fields are not changed, so people who change different fields or attributes at the same time do
    not undo each other's changes. In the same field, the last change is kept. With `head`, the answer says
    whose change it replaced.
    """
    fields = body.fields()
    with studio.live.history(video).change(requester.id) as change:
        title = f"{_change_verb(fields)} {change.state.object(id).name}"
        step, conflicts = change.change_object(id, fields, title, body.head)
        obj, prompted = change.state.objects[id], prompted_frames(change.state, id)
        names = person_names(change.database, {conflict.person for conflict in conflicts})
    studio.publish_change(video, requester, step, [], [id])
    given = flatten_fields(fields)
    sentences = [
        conflict.conflict(names.get(conflict.person, "Somebody"), given[conflict.field])
        for conflict in conflicts
    ]
    return schemas.ChangedObject(**vars(object_view(obj, prompted)), conflicts=sentences)


def _change_verb(fields: Mapping[str, object]) -> str:
    """The beginning of a step's title for a change of an object, before the object's name.

    >>> _change_verb({"attributes": {"mood": "good"}}), _change_verb({"hidden": True})
    ('mood of', 'hide or show')
    """
    attributes = fields.get("attributes")
    if isinstance(attributes, dict) and len(attributes) == 1 and "label" not in fields:
        return f"{next(iter(attributes))} of"
    verbs = {"label": "class of", "name": "rename", "color": "colour", "attributes": "attributes of"}
    return next((verb for name, verb in verbs.items() if name in fields), "hide or show")


@router.delete("/objects/{id}", status_code=204)
def delete_object(studio: StudioDep, requester: RequesterDep, video: str, id: ObjectId) -> None:
    """Delete an object and all its masks. Undo restores them."""
    with studio.live.history(video).change(requester.id) as change:
        obj = change.state.object(id)
        prompted = id in change.state.session.objects
        do, fields = ("remove", {"id": id}) if prompted else ("object", {"id": id, "gone": True})
        step = change.add(do, fields, f"delete {obj.name}")
        change.end(step.number, Result.object == id)
    studio.publish_change(video, requester, step, [], [id])


@router.post("/prompts")
def add_prompt(
    studio: StudioDep, requester: RequesterDep, video: str, body: NewPrompt
) -> schemas.PromptResult:
    """Click, draw a box or paint. The answer is the masks of the frame.

    Clicks are added to the object's clicks on the frame; a box replaces an earlier box. A mask replaces all
    earlier prompts there, and is used as the answer: a brush sends the whole mask, not the stroke. It is kept
    and exported exactly; only further clicks make the model answer again.
    """
    start = time.perf_counter()
    with studio.pending.answering(video, requester.id), studio.live.using(video) as live:
        studio.quota.check()
        prompt = body.to_prompt(live.frames.size, studio.limits.points)
        frame, id = body.frame, body.object
        label = clean_name(body.label) if body.label and body.label.strip() else None
        live.frames.prepare(frame)
        answer = _run(
            studio,
            requester,
            lambda: studio.inference.prompt(
                live, requester.id, frame, id, prompt, offer=body.candidates, label=label, new=body.new
            ),
        )
        masks = _publish(studio, requester, live, frame, answer.object)
    return schemas.PromptResult(
        object=answer.object,
        head=masks.head,
        frame=frame,
        masks=masks.masks,
        candidates=answer.candidates,
        milliseconds=round(1000 * (time.perf_counter() - start)),
    )


@router.post("/preview")
def preview(studio: StudioDep, requester: RequesterDep, video: str, body: PreviewPrompt) -> schemas.Preview:
    """The mask of a click for a new object. Nothing is stored, and prompts have priority.

    In idle time, the click's own answer is computed ahead.
    """
    start = time.perf_counter()
    with studio.live.using(video) as live:
        prompt = body.to_prompt(live.frames.size, studio.limits.points)
        live.frames.prepare(body.frame)
        answer = studio.worker.call(
            requester.id, Priority.encode, lambda: studio.inference.preview(live, body.frame, prompt)
        ).result(ANSWER_SECONDS)

    def prepare() -> Iterator[None]:
        with studio.live.using(video) as live:
            yield from studio.inference.prepare_click(live, body.frame, prompt)

    studio.worker.add_ahead(requester.id, prepare())
    mask = answer.best
    return schemas.Preview(
        frame=body.frame,
        counts=rle.encode(mask)["counts"],
        box=tight_box(mask),
        iou=round(float(answer.iou[0]), 4),
        milliseconds=round(1000 * (time.perf_counter() - start)),
    )


@router.post("/everything")
def everything(studio: StudioDep, requester: RequesterDep, video: str, body: FrameNumber) -> schemas.Segments:
    """Masks of everything on a frame, without prompts. Nothing is stored: send the wanted ones as prompts."""
    with studio.live.using(video) as live:
        live.frames.prepare(body.frame)
        masks = studio.worker.call(
            requester.id, Priority.encode, lambda: studio.inference.segment_everything(live, body.frame)
        ).result(ANSWER_SECONDS)
    entries = zip(masks.codes, masks.boxes.tolist(), masks.iou.tolist(), strict=True)
    segments = [
        schemas.Segment(counts=code["counts"], box=box, iou=round(iou, 4)) for code, box, iou in entries
    ]
    return schemas.Segments(frame=body.frame, segments=segments)


@router.post("/candidates")
def choose_candidate(
    studio: StudioDep, requester: RequesterDep, video: str, body: CandidateChoice
) -> schemas.FrameMasks:
    """Select another of the three candidates of the last click.

    It becomes a mask prompt and is kept; further clicks on the frame start from it.
    """
    frame, id = body.frame, body.object
    with studio.pending.answering(video, requester.id), studio.live.using(video) as live:
        _run(studio, requester, lambda: studio.inference.choose(live, requester.id, frame, id, body.rank))
        return _publish(studio, requester, live, frame, id)


@router.post("/edits")
def edit(studio: StudioDep, requester: RequesterDep, video: str, body: NewEdit) -> schemas.EditResult:
    """Edit existing masks over a range of frames. Reviewed frames keep their masks.

    Edit after tracking: objects that are tracked again get new masks, without the edits.
    """
    studio.quota.check()
    with studio.live.using(video) as live:
        size, count = live.frames.size, len(live.frames)
        span = {"start": min(body.start, count), "stop": min(body.stop, count)}
        editor = MaskEditor(live.history, studio.inference.cache, studio.limits, size, requester.id)
        outcome = editor.apply(body.model_copy(update=span))
        for frame, id, mask in outcome.prompts:
            live.frames.prepare(frame)
            _prompt_mask(studio, requester, live, frame, id, mask, outcome.batch)
        state = live.history.state
    frames = [(frame, frame + 1) for frame in outcome.frames]
    objects = sorted(outcome.objects)
    studio.publish_change(video, requester, state.records[-1], list(join_spans(frames)), objects)
    return schemas.EditResult(
        head=state.head, frames=len(frames), reviewed=len(outcome.reviewed), objects=objects
    )


@router.delete("/prompts/{frame}/{id}")
def clear_prompt(
    studio: StudioDep, requester: RequesterDep, video: str, frame: Frame, id: ObjectId
) -> schemas.FrameMasks:
    """Remove all prompts of an object on a frame."""
    with studio.live.using(video) as live:
        _run(studio, requester, lambda: studio.inference.clear(live, requester.id, frame, id))
        is_prompted = id in live.history.state.session.objects  # otherwise all its masks were removed
        changed = (frame, frame + 1) if is_prompted else (0, len(live.frames))
        return _publish(studio, requester, live, frame, id, changed)


@router.get("/prompts/{frame}/{id}")
def prompt(studio: StudioDep, video: str, frame: Frame, id: ObjectId) -> schemas.PromptWithMask:
    """A prompt with its mask, as the script has it."""
    stored = find_prompt(studio.live.history(video).state.records, frame, id)
    if stored is None:
        raise not_found(f"object {id} has no prompt on frame {frame}.")
    return prompt_with_mask(stored)


def _prompt_mask(
    studio: Studio, requester: Requester, live: Live, frame: int, id: int, mask: np.ndarray, batch: str
) -> None:
    prompt = Prompt(mask=mask)
    _run(
        studio, requester, lambda: studio.inference.prompt(live, requester.id, frame, id, prompt, batch=batch)
    )


def _run(studio: Studio, requester: Requester, function: Callable[[], Value]) -> Value:
    """Run a function on the model's thread when it is this person's turn."""
    return studio.worker.call(requester.id, Priority.prompt, function).result(ANSWER_SECONDS)


def _publish(
    studio: Studio,
    requester: Requester,
    live: Live,
    frame: int,
    id: int,
    changed: tuple[int, int] | None = None,
) -> schemas.FrameMasks:
    """The masks of the frame for who changed them; the same for all others who have the video open.

    Args:
        changed: Frames whose masks may be others now; by default this one.
    """
    with live.history.read() as (session, state):
        masks = frame_masks(session, live.id, state, frame)
    studio.publish_change(live.id, requester, state.records[-1], [changed or (frame, frame + 1)], [id])
    event = MasksEvent(head=state.head, frame=frame, masks=masks, client=requester.client)
    studio.hub.publish(live.id, event)
    return schemas.FrameMasks(head=state.head, frame=frame, masks=masks)
