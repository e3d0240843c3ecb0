"""Projects, and videos that are added to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.orm import Session

from masklet.studio import project_schemas, schemas
from masklet.studio.errors import ApiError
from masklet.studio.inference.inference import RESUMABLE
from masklet.studio.requests import ClassChange, FolderVideo, NewProject, NewProjectExport, ProjectChange
from masklet.studio.routes import RequesterDep, StrictRoute, StudioDep
from masklet.studio.schemas import clean_name
from masklet.studio.security import Requester
from masklet.studio.store.database import new_id
from masklet.studio.store.tables import Project, Step, Video
from masklet.studio.store.uploads import file_form, receive_form
from masklet.studio.studio import Studio
from masklet.studio.views import find_project, project_view

router = APIRouter(route_class=StrictRoute, prefix="/projects", tags=["projects"])


@router.get("")
def projects(studio: StudioDep) -> schemas.ProjectList:
    """All projects with their videos, newest first."""
    with studio.database.begin() as session:
        newest = session.scalars(select(Project).order_by(Project.created.desc(), Project.id))
        return schemas.ProjectList(
            projects=[project_view(session, project, studio.files) for project in newest]
        )


@router.post("", status_code=201)
def add_project(studio: StudioDep, body: NewProject) -> schemas.Project:
    """Begin a project.

    `policy` is the memory policy ([policies](policies.md)). It can be changed until the first tracking.
    """
    policy = RESUMABLE[0] if body.policy is None else _check_policy(body.policy)
    model = None if body.model is None else studio.models.check(body.model)
    project = Project(id=new_id(), name=clean_name(body.name), policy=policy, model=model)
    with studio.database.begin() as session:
        session.add(project)
        session.flush()
        return project_view(session, project, studio.files)


@router.get("/{project}")
def project(studio: StudioDep, project: str) -> schemas.Project:
    with studio.database.begin() as session:
        return project_view(session, find_project(session, project), studio.files)


@router.patch("/{project}")
def change_project(
    studio: StudioDep, requester: RequesterDep, project: str, body: ProjectChange
) -> schemas.Project:
    """Rename a project, choose another policy or model, or set its classes."""
    renamed: dict[str, str] = {}
    with studio.database.begin() as session:
        row = find_project(session, project)
        row.name = row.name if body.name is None else clean_name(body.name)
        if body.policy is not None and _check_policy(body.policy) != row.policy:
            _check_not_tracked(session, project)
            row.policy = body.policy
        if body.model is not None and studio.models.check(body.model) != row.model:
            _check_not_prompted(session, project)
            row.model = studio.models.check(body.model)
        if body.classes is not None:
            before = row.classes or []
            classes = body.classes if body.seen is None else merge_classes(body.classes, before, body.seen)
            renamed = find_renamed_classes(classes, {entry["name"] for entry in before})
            known = None if body.seen is None else [entry.name for entry in body.seen]
            row.classes = keep_added_classes(clean_classes(classes), before, known)
        view = project_view(session, row, studio.files)
    changes = ", ".join(sorted(body.model_fields_set - {"seen"}))
    studio.audit(project, requester, f"change the project: {changes or 'nothing'}")
    if body.policy is not None or body.model is not None:
        for video in view.videos:
            studio.live.drop(video.id)
    for video in view.videos if renamed else ():
        _rename_classes(studio, requester, video.id, renamed)
    return view


@router.delete("/{project}", status_code=204)
def delete_project(studio: StudioDep, project: str) -> None:
    """Delete a project with all its videos, masks and uploads."""
    studio.delete_project(project)


@router.post("/{project}/uploads", status_code=201, openapi_extra=file_form(file="file"))
async def upload(request: Request, studio: StudioDep, project: str) -> schemas.Video:
    """Send a video or image, as the field `file` of a multipart form.

    If there is no such project or no space, the upload is refused before it is read.
    """
    await run_in_threadpool(studio.uploads.check_room, project)
    async with receive_form(request, "file", studio.settings.spool, studio.quota) as form:
        id = await run_in_threadpool(studio.uploads.add_upload, project, form.file_name, form.file)
    return await run_in_threadpool(studio.video, id)


@router.post("/{project}/videos", status_code=201)
def open_video(studio: StudioDep, project: str, body: FolderVideo) -> schemas.Video:
    """Open a file of the folder that the server was started with. An image is a video of one frame.

    A file that is already open in the project is returned unchanged.
    """
    return studio.video(studio.uploads.add_from_folder(project, body.path))


@router.post("/{project}/imports", status_code=202, openapi_extra=file_form(file="file", video="text?"))
async def import_annotations(
    request: Request, studio: StudioDep, requester: RequesterDep, project: str
) -> project_schemas.Import:
    """Add the annotations of a file to the project's files: the field `file` of a multipart form.

    COCO, YouTube-VIS, Label Studio and masklet's script (JSON), CVAT for images and video (XML), YOLO (text),
    or a zip with such files. Masks and outlines become masks, boxes become box prompts, classes are created.
    A file is found by its name. `video`, an id, is the video for annotations without a file name of the
    project.
    """
    await run_in_threadpool(studio.quota.check)
    async with receive_form(request, "file", studio.settings.spool, studio.quota) as form:
        chosen = form.fields.get("video", b"").decode("utf-8", "replace").strip() or None
        job = await run_in_threadpool(
            studio.imports.start, project, requester, form.file, form.file_name, chosen
        )
    await run_in_threadpool(studio.audit, project, requester, f"import {job.total} annotations")
    return job.view()


@router.get("/{project}/imports/{id}")
def import_state(studio: StudioDep, project: str, id: str) -> project_schemas.Import:
    """The progress of an import, and its skipped entries. It is forgotten when the server stops."""
    return studio.imports.get(project, id).view()


@router.post("/{project}/exports", status_code=202)
def export_project(
    studio: StudioDep, requester: RequesterDep, project: str, body: NewProjectExport
) -> schemas.Export:
    """Write one zip file of all files with masks: images, classes and annotations, in train and val.

    `GET /api/exports/{export}` returns its progress. `yolo` can be used directly for training with YOLO.
    """
    with studio.database.begin() as session:
        find_project(session, project)
    studio.audit(project, requester, f"export as {body.format}")
    return studio.exports.start_project(project, body)


def find_renamed_classes(classes: Sequence[ClassChange], existing: Collection[str]) -> dict[str, str]:
    """New names of classes by those that they had.

    Raises:
        ApiError: Two classes have the same earlier name.
    """
    pairs = [(entry.was, clean_name(entry.name)) for entry in classes if entry.was in existing]
    pairs = [(was, name) for was, name in pairs if was != name]
    if len({was for was, _ in pairs}) < len(pairs):
        raise ApiError(
            422, "invalid", "two classes were renamed from the same class. Rename only one of them."
        )
    return {was: name for was, name in pairs if was is not None}


def merge_classes(
    classes: Sequence[ClassChange], before: Sequence[dict[str, Any]], seen: Sequence[schemas.Class]
) -> list[ClassChange]:
    """The classes edited by a person, merged with changes by others.

    Args:
        classes: As they were edited.
        before: As they are stored.
        seen: As they were when the edit began.

    Raises:
        ApiError: Both changed the same of a class.
    """
    stored = {entry["name"]: schemas.Class.model_validate(entry) for entry in before}
    shown = {entry.name: entry for entry in seen}
    merged = []
    for entry in classes:
        name = entry.was or entry.name
        if name not in shown:
            merged.append(entry)
        elif name in stored:
            merged.append(entry.model_copy(update=_newer_fields(entry, shown[name], stored[name])))
        elif entry.name != name or _changed_fields(entry, shown[name]):
            raise ApiError(
                409,
                "changed",
                f"someone else renamed or removed the class {name}. Open the classes again.",
            )
    return merged


def _newer_fields(entry: schemas.Class, shown: schemas.Class, stored: schemas.Class) -> dict[str, Any]:
    """The fields of a class that were changed by others and not by this edit.

    Raises:
        ApiError: Both changed one of them.
    """
    mine, theirs = _changed_fields(entry, shown), _changed_fields(stored, shown)
    theirs = [field for field in theirs if field in _changed_fields(stored, entry)]
    both = next((field for field in theirs if field in mine), None)
    if both is not None:
        words = f"someone else changed the {both} of the class {shown.name}. Open the classes again."
        raise ApiError(409, "changed", words)
    return {field: getattr(stored, field) for field in theirs}


def _changed_fields(one: schemas.Class, other: schemas.Class) -> list[str]:
    """The fields, besides the name, in which classes differ."""
    fields = ("color", "key", "attributes")
    return [field for field in fields if _plain(getattr(one, field)) != _plain(getattr(other, field))]


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def keep_added_classes(
    classes: list[dict[str, Any]], before: Sequence[dict[str, Any]], known: Sequence[str] | None
) -> list[dict[str, Any]]:
    """The classes with those that others added during the edit.

    Args:
        classes: As they were edited.
        before: As they are stored.
        known: Names that were there when the edit began; None for all.

    Returns:
        The classes; an added one loses a key that is taken.
    """
    if known is None:
        return classes
    names, keys = {entry["name"] for entry in classes}, {entry["key"] for entry in classes}
    added = [entry for entry in before if entry["name"] not in names and entry["name"] not in known]
    return classes + [{**entry, "key": None if entry["key"] in keys else entry["key"]} for entry in added]


def _rename_classes(studio: Studio, requester: Requester, video: str, renamed: Mapping[str, str]) -> None:
    """Have the objects of a video follow classes that were renamed: one step of undo."""
    batch, ids = new_id(), []
    with studio.live.history(video).change(requester.id) as change:
        for obj in list(change.state.objects.values()):
            if obj.label is not None and obj.label in renamed:
                fields = {"id": obj.id, **change.set_class(obj, renamed[obj.label])}
                step = change.add("object", fields, f"class of {obj.name}", batch=batch)
                ids.append(obj.id)
    if ids:
        studio.publish_change(video, requester, step, [], ids)


def clean_classes(classes: Sequence[schemas.Class]) -> list[dict[str, Any]]:
    """Classes as they are stored: names cleaned, names and keys each only once."""
    cleaned = [
        entry.model_copy(update={"name": clean_name(entry.name), "color": entry.color.lower()})
        for entry in classes
    ]
    for field, values in (
        ("name", [entry.name for entry in cleaned]),
        ("key", [entry.key.lower() for entry in cleaned if entry.key is not None]),
    ):
        repeated = next((value for value in values if values.count(value) > 1), None)
        if repeated is not None:
            raise ApiError(422, "invalid", f"two classes have the {field} {repeated}. Change one of them.")
    return [entry.model_dump(exclude={"was"}) for entry in cleaned]


def _check_not_tracked(session: Session, project: str) -> None:
    """One script has one policy: it cannot change once something was tracked."""
    tracked = select(Step.video).join(Video, Video.id == Step.video)
    if session.scalar(tracked.where(Video.project == project, Step.do == "follow").limit(1)) is not None:
        raise ApiError(
            409,
            "busy",
            "objects were already tracked in this project. Start a new project for another policy.",
        )


def _check_not_prompted(session: Session, project: str) -> None:
    """Raise an error if objects were prompted, because another model cannot use their memories."""
    prompted = select(Step.video).join(Video, Video.id == Step.video)
    if session.scalar(prompted.where(Video.project == project, Step.do == "prompt").limit(1)) is not None:
        raise ApiError(
            409,
            "busy",
            "objects were already prompted in this project. Start a new project for another model.",
        )


def _check_policy(name: str) -> str:
    if name not in RESUMABLE:
        raise ApiError(422, "invalid", f"policy must be one of {', '.join(RESUMABLE)}. Got {name[:40]}.")
    return name
