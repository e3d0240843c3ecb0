"""Information on the server, the requester, and the server's folder."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from masklet.media.formats import FORMATS
from masklet.studio import project_schemas, schemas
from masklet.studio.exports import SCRIPT
from masklet.studio.inference.decoder import THUMBNAIL_HEIGHT
from masklet.studio.inference.inference import RESUMABLE
from masklet.studio.inference.worker import Job, Priority
from masklet.studio.requests import ModelName, Rename
from masklet.studio.routes import ANSWER_SECONDS, RequesterDep, StrictRoute, StudioDep
from masklet.studio.security import set_person_cookie
from masklet.studio.store.tables import Video
from masklet.studio.store.uploads import read_once

router = APIRouter(route_class=StrictRoute, tags=["about"])

LIMITS = ("upload_bytes", "pixels", "frames", "objects", "videos", "queue", "points")


@router.get("/about")
def about(request: Request, response: Response, studio: StudioDep, requester: RequesterDep) -> schemas.About:
    """The model, the export formats, the limits, and your name."""
    set_person_cookie(request, response)
    formats = [
        schemas.ExportFormat(id=format.name, title=format.title, file=format.path)
        for format in FORMATS.values()
    ]
    script = schemas.ExportFormat(id=SCRIPT, title="Script, for masklet track --script", file="session.json")
    folder = studio.settings.folder
    return schemas.About(
        version=version("masklet"),
        model=studio.model_name,
        model_note=studio.models.view(studio.model_name).note,
        device=str(studio.model.device),
        folder=None if folder is None else folder.resolve().name,
        policies=list(RESUMABLE),
        person=schemas.Person(id=requester.id, name=requester.name),
        formats=[*formats, script],
        limits={name: getattr(studio.limits, name) for name in LIMITS},
    )


@router.get("/models")
def models(studio: StudioDep) -> project_schemas.ModelList:
    """The models that projects can use: nano, the folder's checkpoints, published ones that were fetched."""
    return project_schemas.ModelList(models=studio.models.views())


@router.post("/models/measure")
def measure_model(studio: StudioDep, requester: RequesterDep, body: ModelName) -> project_schemas.Model:
    """Measure how long a click and a frame take on this machine. The model is loaded for it."""
    studio.models.check(body.name)
    job = Job(studio.models.measure(body.name))
    studio.worker.add(requester.id, Priority.encode, job).done.result(ANSWER_SECONDS)
    return studio.models.view(body.name)


@router.put("/me")
def rename_me(studio: StudioDep, requester: RequesterDep, body: Rename) -> schemas.Person:
    """Choose the name that others see."""
    renamed = studio.people.rename(requester, body.name)
    return schemas.Person(id=renamed.id, name=renamed.name)


@router.get("/folder")
def list_folder(
    studio: StudioDep,
    path: str = "",
    search: Annotated[str, Query(max_length=200)] = "",
    project: str | None = None,
) -> project_schemas.FolderListing:
    """The files in the folder that the server was started with.

    Folders come first, names in natural order. `search` has words that a name must contain. With a project,
    `video` shows which files are open there.
    """
    entries = studio.paths.list_folder(path, search)
    if project is not None:
        with studio.database.begin() as session:
            rows = session.execute(select(Video.place, Video.id).where(Video.project == project))
            opened = {place: id for place, id in rows}
        entries = [
            entry.model_copy(update={"video": opened.get(f"folder:{entry.path}")}) for entry in entries
        ]
    return project_schemas.FolderListing(path=path, entries=entries)


@router.get("/folder/thumbnail.jpg", response_class=Response)
def folder_thumbnail(studio: StudioDep, path: str) -> Response:
    """The first frame of a file in the folder as JPEG, 72 pixels high."""
    file = studio.paths.resolve_in_folder(path)
    size = (4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT)
    key = (f"folder:{path}", file.stat().st_mtime_ns, *size, None)
    jpeg = studio.jpegs.get(key)
    if jpeg is None:
        jpeg = read_once(file, file.name, studio.limits, lambda decoder: decoder.jpeg(0, *size))
        studio.jpegs[key] = jpeg
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=60"})
