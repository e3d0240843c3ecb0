"""Access control: allowed callers, origins and sizes; and the identity of the caller."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from masklet.studio.errors import ApiError, capitalize_sentence, limit_exceeded
from masklet.studio.schemas import clean_name
from masklet.studio.settings import Settings, is_loopback
from masklet.studio.store.database import Database
from masklet.studio.store.tables import Person

TOKEN_COOKIE = "masklet_token"
PERSON_COOKIE = "masklet_person"
PERSON_HEADER = "masklet-person"
YEAR = 365 * 24 * 3600
REFUSAL_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<title>masklet studio</title>
<h1>masklet studio</h1>
<p>{}</p>
</html>
"""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
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


class SecurityMiddleware:
    """Wraps the whole application, WebSockets included."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._check(scope)
        if refusal is not None:
            await _send_refusal(scope, receive, send, *refusal)
        elif self._has_token_in_address(scope):
            await self._set_token_cookie(scope, send)
        else:
            await self._app(scope, self._limit_body(scope, receive), _with_headers(send))

    def _check(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = Headers(scope=scope)
        host = _parse_host(headers.get("host", ""))
        if host is None or not self._is_known_host(host):
            return (
                403,
                "origin",
                "the studio does not accept this host name. Start it with --host, or use its address.",
            )
        if not self._has_token(scope, headers):
            return (
                401,
                "token",
                "a token is needed: open the address that the studio printed at its start.",
            )
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and not _same_origin(headers):
            return 403, "origin", "requests from pages of other sites are not allowed."
        size = headers.get("content-length", "0")
        if not (size.isascii() and size.isdigit() and len(size) < 20) or int(size) > self._max_bytes(scope):
            return 413, "limit", str(self._too_large(scope))
        return None

    def _too_large(self, scope: Scope) -> ApiError:
        return limit_exceeded(f"the request is too large: the limit is {self._max_bytes(scope) >> 20} MiB.")

    def _is_known_host(self, host: str) -> bool:
        """Another site may point its own host name at this machine (DNS rebinding); such names are
        refused."""
        if self._settings.token is not None:
            return True
        return is_loopback(host) or host in (self._settings.host, *self._settings.hosts)

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        if self._settings.token is None:
            return True
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        tokens = [bearer.strip()] if kind.lower() == "bearer" else []
        tokens += [HTTPConnection(scope).cookies.get(TOKEN_COOKIE, ""), *_token_in_address(scope)]
        return any(
            [secrets.compare_digest(token.encode(), self._settings.token.encode()) for token in tokens]
        )

    def _has_token_in_address(self, scope: Scope) -> bool:
        return self._settings.token is not None and bool(_token_in_address(scope))

    async def _set_token_cookie(self, scope: Scope, send: Send) -> None:
        """Move the token from the address into a cookie."""
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{TOKEN_COOKIE}={self._settings.token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await _with_headers(send)({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _max_bytes(self, scope: Scope) -> int:
        limits = self._settings.limits
        if scope["path"].endswith("/uploads"):
            return limits.upload_bytes
        return limits.image_bytes if scope["path"] == "/api/image" else limits.body_bytes

    def _limit_body(self, scope: Scope, receive: Receive) -> Receive:
        """A body without a content-length is cut off at the limit."""
        limit, received = self._max_bytes(scope), 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise self._too_large(scope)
            return message

        return receive_limited if scope["type"] == "http" else receive


def _token_in_address(scope: Scope) -> list[str]:
    """The token in the address; only the page itself takes it there."""
    if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
        return []
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [])


def _same_origin(headers: Headers) -> bool:
    """Browsers send the origin of the page; programs send none."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # as http://[
        return False


def _parse_host(host: str) -> str | None:
    """The name in a Host header, without its port; None if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  raises an error if it is not a number
    except ValueError:
        return None
    return parts.hostname or ""


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers


async def _send_refusal(
    scope: Scope, receive: Receive, send: Send, status: int, kind: str, message: str
) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4000 + status - 400, "reason": message})
        return
    sentence = capitalize_sentence(message)
    if scope["path"] == "/" and "text/html" in Headers(scope=scope).get("accept", ""):
        content_type, body = b"text/html; charset=utf-8", REFUSAL_PAGE.format(escape(sentence)).encode()
    else:
        content_type, body = b"application/json", json.dumps({"error": kind, "message": sentence}).encode()
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Requester:
    """The person who sends a request, and the tab that it comes from."""

    id: str
    name: str
    client: str | None


class People:
    """Identifies people: a browser by its cookie, a program by the name that it sends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def identify(self, request: HTTPConnection) -> Requester:
        """Who sends a request. New people are guests; they are stored only once they change something."""
        header = request.headers.get(PERSON_HEADER)
        cookie = request.cookies.get(PERSON_COOKIE)
        name = None if header is None else clean_name(header)
        secret = f"name {name}" if name else f"cookie {cookie}" if cookie else "nobody"
        id = "p" + hashlib.sha256(secret.encode()).hexdigest()[:11]
        client = request.headers.get("masklet-client") or request.query_params.get("client")
        changes = request.scope["type"] == "http" and request.scope["method"] not in SAFE_METHODS
        name = self._name(id, name or f"guest {id[1:5]}", store=changes)
        return Requester(id, name, client[:64] if client else None)

    def rename(self, requester: Requester, name: str) -> Requester:
        with self._database.begin() as session:
            session.get_one(Person, requester.id).name = clean_name(name)
        return Requester(requester.id, clean_name(name), requester.client)

    def _name(self, id: str, default: str, *, store: bool) -> str:
        """The name of a person; the default for a new one."""
        with self._database.begin() as session:
            person = session.get(Person, id)
            if person is None and store:
                session.merge(Person(id=id, name=default))
            return default if person is None else person.name


def set_person_cookie(request: HTTPConnection, response: Response) -> None:
    """Give a new browser a cookie by which it is identified."""
    if PERSON_COOKIE not in request.cookies:
        response.set_cookie(
            PERSON_COOKIE,
            secrets.token_urlsafe(24),
            max_age=YEAR,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
