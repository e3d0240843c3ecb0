"""What the server is, who sends the request, and what lies in the folder."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request, Response

from masklet.media.formats import FORMATS
from masklet.studio import schemas
from masklet.studio.exports import SCRIPT
from masklet.studio.inference.engine import RESUMABLE
from masklet.studio.requests import Rename
from masklet.studio.routes import RequesterDep, StudioDep
from masklet.studio.security import set_person_cookie

router = APIRouter(tags=["about"])

LIMITS = ("upload_bytes", "pixels", "frames", "objects", "videos", "queue", "points")


@router.get("/about")
def about(request: Request, response: Response, studio: StudioDep, requester: RequesterDep) -> schemas.About:
    """The model, the export formats, the limits, and who you are."""
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
        device=str(studio.model.device),
        folder=None if folder is None else folder.resolve().name,
        policies=list(RESUMABLE),
        person=schemas.Person(id=requester.id, name=requester.name),
        formats=[*formats, script],
        limits={name: getattr(studio.limits, name) for name in LIMITS},
    )


@router.put("/me")
def rename_me(studio: StudioDep, requester: RequesterDep, body: Rename) -> schemas.Person:
    """Choose the name that others see."""
    renamed = studio.people.rename(requester, body.name)
    return schemas.Person(id=renamed.id, name=renamed.name)


@router.get("/folder")
def list_folder(studio: StudioDep, path: str = "") -> schemas.FolderListing:
    """What can be chosen in the folder that the server was started with."""
    return schemas.FolderListing(path=path, entries=studio.paths.list_folder(path))
