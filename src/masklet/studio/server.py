"""The studio as a running server, with limits on connections.

A connection is half-open while its client owes a complete request header. A program that opens a thousand of
them would otherwise block all other clients.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from masklet.errors import MaskletError
from masklet.model import Sam2
from masklet.studio.app import make_app
from masklet.studio.inference.models import LoadModel
from masklet.studio.settings import Settings, is_loopback
from masklet.studio.studio import Studio

MESSAGE_BYTES = 64 * 2**10  # maximum size of a WebSocket message
HEADER_SECONDS = 10.0  # maximum time for the header of a request
TRANSFER_SECONDS = 30.0  # maximum pause of a body's or a response's transfer
HEADER_BYTES = 64 * 2**10
HALF_OPEN_PER_ADDRESS = 64
HALF_OPEN = 256  # for all addresses together


def address(settings: Settings) -> str:
    """The page's address, with the token."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    token = "" if settings.token is None else f"?token={settings.token}"
    return f"http://{host}:{settings.port}/{token}"


def read_token(path: Path) -> str:
    """The token in a file's first line.

    Raises:
        MaskletError: The file cannot be read, or is empty.
    """
    try:
        token = path.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MaskletError(f"the token file {path} cannot be read: {error}.") from error
    if not token:
        raise MaskletError(f"the token file {path} is empty. Its first line must be the token.")
    return token


def token_for(host: str, token: str | None) -> str | None:
    """The token that calls must show.

    Args:
        host: The address that the server listens on.
        token: A token of 16 characters or more; by default a new one is created if others can reach the host.

    Returns:
        None on loopback if no token was given.

    Raises:
        MaskletError: The token is too short.
    """
    if token is not None and len(token) < 16:
        raise MaskletError("a token must have at least 16 characters. Leave it out to generate one.")
    return token or (None if is_loopback(host) else secrets.token_urlsafe(24))


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """uvicorn's configuration, with bounded messages and connections."""
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


class AnnouncingServer(uvicorn.Server):
    """Calls a function when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


def serve(
    settings: Settings, model: Sam2, model_name: str, announce: Callable[[], None], load_model: LoadModel
) -> None:
    """Serve until Ctrl-C.

    Args:
        settings: Host, port, folders and limits.
        model: The model of the start.
        model_name: The model's name for users.
        announce: Called when the server listens.
        load_model: Loads a checkpoint that a project chooses.

    Raises:
        MaskletError: The port cannot be used.
    """
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise MaskletError(
                f"{settings.host}:{settings.port} cannot be used: {error.strerror}. Choose another --port."
            ) from error
    app = make_app(Studio(settings, model, model_name, load_model))
    AnnouncingServer(server_config(app, settings.host, settings.port), announce).run()


@dataclass
class HalfOpenConnections:
    """Connections without a complete request header. At the limit, the oldest is closed."""

    per_address: int = HALF_OPEN_PER_ADDRESS
    total: int = HALF_OPEN
    _connections: OrderedDict[BoundedProtocol, str] = field(default_factory=OrderedDict)

    def add(self, connection: BoundedProtocol, address: str) -> None:
        self._connections[connection] = address
        same = [other for other, owner in self._connections.items() if owner == address]
        oldest = same[: max(0, len(same) - self.per_address)]
        if not oldest and len(self._connections) > self.total:
            oldest = [next(iter(self._connections))]
        for other in oldest:
            self.discard(other)
            other.abort()

    def discard(self, connection: BoundedProtocol) -> None:
        self._connections.pop(connection, None)

    def __contains__(self, connection: BoundedProtocol) -> bool:
        return connection in self._connections


class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """uvicorn's protocol, with limits on clients that send or read slowly, or not at all."""

    def __init__(
        self,
        half_open: HalfOpenConnections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._half_open = half_open
        self._timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._unsent = 0

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        waiting = self._is_waiting_for_header()
        if waiting and self not in self._half_open:  # another request on a connection that was kept alive
            self._await_header()
        self._header_bytes += len(data)
        super().data_received(data)
        if self.transport.get_protocol() is not self:  # it became a WebSocket
            self._stop()
        elif not self._is_waiting_for_header():
            self._half_open.discard(self)
            self._set_timer(TRANSFER_SECONDS)
        elif self._header_bytes > HEADER_BYTES:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once."""
        self._stop()
        self.transport.abort()

    def _is_waiting_for_header(self) -> bool:
        """Whether the client owes a request header: it sent none, or its last request was answered."""
        cycle: Any = self.cycle
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _await_header(self) -> None:
        self._header_bytes = 0
        self._half_open.add(self, self.client[0] if self.client else "")
        self._set_timer(HEADER_SECONDS)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._check)

    def _check(self) -> None:
        """Close the connection if the client owes a header or a body, or does not read the response."""
        self._timer = None
        if self._is_waiting_for_header():
            if self in self._half_open:
                self.abort()
            return  # uvicorn closes idle keep-alive connections
        cycle: Any = self.cycle
        unsent = self.transport.get_write_buffer_size()
        stalled = bool(unsent) and unsent == self._unsent
        if stalled or (cycle.more_body and not self.flow.read_paused and not cycle.response_complete):
            self.abort()
            return
        self._unsent = unsent
        self._set_timer(TRANSFER_SECONDS)

    def _stop(self) -> None:
        self._half_open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_protocol() -> Callable[..., BoundedProtocol]:
    """Makes the connections of one server, which share a count."""
    return partial(BoundedProtocol, HalfOpenConnections())
