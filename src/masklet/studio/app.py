"""The application: the page, the API's routes, and background tasks."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Lifespan, Scope

from masklet.studio.errors import add_error_handlers, as_api_error
from masklet.studio.inference.decoder import start_fork_server
from masklet.studio.routes import (
    about,
    events,
    files,
    image,
    label_studio,
    projects,
    prompts,
    propagation,
    videos,
)
from masklet.studio.schemas import Error
from masklet.studio.security import SecurityMiddleware, set_person_cookie
from masklet.studio.studio import Studio

PAGE = Path(__file__).with_name("page")
MAINTENANCE_SECONDS = 60
LOCAL_ADDRESS = re.compile(r'\b(href|src)="([\w./-]+)"')  # in index.html; absolute ones have a colon
THREADS = 128  # concurrent requests; each one that waits for the model uses one

log = logging.getLogger(__name__)

ERROR_RESPONSE: dict[str, Any] = {"model": Error, "description": "What is wrong, in a sentence"}


def make_app(studio: Studio) -> FastAPI:
    """The server's application around a studio. The studio is closed when the application ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        studio.hub.start()
        start_fork_server()
        studio.exports.resume()
        maintenance = asyncio.create_task(_maintain(studio))
        yield
        maintenance.cancel()
        with suppress(asyncio.CancelledError):
            await maintenance
        studio.close()

    app = make_api(lifespan)
    app.state.studio = studio
    app.add_middleware(SecurityMiddleware, settings=studio.settings)

    version = _page_version()

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        html = (PAGE / "index.html").read_text()
        html = LOCAL_ADDRESS.sub(rf'\1="/page-{version}/\2"', html)
        response = Response(html, media_type="text/html")
        set_person_cookie(request, response)
        return response

    app.mount(f"/page-{version}", CachedFiles(PAGE, "public, max-age=31536000, immutable"))
    app.mount("/", CachedFiles(PAGE, "no-cache"))
    return app


class CachedFiles(StaticFiles):
    """Static files with cache headers. "no-cache": the browser revalidates, and usually gets a 304."""

    def __init__(self, directory: Path, cache_control: str) -> None:
        super().__init__(directory=directory)
        self._cache_control = cache_control

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = self._cache_control
        return response


def _page_version() -> str:
    """A word that changes with the page's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in PAGE.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(PAGE)} {path.stat().st_size}".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


async def _maintain(studio: Studio) -> None:
    """Close idle videos, remove old files, back up: every minute, even if one of these fails."""
    while True:
        tasks = (
            studio.live.close_idle,
            studio.exports.remove_old,
            studio.database.back_up_daily,
            return_free_memory,
        )
        for task in tasks:
            try:
                await asyncio.to_thread(task)
            except Exception as error:
                expected = as_api_error(error)
                log.warning("%s failed: %s", task.__qualname__, expected or error, exc_info=expected is None)
        await asyncio.sleep(MAINTENANCE_SECONDS)


def return_free_memory() -> None:
    """Return memory to the system that glibc keeps for each thread.

    Masks of many megabytes are used on many threads. Without this, each thread keeps its maximum.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    trim(0)


def make_api(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The API's routes, and errors as sentences. Its OpenAPI description needs no studio."""
    app = FastAPI(
        title="masklet studio",
        version=version("masklet"),
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from other sites
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=_operation_id,
        responses={"4XX": ERROR_RESPONSE},
    )
    for module in (about, projects, files, videos, prompts, propagation, events, image):
        app.include_router(module.router, prefix="/api")
    app.include_router(videos.exports_router, prefix="/api")
    app.include_router(label_studio.router, prefix="/label-studio")
    add_error_handlers(app)
    return app


def _operation_id(route: Any) -> str:  # FastAPI declares APIRoute, but may pass other classes
    """The name of an operation in generated clients."""
    return "_".join([*map(str, route.tags), route.name]).replace(" ", "_")
