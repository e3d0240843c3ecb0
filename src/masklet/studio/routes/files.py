"""The files of a project, the files before and after one, comments, and the history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select, union

from masklet.errors import MaskletError
from masklet.studio import project_schemas, schemas
from masklet.studio.errors import not_found, public_message
from masklet.studio.messages import CommentsEvent
from masklet.studio.requests import CommentChange, FolderFiles, NewComment
from masklet.studio.routes import RequesterDep, StrictRoute, StudioDep
from masklet.studio.schemas import clean_text
from masklet.studio.store import tables
from masklet.studio.store.database import new_id
from masklet.studio.store.project_files import (
    count_states,
    filter_files,
    find_project_videos,
    natural_key,
    timestamp,
)
from masklet.studio.store.video_history import person_names
from masklet.studio.views import find_project, find_video

router = APIRouter(route_class=StrictRoute, tags=["files and people"])

Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/projects/{project}/files")
def files(
    studio: StudioDep,
    project: str,
    search: Annotated[str, Query(max_length=200)] = "",
    state: schemas.FileState | None = None,
    assignee: str | None = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Limit = 100,
) -> project_schemas.FileList:
    """The files of a project in the order of their names, those that match first to last.

    `search` are words that a name must have; `assignee=` without a value finds unassigned files.
    """
    with studio.database.begin() as session:
        find_project(session, project)
        all_files = studio.files.summaries(session, find_project_videos(session, project))
    matching = filter_files(all_files, search, state, assignee)
    return project_schemas.FileList(
        total=len(matching), counts=count_states(all_files), files=matching[offset : offset + limit]
    )


@router.post("/projects/{project}/files", status_code=201)
def open_files(
    studio: StudioDep, requester: RequesterDep, project: str, body: FolderFiles
) -> project_schemas.AddedFiles:
    """Open several files of the folder. Files that cannot be opened are listed, and the others are opened."""
    ids, failed = [], []
    for path in body.paths:
        try:
            ids.append(studio.uploads.add_from_folder(project, path))
        except MaskletError as error:
            failed.append(project_schemas.FailedFile(path=path, message=public_message(error)))
    with studio.database.begin() as session:
        find_project(session, project)
        videos = [video for video in find_project_videos(session, project) if video.id in set(ids)]
        opened = studio.files.summaries(session, videos)
    studio.audit(project, requester, f"open {len(opened)} files")
    return project_schemas.AddedFiles(files=opened, failed=failed)


@router.get("/videos/{video}/neighbours")
def neighbours(
    studio: StudioDep, video: str, state: schemas.FileState | None = None, assignee: str | None = None
) -> project_schemas.Neighbours:
    """The files before and after one in the list of its project, also filtered by state or person."""
    with studio.database.begin() as session:
        project = find_video(session, video).project
        all_files = studio.files.summaries(session, find_project_videos(session, project))
    matching = {file.id for file in filter_files(all_files, "", state, assignee)}
    order = [file.id for file in all_files]
    here = order.index(video)
    before = [id for id in order[:here] if id in matching]
    behind = [id for id in order[here + 1 :] if id in matching]
    return project_schemas.Neighbours(
        previous=before[-1] if before else None,
        next=behind[0] if behind else None,
        position=len(before) + 1 if video in matching else 0,
        total=len(matching),
    )


@router.get("/videos/{video}/comments")
def comments(studio: StudioDep, video: str) -> project_schemas.CommentList:
    """The comments on frames, by frame."""
    with studio.database.begin() as session:
        find_video(session, video)
        query = select(tables.Comment).where(tables.Comment.video == video)
        rows = session.scalars(query.order_by(tables.Comment.frame, tables.Comment.at)).all()
        names = person_names(session, {row.person for row in rows})
    return project_schemas.CommentList(comments=[_comment_view(row, names) for row in rows])


@router.post("/videos/{video}/comments", status_code=201)
def add_comment(
    studio: StudioDep, requester: RequesterDep, video: str, body: NewComment
) -> project_schemas.Comment:
    """Write a comment on a frame, or on an object there. Show comments as text, never as HTML."""
    with studio.database.begin() as session:
        if body.frame >= find_video(session, video).frames:
            raise not_found(f"there is no frame {body.frame}.")
        if body.object is not None:
            studio.live.history(video).state.object(body.object)
        fields = body.model_dump() | {"text": clean_text(body.text)}
        row = tables.Comment(id=new_id(), video=video, person=requester.id, **fields)
        session.add(row)
        session.flush()
    studio.hub.publish(video, CommentsEvent())
    return _comment_view(row, {requester.id: requester.name})


@router.patch("/videos/{video}/comments/{comment}")
def change_comment(
    studio: StudioDep, video: str, comment: str, body: CommentChange
) -> project_schemas.Comment:
    """Mark a comment as resolved, or reopen it."""
    with studio.database.begin() as session:
        row = session.get(tables.Comment, comment)
        if row is None or row.video != video:
            raise not_found(f"there is no comment {comment[:40]}.")
        row.resolved = body.resolved
        names = person_names(session, {row.person})
    studio.hub.publish(video, CommentsEvent())
    return _comment_view(row, names)


@router.get("/projects/{project}/audit")
def audit(studio: StudioDep, project: str, limit: Limit = 200) -> project_schemas.Audit:
    """The history of a project, newest first: steps of its files, comments, and changes of the project."""
    with studio.database.begin() as session:
        find_project(session, project)
        files = {video.id: video.name for video in find_project_videos(session, project)}
        steps, notes = tables.Step, tables.AuditEntry
        of_files = select(steps.at, steps.person, steps.video, steps.title).where(steps.video.in_(files))
        mine = select(notes.at, notes.person, notes.video, notes.title).where(notes.project == project)
        remarks = select(tables.Comment).where(tables.Comment.video.in_(files))
        entries = [
            *(
                (row.at, row.person, row.video, files[row.video], row.title)
                for row in session.execute(of_files.order_by(steps.at.desc()).limit(limit))
            ),
            *(
                (row.at, row.person, None, row.video, row.title)
                for row in session.execute(mine.order_by(notes.at.desc()).limit(limit))
            ),
            *(
                (row.at, row.person, row.video, files[row.video], f"comment on frame {row.frame}")
                for row in session.scalars(remarks.order_by(tables.Comment.at.desc()).limit(limit))
            ),
        ]
        names = person_names(session, {entry[1] for entry in entries})
    newest = sorted(entries, key=lambda entry: timestamp(entry[0]), reverse=True)[:limit]
    return project_schemas.Audit(
        entries=[
            project_schemas.AuditEntry(
                at=timestamp(at), person=names.get(person, "somebody"), video=video, file=file, title=title
            )
            for at, person, video, file, title in newest
        ]
    )


@router.get("/projects/{project}/people")
def people(studio: StudioDep, project: str) -> project_schemas.PeopleOfProject:
    """Who did something in a project, or is the assignee or reviewer of a file: names, in their order."""
    with studio.database.begin() as session:
        find_project(session, project)
        files = find_project_videos(session, project)
        ids = [file.id for file in files]
        steps, notes, remarks = tables.Step, tables.AuditEntry, tables.Comment
        active = union(
            select(steps.person).where(steps.video.in_(ids)),
            select(notes.person).where(notes.project == project),
            select(remarks.person).where(remarks.video.in_(ids)),
        )
        names = {name for file in files for name in (file.assignee, file.reviewer) if name}
        names |= set(person_names(session, set(session.scalars(active))).values())
    return project_schemas.PeopleOfProject(names=sorted(names, key=natural_key))


def _comment_view(row: tables.Comment, names: dict[str, str]) -> project_schemas.Comment:
    return project_schemas.Comment(
        id=row.id,
        frame=row.frame,
        object=row.object,
        text=row.text,
        resolved=row.resolved,
        person=names.get(row.person, "somebody"),
        at=timestamp(row.at),
    )
