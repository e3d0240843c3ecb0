"""What routes ask for: the studio, who sends the request, and a file that was sent."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, UploadFile
from pydantic import AfterValidator
from starlette.datastructures import UploadFile as StarletteUploadFile
from starlette.requests import HTTPConnection

from masklet.studio.security import Requester
from masklet.studio.studio import Studio

ANSWER_SECONDS = 120  # that a request waits for the model at most


def get_studio(request: HTTPConnection) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def get_requester(request: HTTPConnection) -> Requester:
    return get_studio(request).people.identify(request)


def _as_fastapi_upload(file: StarletteUploadFile) -> UploadFile:
    """FastAPI hands on Starlette's class, whatever a route declares."""
    return UploadFile(file.file, size=file.size, filename=file.filename, headers=file.headers)


SentFile = Annotated[UploadFile, AfterValidator(_as_fastapi_upload)]
StudioDep = Annotated[Studio, Depends(get_studio)]
RequesterDep = Annotated[Requester, Depends(get_requester)]
