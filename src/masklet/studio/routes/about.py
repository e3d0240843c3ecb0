"""What the server is, who asks, and what lies in the folder."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from masklet.media.formats import FORMATS
from masklet.studio import answers
from masklet.studio.exports import SCRIPT
from masklet.studio.people import greet
from masklet.studio.resumption import RESUMABLE
from masklet.studio.routes.common import Asking, Here, View

router = APIRouter(tags=["about"])

LIMITS = ("upload_bytes", "pixels", "frames", "objects", "videos", "queue", "points")


class Name(BaseModel):
    name: str


@router.get("/about", response_model=answers.About)
def about(request: Request, response: Response, studio: Here, who: Asking) -> View:
    """The model, the formats, the limits, and who asks."""
    greet(request, response)
    formats = [{"id": each.name, "title": each.title, "file": each.path} for each in FORMATS.values()]
    script = {"id": SCRIPT, "title": "Script, for masklet track --script", "file": "session.json"}
    folder = studio.settings.folder
    return {
        "version": version("masklet"),
        "model": studio.model_name,
        "device": str(studio.model.device),
        "folder": None if folder is None else folder.resolve().name,
        "policies": list(RESUMABLE),
        "person": {"id": who.id, "name": who.name},
        "formats": [*formats, script],
        "limits": {name: getattr(studio.limits, name) for name in LIMITS},
    }


@router.put("/me", response_model=answers.Person)
def call_me(studio: Here, who: Asking, body: Name) -> View:
    """Say what you want to be called."""
    renamed = studio.people.rename(who, body.name)
    return {"id": renamed.id, "name": renamed.name}


@router.get("/folder", response_model=answers.Folder)
def folder(studio: Here, path: str = "") -> View:
    """What can be chosen in the folder that the studio was started with."""
    return {"path": path, "entries": [asdict(each) for each in studio.places.entries(path)]}
