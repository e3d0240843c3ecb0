"""The application: routes, the door, and errors as sentences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from masklet.errors import MaskletError
from masklet.studio.answers import Error
from masklet.studio.errors import Refusal, refusal_of
from masklet.studio.footage import warm_up
from masklet.studio.people import greet
from masklet.studio.routes import (
    about,
    events,
    exports,
    following,
    image,
    label_studio,
    projects,
    prompts,
    videos,
)
from masklet.studio.security import Guard
from masklet.studio.studio import Studio

PAGE = Path(__file__).with_name("page")
THREADS = 128  # requests at once; those that wait for the model each hold one

ERROR: dict[str, Any] = {"model": Error, "description": "What is wrong, in a sentence"}

log = logging.getLogger(__name__)


def make_app(studio: Studio) -> FastAPI:
    """The server's application around a studio, which ends with it."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        studio.hub.start()
        warm_up()
        tidying = asyncio.create_task(studio.tidy())
        yield
        tidying.cancel()
        studio.close()

    app = FastAPI(
        title="masklet studio",
        version=version("masklet"),
        lifespan=life,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=_called,
        responses={"4XX": ERROR},
    )
    app.state.studio = studio
    for part in (about, projects, videos, prompts, following, exports, events, image):
        app.include_router(part.router, prefix="/api")
    app.include_router(label_studio.router, prefix="/label-studio")
    app.add_exception_handler(MaskletError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guard, settings=studio.settings)

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        response = Response((PAGE / "index.html").read_bytes(), media_type="text/html")
        greet(request, response)
        return response

    app.mount("/", StaticFiles(directory=PAGE))
    return app


def _called(route: Any) -> str:  # FastAPI says APIRoute, and may hand over what only looks like one
    """The name of a call, by which generated clients know it."""
    return "_".join([*map(str, route.tags), route.name]).replace(" ", "_")


def _answer(refusal: Refusal) -> JSONResponse:
    headers = {} if refusal.retry is None else {"retry-after": str(refusal.retry)}
    said = {"error": refusal.kind, "message": _sentence(str(refusal))}
    return JSONResponse(said, refusal.status, headers)


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:]


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, MaskletError)
    return _answer(refusal_of(error))


def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return _answer(Refusal(422, "invalid", f"{where or 'the request'}: {first['msg']}."))


def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "missing" if error.status_code == 404 else "invalid"
    return _answer(Refusal(error.status_code, kind, f"{error.detail}."))


def _failed(request: Request, error: Exception) -> Response:
    log.exception("a request failed", exc_info=error)
    return _answer(Refusal(500, "server", "the server made a mistake; its log says which."))
