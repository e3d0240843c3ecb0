"""What the API says of things: plain JSON from what the database holds, in the forms of docs/api.md."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from masklet.studio.ledger import State, spans_followed
from masklet.studio.object_history import Noted, Thing, outline_of, past_of, reviewed_of, things_of
from masklet.studio.propagation_plan import Course
from masklet.studio.tables import Export, Project, Result, Step, Video
from masklet.types import Prompt

View = dict[str, Any]


def mask_view(row: Result) -> View:
    return {
        "object": row.object,
        "counts": row.counts,
        "iou": row.iou,
        "score": row.score,
        "confidence": row.confidence,
        "box": row.box,
        "prompted": row.prompted,
    }


def object_view(thing: Thing, prompted: list[int]) -> View:
    return {
        "id": thing.id,
        "name": thing.name,
        "color": thing.color,
        "hidden": thing.hidden,
        "prompted": prompted,
    }


def prompt_view(prompt: Prompt) -> View:
    return {
        "positive": [list(point) for point in prompt.positive],
        "negative": [list(point) for point in prompt.negative],
        "box": None if prompt.box is None else list(prompt.box),
        "mask": prompt.mask is not None,
    }


def video_view(session: Session, video: Video, state: State, propagation: View | None) -> View:
    """All that a page needs to draw itself, except masks."""
    script = outline_of(state.steps)
    said = [(frame, id, prompt) for frame in sorted(script) for id, prompt in script[frame].items()]
    prompted = {id: [frame for frame, of, _ in said if of == id] for id in state.things}
    unfinished = video.unfinished and Course.from_json(video.unfinished, "")
    return {
        "id": video.id,
        "project": video.project,
        "name": video.name,
        "width": video.width,
        "height": video.height,
        "frames": video.frames,
        "fps": video.fps,
        "kind": video.kind,
        "head": state.head,
        "can_undo": bool(state.steps),
        "can_redo": bool(state.redo),
        "undo": _batch_title(state.steps[-1:]),
        "redo": _batch_title(state.redo[:1]),
        "objects": [object_view(thing, prompted[thing.id]) for thing in state.things.values()],
        "prompts": [
            {"frame": frame, "object": id, "prompt": prompt_view(prompt)} for frame, id, prompt in said
        ],
        "reviewed": state.reviewed,
        "followed": spans_followed(session, video.id, state.head),
        "affected": affected(state),
        "propagation": propagation,
        "unfinished": None
        if not unfinished or propagation is not None
        else {
            "frame": unfinished.frame,
            "done": unfinished.done,
            "total": unfinished.total,
            "direction": unfinished.direction,
        },
    }


def affected(state: State) -> View | None:
    """Objects of which something was said or taken back since they were last followed, and from where on."""
    pasts = {id: past_of(state.steps, id) for id in state.things}
    changed = {id: past.changed for id, past in pasts.items() if past is not None and past.changed}
    if not changed:
        return None
    return {"objects": sorted(changed), "start": min(min(frames) for frames in changed.values())}


def project_view(session: Session, project: Project) -> View:
    videos = session.scalars(
        select(Video).where(Video.project == project.id).order_by(Video.created.desc(), Video.id)
    ).all()
    return {
        "id": project.id,
        "name": project.name,
        "policy": project.policy,
        "created": project.created.isoformat(),
        "videos": [_line(session, video) for video in videos],
    }


def _line(session: Session, video: Video) -> View:
    """A video in a list."""
    steps = session.scalars(
        select(Step).where(Step.video == video.id, Step.number <= video.head).order_by(Step.number)
    )
    noted = [Noted(**{name: getattr(step, name) for name in Noted.__dataclass_fields__}) for step in steps]
    return {
        "id": video.id,
        "name": video.name,
        "width": video.width,
        "height": video.height,
        "frames": video.frames,
        "fps": video.fps,
        "kind": video.kind,
        "created": video.created.isoformat(),
        "objects": len(things_of(noted)),
        "reviewed": sum(stop - start for start, stop in reviewed_of(noted)),
    }


def export_view(export: Export, size: int | None) -> View:
    names = ("id", "video", "format", "state", "done", "total", "file", "message")
    return {name: getattr(export, name) for name in names} | {"bytes": size}


def count(session: Session, table: type[Video] | type[Export]) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def _batch_title(steps: tuple[Noted, ...]) -> str | None:
    return steps[0].title if steps else None
