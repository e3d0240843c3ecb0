"""The studio as a running server."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from masklet.errors import MaskletError
from masklet.model import Sam2
from masklet.studio.app import make_app
from masklet.studio.connections import bounded_protocol
from masklet.studio.settings import Settings, is_loopback
from masklet.studio.studio import Studio

MESSAGE_BYTES = 64 * 2**10  # of one WebSocket message


def address(settings: Settings) -> str:
    """Where the page is; with the token, for whoever opens it first."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    token = "" if settings.token is None else f"?token={settings.token}"
    return f"http://{host}:{settings.port}/{token}"


def read_token(path: Path) -> str:
    """The token in a file's first line."""
    try:
        token = path.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MaskletError(f"the token file {path} cannot be read: {error}.") from error
    if not token:
        raise MaskletError(f"the token file {path} is empty. Its first line must be the token.")
    return token


def token_for(host: str, token: str | None) -> str | None:
    """The token that calls must show: none on loopback, else the one given or a new one."""
    if token is not None and len(token) < 16:
        raise MaskletError("a token needs at least 16 characters. Leave it out, and one is made.")
    return token or (None if is_loopback(host) else secrets.token_urlsafe(24))


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves the application: with bounded messages and connections."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        ws_max_size=MESSAGE_BYTES,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        http=bounded_protocol(),  # type: ignore[arg-type]  # uvicorn calls it; it need not be a class
    )


def serve(settings: Settings, model: Sam2, model_name: str, *, browser: bool) -> None:
    """Serve until Ctrl-C."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise MaskletError(
                f"{settings.host}:{settings.port} cannot be used: {error.strerror}. Choose another --port."
            ) from error
    app = make_app(Studio(settings, model, model_name))
    if browser:
        threading.Timer(1.0, webbrowser.open, [address(settings)]).start()
    uvicorn.Server(server_config(app, settings.host, settings.port)).run()
