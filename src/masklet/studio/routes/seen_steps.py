"""Undo and redo by who may not have seen the newest step: in another tab, or at another desk."""

from __future__ import annotations

from typing import Literal

from masklet.studio.errors import ApiError
from masklet.studio.security import Requester
from masklet.studio.store.object_history import EventRecord
from masklet.studio.store.tables import Person
from masklet.studio.studio import Studio


def check_seen_step(
    studio: Studio, requester: Requester, video: str, how: Literal["undone", "redone"], seen: str
) -> None:
    """Raise if undo or redo would move another step than the one that a page shows.

    The newest step of the requester's own tab may always be undone. Call it with the history's lock.

    Args:
        studio: The studio.
        requester: Who asks.
        video: Its id.
        how: What the step becomes.
        seen: The batch of the step that the page shows; empty for none.

    Raises:
        ApiError: Somebody else, or another tab, has made or moved a step meanwhile, or is tracking.
    """
    state = studio.live.history(video).state
    undone = how == "undone"
    tracking = studio.propagations.get(video)
    if tracking is not None:
        who = "another tab" if tracking.plan.person == requester.id else tracking.name
        raise _refusal(how, f"{who} is tracking. Stop that first.")
    target = state.records[-1:] if undone else state.redo[:1]
    batch = target[0].batch if target else ""
    is_own = requester.client is not None and studio.step_clients.get(batch) == requester.client
    if batch == seen or (undone and is_own):
        return
    moved = next((step for step in (state.redo if undone else state.records) if step.batch == seen), None)
    if moved is not None:
        raise _refusal(how, f"that step is already {how}: {moved.title}.")
    if target and not undone:
        raise _refusal(how, f"another step has been undone meanwhile: {target[0].title}.")
    if state.records:
        newest = state.records[-1]
        raise _refusal(how, f"{_author(studio, requester, newest)} has made a newer step: {newest.title}.")


def _author(studio: Studio, requester: Requester, step: EventRecord) -> str:
    if step.person == requester.id:
        return "another tab"
    with studio.database.begin() as session:
        person = session.get(Person, step.person)
        return "somebody else" if person is None else person.name


def _refusal(how: str, reason: str) -> ApiError:
    return ApiError(409, "changed", f"nothing was {how}, because {reason}")
