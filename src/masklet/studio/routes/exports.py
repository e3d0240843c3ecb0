"""Files to take away."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import BaseModel

from masklet.studio import answers
from masklet.studio.routes.common import Here, ObjectId, View

router = APIRouter(tags=["exports"])


class Wish(BaseModel):
    format: str
    objects: list[ObjectId] | None = None


@router.post("/videos/{video}/exports", status_code=202, response_model=answers.Export)
def ask(studio: Here, video: str, body: Wish) -> View:
    """Have a file made of the masks that stand now."""
    return studio.exports.ask(video, body.format, body.objects)


@router.get("/exports/{export}", response_model=answers.Export)
def export(studio: Here, export: str) -> View:
    return studio.exports.view(studio.exports.get(export))


@router.get("/exports/{export}/file", response_class=FileResponse)
def file(studio: Here, export: str) -> FileResponse:
    path = studio.exports.file(export)
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")
