"""The REST calls and the WebSocket, with a module for each group of calls, and their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from masklet.studio.requests import parse_json
from masklet.studio.security import Requester
from masklet.studio.studio import Studio

ANSWER_SECONDS = 120  # maximum time that a request waits for the model


def get_studio(request: HTTPConnection) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def get_requester(request: HTTPConnection) -> Requester:
    return get_studio(request).people.identify(request)


StudioDep = Annotated[Studio, Depends(get_studio)]
RequesterDep = Annotated[Requester, Depends(get_requester)]


class StrictRequest(Request):
    async def json(self) -> Any:
        return parse_json(await self.body())


class StrictRoute(APIRoute):
    """A route that reads its JSON with `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly
