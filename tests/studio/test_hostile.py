"""A studio that is sent nonsense answers all of it with a sentence, and goes on."""

from __future__ import annotations

import gc
import json
import logging
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from masklet.studio.server import MESSAGE_BYTES
from studio import hostile, hostile_files
from studio.served import Served
from studio.small import make_clip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("hostile"))
    yield served
    served.close()


@pytest.fixture(autouse=True)
def still_up(served: Served, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After every test the studio answers, and has made no mistake."""
    with caplog.at_level(logging.ERROR):
        yield
    assert not caplog.records, caplog.text
    assert served.ok("GET", "/api/about")["model"] == "toy"
    served.click()


def refused(answer: tuple[int, bytes]) -> str:
    """The sentence of a refusal."""
    status, content = answer
    assert 400 <= status < 500, (status, content[:300])
    reply = json.loads(content)
    assert reply["error"] and "Traceback" not in reply["message"]
    first = reply["message"].split()[0]
    is_name = "." in first or "_" in first  # of a file or field
    assert first[0].isupper() or not first[0].isalpha() or is_name, reply["message"]
    assert reply["message"].endswith((".", ").")) and len(reply["message"]) > 8, reply["message"]
    return str(reply["message"])


@pytest.mark.slow
def test_uploads(served: Served, tmp_path: Path) -> None:
    address = f"/api/projects/{served.project}/uploads"
    files = hostile_files.files(tmp_path)
    assert len(files) > 80
    wrong = {}
    for name, file in files.items():
        try:
            refused(served.upload(address, "file", file))
        except AssertionError as error:
            wrong[name] = str(error)[:300]
    assert not wrong
    assert len(served.ok("GET", f"/api/projects/{served.project}")["videos"]) == 1
    assert list((served.place / "data" / "uploads").iterdir()) == []


@pytest.mark.slow
def test_uploads_with_a_bit_or_two_changed(served: Served, tmp_path: Path) -> None:
    """Some of these can still be shown; none may be more than a refusal."""
    random = np.random.default_rng(0)
    sound = make_clip(tmp_path / "a.mp4").read_bytes()
    for _ in range(12):
        damaged = bytearray(sound)
        for at in random.integers(0, len(sound), 8):
            damaged[at] = random.integers(256)
        status, content = served.upload(
            f"/api/projects/{served.project}/uploads", "file", ("a.mp4", bytes(damaged))
        )
        if status == 201:
            video = json.loads(content)["id"]
            for frame in (0, 7):
                assert served.raw("GET", f"/api/videos/{video}/frames/{frame}.jpg")[0] < 500
            assert served.raw("DELETE", f"/api/videos/{video}")[0] == 204
        else:
            refused((status, content))


@pytest.mark.slow
def test_images(served: Served, tmp_path: Path) -> None:
    for file in hostile_files.bombs().values():
        refused(served.upload("/api/image", "image", file, prompts='{"positive": [[1, 1]]}'))
    sound = ("a.png", hostile_files.whole("PNG"))
    for prompts in (
        "",
        "x",
        "[]",
        "[5]",
        '{"positive": [[NaN, 1]]}',
        '{"positive": [[99, 1]]}',
        hostile.DEEP,
    ):
        refused(served.upload("/api/image", "image", sound, prompts=prompts))
    refused(served.upload("/api/image", "image", sound, prompts=json.dumps([{"positive": [[1, 1]]}] * 33)))
    refused(served.upload("/api/image", "image", sound))
    refused(served.upload("/api/image", "image", ("a.png", b"\x89PNG" + bytes(2**21)), prompts="{}"))


@pytest.mark.parametrize("path", hostile.PATHS, ids=lambda path: ascii(path[:30]))
def test_paths(served: Served, path: str) -> None:
    body = json.dumps({"path": path}).encode()
    for message in (
        refused(served.raw("POST", f"/api/projects/{served.project}/videos", body)),
        refused(served.raw("GET", f"/api/folder?path={quote(path)}")),
    ):
        assert "root:" not in message and str(served.place) not in message


@pytest.mark.parametrize("address", hostile.ADDRESSES, ids=lambda address: ascii(address[:40]))
def test_addresses(served: Served, address: str) -> None:
    refused(served.raw("GET", address.replace("VIDEO", served.video)))


def test_messages(served: Served) -> None:
    assert len(hostile.messages()) > 100
    wrong = []
    for method, below, sent in hostile.messages():
        body = None if sent is None and method == "DELETE" else json.dumps(sent).encode()
        try:
            refused(served.raw(method, served.video + below, body))
        except AssertionError as error:
            wrong.append((method, below, str(sent)[:80], str(error)[:200]))
    assert not wrong


@pytest.mark.parametrize("message", hostile.OTHER_MESSAGES, ids=lambda message: ascii(message)[:60])
def test_messages_of_no_video(served: Served, message: hostile.Message) -> None:
    method, address, body = message
    address = address.replace("PROJECT", f"/api/projects/{served.project}")
    refused(served.raw(method, address, None if body is None else json.dumps(body).encode()))


def test_only_what_may_be_opened_is_listed(served: Served) -> None:
    names = {entry["name"] for entry in served.ok("GET", "/api/folder")["entries"]}
    assert names == {"blots.mp4", "one.png"}


@pytest.mark.parametrize("body", hostile.BODIES, ids=lambda body: ascii(body[:12]))
def test_bodies(served: Served, body: bytes) -> None:
    refused(served.raw("POST", f"{served.video}/prompts", body))
    refused(served.raw("POST", "/api/projects", body))
    refused(served.raw("POST", "/label-studio/predict", body))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"host": "["},
        {"host": "127.0.0.1:x"},
        {"host": "[::1"},
        {"origin": "http://["},
        {"origin": "http://[::1]]"},
        {"origin": "http://127.0.0.1:99999999"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"content_length": "99999999999"},
    ],
    ids=str,
)
def test_headers(served: Served, headers: dict[str, str]) -> None:
    refused(served.raw("POST", "/api/projects", b'{"name": "a"}', **headers))


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"BREW /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 2_000_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=lambda sent: ascii(sent[:20]),
)
def test_what_is_no_request(served: Served, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as line:
        try:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            answer = line.recv(100)
        except OSError:  # the server cut the line in the middle
            return
    assert answer[:10] in (b"", b"HTTP/1.1 4")


def test_what_is_said_by_websocket(served: Served) -> None:
    with served.events() as socket_:
        assert json.loads(socket_.recv(30))["type"] == "hello"
        for message in hostile.WEBSOCKET_MESSAGES:
            socket_.send(message)
            socket_.send('{"type": "ping"}')
            kinds = []
            while "pong" not in kinds:
                event = json.loads(socket_.recv(30))
                kinds.append(event["type"])
                assert event["type"] != "error" or event["message"].endswith(".")
            assert "error" in kinds, message[:40]


def test_a_websocket_that_says_too_much_is_closed(served: Served) -> None:
    with served.events() as socket_, pytest.raises(ConnectionClosed) as closed:
        for _ in range(50):
            socket_.send("x" * (MESSAGE_BYTES + 1))
            socket_.recv(30)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    "address",
    [
        "/api/videos/none",
        "/api/videos/%2e%2e",
        "/api/videos/" + "a" * 3000,
        "/api/videos/" + "%C3%A9" * 200,  # a close frame has room for 123 bytes, not letters
    ],
    ids=lambda address: address[:24],
)
def test_websockets_of_no_video(served: Served, address: str) -> None:
    with pytest.raises((ConnectionClosed, InvalidStatus)) as closed, served.events(address) as socket_:
        socket_.recv(30)
    if isinstance(closed.value, ConnectionClosed):
        assert closed.value.rcvd and closed.value.rcvd.code == 4004
    else:
        assert 400 <= closed.value.response.status_code < 500


def test_websockets_of_other_pages(served: Served) -> None:
    with (
        pytest.raises((ConnectionClosed, InvalidStatus)) as closed,
        served.events(origin="http://evil.example") as it,
    ):
        it.recv(30)
    if isinstance(closed.value, InvalidStatus):
        assert closed.value.response.status_code == 403


def test_websockets_that_break_off_leave_no_task_behind(served: Served) -> None:
    """Every task's end is handled: asyncio would log those of which nobody asked how they ended."""
    random = np.random.default_rng(0)
    for number in range(30):
        with suppress(ConnectionClosed), served.events() as socket_:
            socket_.recv(30)
            for _ in range(random.integers(0, 20)):
                socket_.send(hostile.WEBSOCKET_MESSAGES[random.integers(len(hostile.WEBSOCKET_MESSAGES))])
            if number % 3 == 0:  # a reset in the middle
                socket_.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                socket_.socket.shutdown(socket.SHUT_RDWR)
            elif number % 3 == 1:
                served.click()  # messages to a tab that is about to go
    served.click()
    gc.collect()  # a task is reported when it is collected
    time.sleep(0.2)
