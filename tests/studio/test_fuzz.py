"""Thousands of requests made from the API's own description: none may be a mistake of the server's."""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import masklet
from studio.fuzz import Call, Generator
from studio.served import Served

REQUESTS = int(os.environ.get("MASKLET_FUZZ_REQUESTS", 2500))
SECONDS = float(os.environ.get("MASKLET_FUZZ_SECONDS", 60))
SEED = int(os.environ.get("MASKLET_FUZZ_SEED", 0))
KEPT_IDS = 40  # of a kind: the newest, and some of things that are gone
RARE = {  # how often these are left out: they take what others need, or seconds
    ("DELETE", "/api/projects/{project}"): 0.7,
    ("DELETE", "/api/videos/{video}"): 0.7,
    ("POST", "/api/videos/{video}/everything"): 0.95,
    ("POST", "/api/models/measure"): 0.9,
}


class Records(logging.Handler):
    """Errors of every logger, also of those that hand nothing on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


@pytest.fixture
def errors() -> Iterator[Records]:
    records = Records()
    loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(records)
    yield records
    for logger in loggers:
        logger.removeHandler(records)


class Fuzz:
    """Sends requests, and notes what is wrong with their answers."""

    def __init__(self, served: Served, seed: int) -> None:
        self.served = served
        self.wrong: list[str] = []
        self.statuses: Counter[int] = Counter()
        self._dice = random.Random(seed)
        self._ids: dict[str, list[str]] = {
            "project": [],
            "video": [],
            "export": ["none"],
            "comment": ["none"],
            "id": ["none"],
        }
        description = served.ok("GET", "/api/openapi.json")
        self._generator = Generator(description, self._ids, self._dice)
        self._secrets = [str(served.place), str(Path(masklet.__file__).parent), "Traceback", "site-packages"]

    def run(self, requests: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        operations = self._generator.operations
        order: list[Any] = []
        for number in range(requests):
            if time.monotonic() > end:
                break
            if number % 40 == 0:
                self._refill()
                self._say()
            order = order or self._dice.sample(operations, len(operations))
            method, path, operation = order.pop()
            if self._dice.random() < RARE.get((method, path), 0.0):
                continue
            self._send(self._generator.call(method, path, operation), path)

    def _send(self, call: Call, path: str) -> None:
        status, content = self.served.raw(call.method, call.address, call.body, content_type=call.kind)
        self.statuses[status] += 1
        about = (
            f"{call.method} {call.address[:150]!r} {(call.body or b'')[:300]!r}: {status} {content[:300]!r}"
        )
        text = content.decode("utf-8", "replace")
        is_json = content[:1] in (b"{", b"[")
        if status >= 500 and status != 507:
            self.wrong.append(about)
        elif status >= 400 and not (is_json and json.loads(text).get("message")):
            self.wrong.append(f"no sentence: {about}")
        if any(secret in text for secret in self._secrets) and path != "/api/exports/{export}/file":
            self.wrong.append(f"a path of the server: {about}")
        if status in (201, 202) and is_json:
            self._note(path, json.loads(text))

    def _note(self, path: str, answer: dict[str, Any]) -> None:
        kind = {
            "/api/projects": "project",
            "/api/projects/{project}/videos": "video",
            "/api/projects/{project}/uploads": "video",
            "/api/projects/{project}/imports": "id",
            "/api/projects/{project}/exports": "export",
            "/api/videos/{video}/exports": "export",
            "/api/videos/{video}/comments": "comment",
        }.get(path)
        if kind is not None and "id" in answer:
            self._ids[kind].append(answer["id"])
            del self._ids[kind][:-KEPT_IDS]

    def _refill(self) -> None:
        """A project with a video and two objects, newer than what may have been deleted."""
        project = self.served.ok("POST", "/api/projects", {"name": "fuzz"})["id"]
        classes = [{"name": "cat", "color": "#112233", "attributes": [{"name": "mood", "values": ["good"]}]}]
        self.served.ok("PATCH", f"/api/projects/{project}", {"classes": classes})
        made = self.served.ok("POST", f"/api/projects/{project}/videos", {"path": "blots.mp4"})
        for object in (1, 2):
            prompt = {"frame": object, "object": object, "positive": [[20, 24]], "label": "cat"}
            self.served.ok("POST", f"/api/videos/{made['id']}/prompts", prompt)
        self._ids["project"].append(project)
        self._ids["video"] += [made["id"]] * 3  # more often than those that may be gone
        for some in self._ids.values():
            del some[:-KEPT_IDS]

    def _say(self) -> None:
        """A WebSocket with messages of the right shape; it must still answer behind them."""
        video = self._dice.choice(self._ids["video"])
        with (
            suppress(ConnectionClosed, InvalidStatus),
            self.served.events(f"/api/videos/{video}") as socket,
        ):
            for _ in range(20):
                socket.send(self._generator.websocket_message())
            socket.send('{"type": "ping"}')
            while "pong" not in (text := str(socket.recv(30))):
                if any(secret in text for secret in self._secrets):
                    self.wrong.append(f"WebSocket: {text[:300]}")


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_no_request_is_a_mistake_of_the_servers(
    tmp_path: Path, errors: Records, database: str, request: pytest.FixtureRequest
) -> None:
    place = tmp_path / "a folder with spaces"
    place.mkdir()
    url = request.getfixturevalue("postgres") if database == "postgres" else None
    served = Served(place, database=url)
    try:
        fuzz = Fuzz(served, SEED)
        fuzz.run(REQUESTS, SECONDS)
    finally:
        served.close()
    assert not fuzz.wrong, "\n".join(fuzz.wrong[:20])
    assert not errors.lines, "\n".join(errors.lines[:5])
    answered = sum(fuzz.statuses[status] for status in (200, 201, 202, 204))
    assert answered > sum(fuzz.statuses.values()) / 5, fuzz.statuses  # else it would test refusals alone
