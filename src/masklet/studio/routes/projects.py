"""Projects, and videos that come into them."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from masklet.studio import answers
from masklet.studio.errors import Refusal, missing
from masklet.studio.names import new_id, tidy_name
from masklet.studio.resumption import RESUMABLE
from masklet.studio.routes.common import Here, Sent, View
from masklet.studio.tables import Project, Step, Video
from masklet.studio.views import project_view

router = APIRouter(prefix="/projects", tags=["projects"])


class NewProject(BaseModel):
    name: str
    policy: str = RESUMABLE[0]


class ProjectChange(BaseModel):
    name: str | None = None
    policy: str | None = None


class Chosen(BaseModel):
    path: str


@router.get("", response_model=answers.Projects)
def projects(studio: Here) -> View:
    """All projects with their videos, newest first."""
    with studio.database.begin() as session:
        newest = session.scalars(select(Project).order_by(Project.created.desc(), Project.id))
        return {"projects": [project_view(session, each) for each in newest]}


@router.post("", status_code=201, response_model=answers.Project)
def add_project(studio: Here, body: NewProject) -> View:
    project = Project(id=new_id(), name=tidy_name(body.name), policy=_policy(body.policy))
    with studio.database.begin() as session:
        session.add(project)
        session.flush()
        return project_view(session, project)


@router.get("/{project}", response_model=answers.Project)
def project(studio: Here, project: str) -> View:
    with studio.database.begin() as session:
        return project_view(session, _found(session.get(Project, project), project))


@router.patch("/{project}", response_model=answers.Project)
def change_project(studio: Here, project: str, body: ProjectChange) -> View:
    """Rename a project, or choose what is remembered of objects from now on."""
    with studio.database.begin() as session:
        row = _found(session.get(Project, project), project)
        row.name = row.name if body.name is None else tidy_name(body.name)
        if body.policy is not None and _policy(body.policy) != row.policy:
            _check_unfollowed(session, project)
            row.policy = body.policy
        view = project_view(session, row)
    if body.policy is not None:
        for video in studio.videos_of(project):
            studio.live.drop(video)
    return view


@router.delete("/{project}", status_code=204)
def delete_project(studio: Here, project: str) -> None:
    """Delete a project with all its videos, masks and uploads."""
    studio.delete_project(project)


@router.post("/{project}/uploads", status_code=201, response_model=answers.Video)
def upload(studio: Here, project: str, file: Sent) -> View:
    """Send a video or picture."""
    return studio.video(studio.uploads.take(project, file.filename or "", file.file))


@router.post("/{project}/videos", status_code=201, response_model=answers.Video)
def choose(studio: Here, project: str, body: Chosen) -> View:
    """Open a file of the folder that the studio was started with."""
    return studio.video(studio.uploads.choose(project, body.path))


def _found(row: Project | None, id: str) -> Project:
    if row is None:
        raise missing(f"there is no project {id}.")
    return row


def _check_unfollowed(session: Session, project: str) -> None:
    """One script stands for one rule: it is settled once something was followed."""
    followed = select(Step.video).join(Video, Video.id == Step.video)
    if session.scalar(followed.where(Video.project == project, Step.do == "follow").limit(1)) is not None:
        raise Refusal(
            409, "busy", "objects were followed here already. Start a new project for another policy."
        )


def _policy(name: str) -> str:
    if name not in RESUMABLE:
        raise Refusal(422, "invalid", f"policy must be one of {', '.join(RESUMABLE)}. Got {name[:40]}.")
    return name
