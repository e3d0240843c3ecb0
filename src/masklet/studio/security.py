"""The door: who may ask at all, from where, how much; and what browsers may do with the answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from masklet.studio.settings import Settings, is_loopback

COOKIE = "masklet_token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; font-src 'self'; worker-src 'self'; media-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Wraps the whole application, WebSockets included."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is not None:
            await _refuse(scope, receive, send, *refused)
        elif self._brings_token(scope):
            await self._admit(scope, send)
        else:
            await self._app(scope, self._counted(scope, receive), _with_headers(send))

    def _refused(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = Headers(scope=scope)
        if not self._knows_host(headers.get("host", "")):
            return (
                403,
                "origin",
                "the studio is not known under this name. Start it with --host, or use its address.",
            )
        if not self._has_token(scope, headers):
            return (
                401,
                "token",
                "a token is needed: open the address that the studio printed when it was started.",
            )
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if changes and not _same_origin(headers):
            return 403, "origin", "another site's page may not do that."
        size = headers.get("content-length", "0")
        if not size.isdigit() or int(size) > self._room(scope):
            return 413, "limit", f"too large: up to {self._room(scope) >> 20} MiB can be sent here."
        return None

    def _knows_host(self, host: str) -> bool:
        """A page elsewhere may have its own name lead to this machine; by that name it gets nothing."""
        if self._settings.token is not None:
            return True
        name = urlsplit(f"//{host}").hostname or ""
        return is_loopback(name) or name in (self._settings.host, *self._settings.hosts)

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        if self._settings.token is None:
            return True
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        shown = [bearer.strip()] if kind.lower() == "bearer" else []
        shown += [HTTPConnection(scope).cookies.get(COOKIE, ""), *_token_of(scope)]
        return any([secrets.compare_digest(each.encode(), self._settings.token.encode()) for each in shown])

    def _brings_token(self, scope: Scope) -> bool:
        return self._settings.token is not None and bool(_token_of(scope))

    async def _admit(self, scope: Scope, send: Send) -> None:
        """Put the token into a cookie, and out of the address."""
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{COOKIE}={self._settings.token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await _with_headers(send)({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _room(self, scope: Scope) -> int:
        limits = self._settings.limits
        if scope["path"].endswith("/uploads"):
            return limits.upload_bytes
        return limits.picture_bytes if scope["path"] == "/api/image" else limits.body_bytes

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """What is sent without saying how much it will be is cut off where it is too much."""
        room, came = self._room(scope), 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            return {"type": "http.disconnect"} if came > room else message

        return counted if scope["type"] == "http" else receive


def _token_of(scope: Scope) -> list[str]:
    """The token in the address; only the page itself takes it there."""
    if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
        return []
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [])


def _same_origin(headers: Headers) -> bool:
    """Browsers say where a page is from; programs say nothing."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return urlsplit(origin).netloc == headers.get("host")


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sent


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, kind: str, message: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4000 + status - 400, "reason": message})
        return
    body = json.dumps({"error": kind, "message": message[:1].upper() + message[1:]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
