"""HTTP connections with time-outs, and a cap on connections without a request.

A connection is half-open while its client owes a complete request header. A program that opens a thousand of
them would otherwise lock everybody else out.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

HEADER_SECONDS = 10.0  # until the header of a request must be complete
TRANSFER_SECONDS = 30.0  # in which a body must go on to come, or a response to be read
HEADER_BYTES = 64 * 2**10
HALF_OPEN_PER_ADDRESS = 64
HALF_OPEN = 256  # of all addresses together


@dataclass
class HalfOpenConnections:
    """Connections without a complete request header. At the cap, the oldest is closed for the newest."""

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
            return  # uvicorn closes connections that were kept alive for nothing
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
