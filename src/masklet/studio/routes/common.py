"""What all routes need: the studio, and who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, UploadFile
from pydantic import AfterValidator, Field
from starlette.datastructures import UploadFile as AnyUploadFile
from starlette.requests import HTTPConnection

from masklet.studio.people import Who
from masklet.studio.studio import Studio

View = dict[str, Any]

FAR = 10_000_000
Frame = Annotated[int, Field(ge=0, le=FAR)]
Stop = Annotated[int, Field(ge=-1, le=FAR)]
ObjectId = Annotated[int, Field(ge=1, le=1_000_000)]


def studio_of(request: HTTPConnection) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def who_asks(request: HTTPConnection) -> Who:
    return studio_of(request).people.of(request)


def _sent(file: AnyUploadFile) -> UploadFile:
    """FastAPI hands on Starlette's class, whatever a route says."""
    return UploadFile(file.file, size=file.size, filename=file.filename, headers=file.headers)


Sent = Annotated[UploadFile, AfterValidator(_sent)]
Here = Annotated[Studio, Depends(studio_of)]
Asking = Annotated[Who, Depends(who_asks)]
