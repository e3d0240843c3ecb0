"""The REST calls and the WebSocket, a file for every group of calls; and what they depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from masklet.studio.security import Requester
from masklet.studio.studio import Studio

ANSWER_SECONDS = 120  # that a request waits for the model at most


def get_studio(request: HTTPConnection) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def get_requester(request: HTTPConnection) -> Requester:
    return get_studio(request).people.identify(request)


StudioDep = Annotated[Studio, Depends(get_studio)]
RequesterDep = Annotated[Requester, Depends(get_requester)]
