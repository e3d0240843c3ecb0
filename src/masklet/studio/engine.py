"""What the model does with a video: answer prompts, and follow. `VideoSession` does it.

What that needs is taken from the database before, and what came of it is put there afterwards. Nothing else
is remembered in between.

All of it runs on the worker's thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from masklet.errors import PromptError
from masklet.model import Sam2
from masklet.sessions.events import KINDS, Followed
from masklet.sessions.image import ImageSession
from masklet.sessions.video import VideoSession
from masklet.studio.errors import ApiError, limit_exceeded, not_found
from masklet.studio.ledger import Change, Found, State
from masklet.studio.live import Live
from masklet.studio.object_history import Noted, past_of
from masklet.studio.propagation_plan import Course
from masklet.studio.result_cache import Known, Rows
from masklet.studio.resumption import Resumption, trim
from masklet.studio.schemas import Candidate
from masklet.studio.settings import Limits
from masklet.studio.tables import Result
from masklet.tracking.bank import POINTERS
from masklet.types import ImageCandidates, MaskPrediction, Masks, Prompt


class Engine:
    """The model, and its five uses."""

    def __init__(self, model: Sam2, limits: Limits) -> None:
        self.model = model
        self._limits = limits
        self._rows = Rows(limits.rows, model.device)
        self._resumption = Resumption(model, self._rows)

    def look(self, live: Live, frame: int) -> None:
        """Encode a frame, so that prompts on it are answered at once."""
        VideoSession(self.model, live.frames, features=live.features).features(frame)

    def prompt(
        self, live: Live, person: str, frame: int, id: int, prompt: Prompt, *, offer: bool
    ) -> list[Candidate]:
        """Answer a prompt, and let the answer stand. Returns what else a single click may have meant."""
        with live.ledger.change(person) as change:
            if id not in change.state.things and len(change.state.things) >= self._limits.objects:
                raise limit_exceeded(
                    f"a video may have up to {self._limits.objects} objects. Delete one first."
                )
            past = past_of(change.state.steps, id)
            passed = None if past is None else past.passed(frame)
            near = range(0) if passed is None else range(frame - POINTERS, frame + POINTERS + 1)
            session = self._resumption.session(
                change.database, live, change.state, near, frame=frame, ids=[id]
            )
            said = session.script.said(frame, id, prompt)
            doubt = offer and said.clicks == 1 and said.box is None and said.mask is None
            answer = session.answer(frame, id, prompt)
            step = change.note(
                "prompt", {"frame": frame, "id": id, "prompt": prompt.to_json()}, _title(prompt, frame)
            )
            self._put(change, step.number, session, frame, [id])
        if not doubt:
            return []
        masks, chosen = answer.candidates, answer.chosen
        live.offered = {(frame, id): masks}
        return [
            Candidate(rank=rank, iou=round(float(iou), 4), counts=mask["counts"], chosen=rank == chosen)
            for rank, (iou, mask) in enumerate(zip(masks.iou, masks.rle(), strict=True))
        ]

    def choose(self, live: Live, person: str, frame: int, id: int, rank: int) -> None:
        """Take another of the candidates of the last click: its mask is the answer from then on."""
        offered = live.offered.get((frame, id))
        if offered is None or not 0 <= rank < len(offered):
            raise not_found(f"object {id} has no candidate {rank} on frame {frame}: click once, then choose.")
        self.prompt(live, person, frame, id, Prompt(mask=offered[rank]), offer=False)
        live.offered[frame, id] = offered

    def clear(self, live: Live, person: str, frame: int, id: int) -> None:
        """Take back what was said of an object on a frame."""
        with live.ledger.change(person) as change:
            past = past_of(change.state.steps, id)
            if past is None or frame not in past.prompted:
                raise not_found(f"object {id} has no prompt on frame {frame}.")
            step = change.note("clear", {"frame": frame, "id": id}, f"clear frame {frame}")
            alone = past.prompted == {frame}
            change.end(step.number, Result.object == id, *([] if alone else [Result.frame == frame]))
            live.offered.pop((frame, id), None)

    def follow(self, live: Live, course: Course) -> Iterator[list[int]]:
        """Follow frame by frame; a frame's masks stand when the ids that were followed to it are yielded.

        A prompt by somebody else in between is heeded from the next frame on.
        """
        step, head = -1 if course.reverse else 1, -1
        session: VideoSession | None = None
        found: Iterator[Masks] = iter(())
        while course.left:
            with live.ledger.change(course.person) as change:
                if session is None or change.state.head != head:
                    session = self._setting_out(change.database, live, change.state, course)
                    ids = [id for id in course.objects or session.ids if id in session.ids]
                    if not ids:
                        raise ApiError(409, "nothing", "there is no object left to follow.")
                    chosen = ids if course.objects is not None else None
                    found = session.propagate(
                        course.frame, course.stop, reverse=course.reverse, objects=chosen
                    )
                masks = next(found)
                new = [id for id in masks.ids if masks.frame not in session.objects[id].prompted]
                last = session.script.steps[-1]
                course.frame += step
                if isinstance(last, Followed) and last.stop == course.frame:
                    number = _noted(change, last, course.batch)
                    self._put(change, number, session, masks.frame, new)
                change.leave_unfinished(None if course.rest is None else course.rest.to_json())
            head = live.ledger.state.head
            trim(session, masks.frame)
            yield new

    def picture(self, image: object, prompts: list[Prompt]) -> list[ImageCandidates]:
        """Masks for prompts on a picture; nothing is kept."""
        session = ImageSession(self.model, image)
        return [session.segment(prompt) for prompt in prompts]

    def _setting_out(self, database: Session, live: Live, state: State, course: Course) -> VideoSession:
        near = range(course.frame - POINTERS, course.frame + POINTERS + 1)
        before = course.frame + (1 if course.reverse else -1)
        session = self._resumption.session(database, live, state, near, at=(before, course.reverse))
        unknown = [id for id in course.objects or () if id not in session.ids]
        if unknown and len(unknown) == len(course.objects or ()):
            raise PromptError(f"object {unknown[0]} has no prompt yet. Click on it first.")
        return session

    def _put(self, change: Change, number: int, session: VideoSession, frame: int, ids: list[int]) -> None:
        for id in ids:
            each = session.objects[id]
            prompted = frame in each.prompted
            memory = (each.pending if prompted else each.bank.tracked).get(frame)
            answer = each.answers[frame]
            assert isinstance(answer, MaskPrediction)  # a session so short gives up none of its answers
            state = {} if prompted else each.policy.state(each.bank)
            close = frame in each.drawn
            known = Known(answer, None if memory is None else memory.tokens, state, close)
            anchor = not prompted and frame in each.bank.anchors
            found = _found(session.masks(frame).select(id), known, prompted=prompted, anchor=anchor)
            row = change.put(number, found)
            self._rows.put(row, known)


def _noted(change: Change, last: Followed, batch: str) -> int:
    """The step under which the newest frame stands: a new one, or the last one, which grew."""
    said: dict[str, Any] = {"start": last.start, "stop": last.stop, "reverse": last.reverse}
    said |= {} if last.objects is None else {"objects": list(last.objects)}
    steps = [step for step in change.state.steps if step.do in KINDS]
    if steps and _grew(steps[-1], last):
        change.extend(steps[-1].number, said)
        return steps[-1].number
    way = "backward" if last.reverse else "forward"
    return change.note("follow", said, f"follow {way} from frame {last.start}", batch=batch).number


def _grew(step: Noted, now: Followed) -> bool:
    """Whether the session's last step is this one, some frames later."""
    before = step.outline
    return isinstance(before, Followed) and (before.start, before.reverse, before.objects) == (
        now.start,
        now.reverse,
        now.objects,
    )


def _found(masks: Masks, known: Known, *, prompted: bool, anchor: bool) -> Found:
    """One object's mask, as it is kept."""
    box = [float(side) for side in masks.boxes[0]]
    iou, score = float(masks.iou[0]), float(masks.score[0])
    return Found(
        object=masks.ids[0],
        frame=masks.frame,
        prompted=prompted,
        anchor=anchor,
        rle=masks.rle()[0],
        box=box if box[2] > box[0] else None,
        iou=round(iou, 4),
        score=round(score, 3),
        confidence=round(max(iou, 0.0) / (1 + math.exp(-min(max(score, -50.0), 50.0))), 4),
        parts=known.to_bytes(),
    )


def _title(prompt: Prompt, frame: int) -> str:
    if prompt.mask is not None:
        return f"mask on frame {frame}"
    return f"{'box' if prompt.box is not None else 'click'} on frame {frame}"
