"""Objects, and what is said of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, Field

from masklet.studio import answers
from masklet.studio.drawn import Said
from masklet.studio.errors import Refusal, missing, too_much
from masklet.studio.ledger import results
from masklet.studio.live import Live
from masklet.studio.names import COLOR, tidy_name
from masklet.studio.object_history import first_color, outline_of, past_of
from masklet.studio.people import Who
from masklet.studio.routes.common import Asking, Frame, Here, ObjectId, View
from masklet.studio.studio import Studio
from masklet.studio.tables import Result
from masklet.studio.views import mask_view, object_view, prompt_view
from masklet.studio.worker import Line

router = APIRouter(prefix="/videos/{video}", tags=["objects and prompts"])

Value = TypeVar("Value")
LONG = 120  # seconds that a person waits at most


class Looks(BaseModel):
    name: str | None = None
    color: str | None = None


class LooksChange(Looks):
    hidden: bool | None = None


class Prompting(Said):
    frame: Frame
    object: ObjectId
    candidates: bool = False


class Choice(BaseModel):
    frame: Frame
    object: ObjectId
    rank: Annotated[int, Field(ge=0, le=2)]


@router.post("/objects", status_code=201, response_model=answers.Object)
def add_object(studio: Here, who: Asking, video: str, body: Looks) -> View:
    """Name an object before it is clicked on."""
    with studio.live.ledger(video).change(who.id) as change:
        things = change.state.things
        if len(things) >= studio.limits.objects:
            raise too_much(f"a video may have up to {studio.limits.objects} objects. Delete one first.")
        used = {step.said["id"] for step in change.state.steps if "id" in step.said}
        id = max(used, default=0) + 1
        said = {"id": id, "name": f"object {id}", "color": first_color(id), **_looks(body)}
        step = change.note("object", said, f"add {said['name']}")
        thing = change.state.things[id]
    studio.tell(video, who, step, [], [id])
    return object_view(thing, [])


@router.patch("/objects/{id}", response_model=answers.Object)
def change_object(studio: Here, who: Asking, video: str, id: ObjectId, body: LooksChange) -> View:
    """Name, colour, hide or show an object."""
    looks = _looks(body) | ({} if body.hidden is None else {"hidden": body.hidden})
    with studio.live.ledger(video).change(who.id) as change:
        before = change.state.thing(id)
        what = "rename" if "name" in looks else "colour" if "color" in looks else "hide or show"
        step = change.note("object", {"id": id, **looks}, f"{what} {before.name}")
        thing, past = change.state.things[id], past_of(change.state.steps, id)
    studio.tell(video, who, step, [], [id])
    return object_view(thing, sorted(past.prompted) if past else [])


@router.delete("/objects/{id}", status_code=204)
def delete_object(studio: Here, who: Asking, video: str, id: ObjectId) -> None:
    """Delete an object and all its masks; undo brings them back."""
    with studio.live.ledger(video).change(who.id) as change:
        thing = change.state.thing(id)
        prompted = past_of(change.state.steps, id) is not None
        do, said = ("remove", {"id": id}) if prompted else ("object", {"id": id, "gone": True})
        step = change.note(do, said, f"delete {thing.name}")
        change.end(step.number, Result.object == id)
    studio.tell(video, who, step, [], [id])


@router.post("/prompts", response_model=answers.Prompted)
def prompt(studio: Here, who: Asking, video: str, body: Prompting) -> View:
    """Click, draw a box or paint; the answer is the masks of the frame."""
    began = time.perf_counter()
    studio.quota.check()
    with studio.live.using(video) as live:
        said = body.prompt(live.frames.size, studio.limits.points)
        frame, id = body.frame, body.object
        live.footage.decode(frame)  # here, so that nobody else waits for it
        candidates = _done(
            studio,
            who,
            lambda: studio.engine.prompt(live, who.id, frame, id, said, offer=body.candidates),
        )
        view = _answer(studio, who, live, frame, id)
    view["candidates"] = [asdict(each) for each in candidates]
    view["milliseconds"] = round(1000 * (time.perf_counter() - began))
    return view


@router.post("/candidates", response_model=answers.FrameMasks)
def choose(studio: Here, who: Asking, video: str, body: Choice) -> View:
    """Take another of the three masks that the last click may have meant."""
    with studio.live.using(video) as live:
        _done(studio, who, lambda: studio.engine.choose(live, who.id, body.frame, body.object, body.rank))
        return _answer(studio, who, live, body.frame, body.object)


@router.delete("/prompts/{frame}/{id}", response_model=answers.FrameMasks)
def clear(studio: Here, who: Asking, video: str, frame: Frame, id: ObjectId) -> View:
    """Take back all that was said of an object on a frame."""
    with studio.live.using(video) as live:
        _done(studio, who, lambda: studio.engine.clear(live, who.id, frame, id))
        return _answer(studio, who, live, frame, id)


@router.get("/prompts/{frame}/{id}", response_model=answers.FullPrompt)
def read_prompt(studio: Here, video: str, frame: Frame, id: ObjectId) -> View:
    """A prompt with its mask."""
    said = outline_of(studio.live.ledger(video).state.steps, frame).get(frame, {}).get(id)
    if said is None:
        raise missing(f"object {id} has no prompt on frame {frame}.")
    return prompt_view(said) | {"mask": said.to_json().get("mask")}


def _looks(body: Looks) -> dict[str, object]:
    looks: dict[str, object] = {}
    if body.name is not None:
        looks["name"] = tidy_name(body.name)
    if body.color is not None:
        if not COLOR.fullmatch(body.color):
            raise Refusal(422, "invalid", "color must be #rrggbb.")
        looks["color"] = body.color.lower()
    return looks


def _done(studio: Studio, who: Who, function: Callable[[], Value]) -> Value:
    """What the model's thread makes of it, when it is this person's turn."""
    return studio.worker.call(who.id, Line.prompt, function).result(LONG)


def _answer(studio: Studio, who: Who, live: Live, frame: int, id: int) -> View:
    """The masks of the frame for who asked, and the news for everybody else."""
    with live.ledger.read() as (session, state):
        masks = [mask_view(row) for row in results(session, live.id, state.head, frame, frame + 1)]
    studio.tell(live.id, who, state.steps[-1], [[frame, frame + 1]], [id])
    view = {"frame": frame, "masks": masks, "head": state.head}
    studio.hub.tell(live.id, {"type": "masks", **view, "client": who.client})
    return view
