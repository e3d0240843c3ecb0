"""Who asks. A browser is told by its cookie, a program by the name that it gives."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import Response

from masklet.studio.database import Database
from masklet.studio.names import tidy_name
from masklet.studio.security import SAFE
from masklet.studio.tables import Person

COOKIE = "masklet_person"
HEADER = "masklet-person"
YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class Who:
    """A person, and the tab that asks."""

    id: str
    name: str
    client: str | None


class People:
    """Everybody who was here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, request: HTTPConnection) -> Who:
        """Who sends a request. Somebody new is a guest, and is kept only once they change something."""
        said = request.headers.get(HEADER)
        cookie = request.cookies.get(COOKIE)
        name = None if said is None else tidy_name(said)
        secret = f"name {name}" if name else f"cookie {cookie}" if cookie else "nobody"
        id = "p" + hashlib.sha256(secret.encode()).hexdigest()[:11]
        client = request.headers.get("masklet-client") or request.query_params.get("client")
        changes = request.scope["type"] == "http" and request.scope["method"] not in SAFE
        called = self._called(id, name or f"guest {id[1:5]}", keep=changes)
        return Who(id, called, client[:64] if client else None)

    def rename(self, who: Who, name: str) -> Who:
        with self._database.begin() as session:
            session.get_one(Person, who.id).name = tidy_name(name)
        return Who(who.id, tidy_name(name), who.client)

    def _called(self, id: str, name: str, *, keep: bool) -> str:
        """What somebody is called: by this name, where they are new."""
        with self._database.begin() as session:
            person = session.get(Person, id)
            if person is None and keep:
                session.merge(Person(id=id, name=name))
            return name if person is None else person.name


def greet(request: HTTPConnection, response: Response) -> None:
    """Give a browser a cookie by which it is known again."""
    if COOKIE not in request.cookies:
        response.set_cookie(
            COOKIE,
            secrets.token_urlsafe(24),
            max_age=YEAR,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
