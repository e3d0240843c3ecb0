"""Responses built from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from masklet.sessions.object_state import Span
from masklet.studio import schemas
from masklet.studio.errors import not_found
from masklet.studio.inference.propagation_plan import PropagationPlan
from masklet.studio.store import tables
from masklet.studio.store.object_history import EventRecord, ObjectView, chosen_candidates
from masklet.studio.store.project_files import ProjectFiles, timestamp
from masklet.studio.store.tables import Result
from masklet.studio.store.video_history import State, find_tracked_spans, holds_at, person_names, results
from masklet.types import Prompt

SKIPPED_NEIGHBOURS = 12  # frames around one that a person looked at already


def mask_view(row: Result) -> schemas.Mask:
    return schemas.Mask(
        object=row.object,
        counts=row.counts,
        iou=row.iou,
        score=row.score,
        confidence=row.confidence,
        box=row.box,  # type: ignore[arg-type]
        prompted=row.prompted,
    )


def frame_masks(
    session: Session, video: str, state: State, frame: int, objects: Sequence[int] | None = None
) -> list[schemas.Mask]:
    """The masks on a frame, of all objects or of some."""
    return [mask_view(row) for row in results(session, video, state.head, frame, frame + 1, objects)]


def object_view(obj: ObjectView, prompted: Iterable[int]) -> schemas.Object:
    return schemas.Object(
        id=obj.id,
        name=obj.name,
        color=obj.color,
        hidden=obj.hidden,
        label=obj.label,
        attributes=dict(obj.attributes),
        prompted=sorted(prompted),
    )


def prompt_view(prompt: Prompt, candidate: Mapping[str, Any] | None) -> schemas.Prompt:
    """A prompt, with the click whose candidate was chosen as its mask."""
    first: Mapping[str, Any] = candidate or {"positive": (), "negative": ()}
    return schemas.Prompt(
        positive=[*first["positive"], *prompt.positive],
        negative=[*first["negative"], *prompt.negative],
        box=prompt.box,
        mask=prompt.mask is not None,
        rank=None if candidate is None else candidate["rank"],
    )


def prompt_with_mask(prompt: Prompt) -> schemas.PromptWithMask:
    return schemas.PromptWithMask(
        positive=list(prompt.positive),
        negative=list(prompt.negative),
        box=prompt.box,
        mask=prompt.to_json().get("mask"),
    )


def _step_title(session: Session, state: State, record: EventRecord) -> str:
    """A step's title, and its author if several people worked on the video."""
    if len({step.person for step in (*state.records, *state.redo)}) < 2:
        return record.title
    names = person_names(session, {record.person})
    return f"{record.title}, by {names.get(record.person, 'someone')}"


def video_view(
    session: Session, video: tables.Video, state: State, propagation: schemas.Propagation | None
) -> schemas.Video:
    by_frame = sorted(state.session.prompts.items())
    chosen = chosen_candidates(state.records)
    prompts = [(frame, id, prompt) for frame, some in by_frame for id, prompt in some.items()]
    return schemas.Video(
        id=video.id,
        project=video.project,
        name=video.name,
        width=video.width,
        height=video.height,
        frames=video.frames,
        fps=video.fps,
        kind=video.kind,
        channel=video.channel,
        pixel_size=video.pixel_size,
        head=state.head,
        can_undo=bool(state.records),
        can_redo=bool(state.redo),
        undo=_step_title(session, state, state.records[-1]) if state.records else None,
        redo=_step_title(session, state, state.redo[0]) if state.redo else None,
        undo_step=state.records[-1].batch if state.records else None,
        redo_step=state.redo[0].batch if state.redo else None,
        objects=[object_view(obj, prompted_frames(state, id)) for id, obj in state.objects.items()],
        prompts=[
            schemas.FramePrompt(frame=frame, object=id, prompt=prompt_view(prompt, chosen.get((frame, id))))
            for frame, id, prompt in prompts
        ],
        reviewed=state.reviewed,
        tracked=find_tracked_spans(session, video.id, state.head),
        affected=changed_objects(state),
        propagation=propagation,
        unfinished=None if propagation is not None else _unfinished(video, state),
    )


def prompted_frames(state: State, id: int) -> list[int]:
    obj = state.session.objects.get(id)
    return [] if obj is None else sorted(obj.prompts)


def changed_objects(state: State) -> schemas.ChangedObjects | None:
    """Objects that were prompted or cleared since they were last tracked, and the first of these frames."""
    changed = {id: obj.changed for id, obj in state.session.objects.items() if obj.changed}
    if not changed:
        return None
    return schemas.ChangedObjects(
        objects=sorted(changed), start=min(min(frames) for frames in changed.values())
    )


def project_view(session: Session, project: tables.Project, files: ProjectFiles) -> schemas.Project:
    videos = session.scalars(
        select(tables.Video)
        .where(tables.Video.project == project.id)
        .order_by(tables.Video.created.desc(), tables.Video.id)
    ).all()
    return schemas.Project(
        id=project.id,
        name=project.name,
        policy=project.policy,
        model=project.model,
        classes=[schemas.Class.model_validate(entry) for entry in project.classes or ()],
        created=timestamp(project.created),
        videos=files.summaries(session, videos),
    )


def export_view(export: tables.Export, size: int | None) -> schemas.Export:
    return schemas.Export(
        id=export.id,
        video=export.video,
        project=export.project,
        format=export.format,
        state=export.state,
        done=export.done,
        total=export.total,
        file=export.file,
        bytes=size,
        message=export.message,
        notes=export.notes or [],
    )


def history_view(
    state: State, names: dict[str, str], client_of: Callable[[str], str | None], limit: int
) -> schemas.History:
    """The history, newest first.

    Args:
        state: Of the video.
        names: Of people, by id.
        client_of: The tab from which the steps of a batch came, as far as that is known.
        limit: The number of steps that are shown.
    """
    steps = [(step, True) for step in reversed(state.redo)] + [
        (step, False) for step in reversed(state.records)
    ]
    return schemas.History(
        steps=[
            schemas.HistoryStep(
                head=step.number,
                do=step.do,
                title=step.title,
                person=names.get(step.person, "somebody"),
                client=client_of(step.batch),
                at=timestamp(step.at),
                undone=undone,
            )
            for step, undone in steps[:limit]
        ]
    )


def mask_page(
    session: Session,
    video: str,
    state: State,
    start: int,
    stop: int | None,
    objects: list[int] | None,
    most: int,
) -> schemas.MaskPage:
    """The masks of some frames.

    Args:
        session: Of the database.
        video: Its id.
        state: Of the video.
        start: The first frame.
        stop: The frame after the last; None for the end of the video.
        objects: Ids; None for all objects.
        most: The number of frames of one page.
    """
    row = find_video(session, video)
    end = min(row.frames if stop is None else stop, row.frames)
    page_end = min(end, start + most)
    by_frame: dict[int, list[schemas.Mask]] = {}
    for result in results(session, video, state.head, start, page_end, objects):
        by_frame.setdefault(result.frame, []).append(mask_view(result))
    return schemas.MaskPage(
        size=(row.height, row.width),
        frames=[schemas.MasksOfFrame(frame=frame, masks=masks) for frame, masks in by_frame.items()],
        next=page_end if page_end < end else None,
    )


def strips_view(
    session: Session, video: str, state: State, start: int, stop: int, bins: int
) -> schemas.Strips:
    """Lowest confidence and fraction of absence of each object, over equal ranges of frames.

    Args:
        session: Of the database.
        video: Its id.
        state: Of the video.
        start: The first frame.
        stop: The frame after the last.
        bins: The number of stretches, at most one for each frame.
    """
    length = stop - start
    bins = max(1, min(bins, length))
    # The last bin whose first frame, start + floor(bin * length / bins), is not after this one.
    bin_of_frame = ((Result.frame - start + 1) * bins - 1) // length
    rows = session.execute(
        select(
            Result.object,
            bin_of_frame.label("bin"),
            func.min(Result.confidence),
            func.avg(case((Result.score <= 0, 1.0), else_=0.0)),
        )
        .where(holds_at(video, state.head), Result.frame >= start, Result.frame < stop)
        .group_by(Result.object, "bin")
    )
    confidence: dict[int, list[float | None]] = {id: [None] * bins for id in state.objects}
    absent: dict[int, list[float]] = {id: [0.0] * bins for id in state.objects}
    for id, bin, lowest, share in rows:
        if id in confidence:
            confidence[id][bin], absent[id][bin] = lowest, round(float(share), 3)
    return schemas.Strips(
        start=start,
        stop=stop,
        bins=bins,
        objects=[
            schemas.ObjectStrip(
                object=id,
                confidence=confidence[id],
                absent=absent[id],
                prompted=prompted_frames(state, id),
            )
            for id in state.objects
        ],
        reviewed=_shares(state.reviewed, start, stop, bins),
    )


def doubtful_view(
    session: Session, video: str, state: State, skip: Iterable[int]
) -> schemas.DoubtfulFrame | None:
    """The least certain frame that is not prompted, not reviewed, and not near one to skip.

    Of a stretch without the object only the ends count: there it was lost, or found.
    """
    neighbour = aliased(Result)
    seen_beside = exists().where(
        holds_at(video, state.head, neighbour),
        neighbour.object == Result.object,
        neighbour.frame.in_([Result.frame - 1, Result.frame + 1]),
        neighbour.score > 0,
    )
    conditions = [holds_at(video, state.head), Result.prompted.is_(False), Result.object.in_(state.objects)]
    conditions += [or_(Result.score > 0, seen_beside)]
    conditions += [~Result.frame.between(start, stop - 1) for start, stop in state.reviewed]
    conditions += [
        ~Result.frame.between(frame - SKIPPED_NEIGHBOURS, frame + SKIPPED_NEIGHBOURS) for frame in skip
    ]
    row = session.scalars(
        select(Result).where(*conditions).order_by(Result.confidence, Result.frame).limit(1)
    ).first()
    if row is None:
        return None
    return schemas.DoubtfulFrame(frame=row.frame, object=row.object, confidence=row.confidence)


def find_video(session: Session, id: str) -> tables.Video:
    """The row of a video.

    Raises:
        ApiError: There is no such video.
    """
    video = session.get(tables.Video, id)
    if video is None:
        raise not_found(f"there is no video {id}.")
    return video


def find_project(session: Session, id: str) -> tables.Project:
    """The row of a project.

    Raises:
        ApiError: There is no such project.
    """
    project = session.get(tables.Project, id)
    if project is None:
        raise not_found(f"there is no project {id}.")
    return project


def unfinished_plan(video: tables.Video, state: State, person: str) -> PropagationPlan | None:
    """The rest of the interrupted tracking, without parts that were undone; None if nothing is left."""
    if not video.unfinished:
        return None
    batches = {record.batch for record in state.records}
    return PropagationPlan.from_json(video.unfinished, person, batches)


def _unfinished(video: tables.Video, state: State) -> schemas.UnfinishedPropagation | None:
    plan = unfinished_plan(video, state, "")
    if plan is None:
        return None
    return schemas.UnfinishedPropagation(
        frame=plan.leg.frame,
        done=plan.done,
        total=plan.total,
        direction=plan.direction,
    )


def _shares(spans: list[Span], start: int, stop: int, bins: int) -> list[float]:
    """The share of each bin that the spans cover."""
    covered = np.zeros(stop - start)
    for first, end in spans:
        covered[max(0, first - start) : max(0, end - start)] = 1
    edges = np.arange(bins) * (stop - start) // bins
    sizes = np.diff(np.append(edges, stop - start))
    return [round(float(share), 3) for share in np.add.reduceat(covered, edges) / sizes]
