"""Clients that send nothing, or slowly, are cut off, and lock nobody out."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn

from masklet.studio import server as server_module
from masklet.studio.app import make_app
from masklet.studio.server import server_config
from studio.small import make_clip, make_studio

TOKEN = "a token of more than sixteen letters"
BOUND = 120  # seconds; a busy machine


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server with short time-outs, and a token."""
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(server_module, "TRANSFER_SECONDS", 1.0)
    studio = make_studio(tmp_path, token=TOKEN)
    server = uvicorn.Server(server_config(make_app(studio), "127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)


def get(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)) as client:
        client.request("GET", "/api/about", headers={"authorization": f"Bearer {TOKEN}"})
        return client.getresponse().status


def is_closed(line: socket.socket) -> bool:
    """Whether the server closes a connection within the bound."""
    line.settimeout(BOUND)
    try:
        while line.recv(2**16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_thousand_half_open_connections_lock_nobody_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 600.0)
    lines = []
    try:
        for number in range(1000):
            lines.append(socket.create_connection(("127.0.0.1", port), timeout=BOUND))
            if number % 2:
                lines[-1].sendall(b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
            if number % 200 == 0:
                assert get(port) == 200
        assert get(port) == 200
        assert is_closed(lines[0])
    finally:
        for line in lines:
            line.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /api/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
        + TOKEN.encode()
        + b"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["nothing", "half a header", "half a body"],
)
def test_silence_is_cut_off(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(sent)
        assert is_closed(line)


def test_a_header_that_trickles_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < BOUND:
                line.sendall(b"a")
                time.sleep(0.1)


def test_a_header_without_end_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line, pytest.raises(OSError):
        line.sendall(b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        for _ in range(200):
            line.sendall(b"a" * 2**16)


def test_a_second_request_has_the_same_limits(port: int) -> None:
    request = f"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(request)
        assert line.recv(2**16).startswith(b"HTTP/1.1 200")
        line.sendall(request[:40])
        assert is_closed(line)


def test_a_slow_upload_that_goes_on_is_not_cut_off(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "TRANSFER_SECONDS", 3.0)  # longer than a pause
    clip = make_clip(tmp_path / "sent.mp4").read_bytes()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    client.request("POST", "/api/projects", b'{"name": "a"}', headers)
    project = client.getresponse().read().partition(b'"id":"')[2][:12].decode()
    body = (
        b'--e\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        + clip
        + b"\r\n--e--\r\n"
    )

    def pieces() -> Iterator[bytes]:
        size = len(body) // 8 + 1
        for start in range(0, len(body), size):
            yield body[start : start + size]
            time.sleep(0.45)

    headers = {**headers, "content-type": "multipart/form-data; boundary=e", "content-length": str(len(body))}
    client.request("POST", f"/api/projects/{project}/uploads", pieces(), headers)
    assert client.getresponse().status == 201
    client.close()


def test_an_upload_to_no_project_is_refused_before_its_body(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "TRANSFER_SECONDS", 30.0)  # a busy machine may answer after a second
    with socket.create_connection(("127.0.0.1", port), timeout=BOUND) as line:
        line.sendall(
            "POST /api/projects/none/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {TOKEN}\r\n"
            f"Content-Type: multipart/form-data; boundary=e\r\nContent-Length: {2**30}\r\n\r\n".encode()
        )
        assert line.recv(2**16).startswith(b"HTTP/1.1 404")
    assert list((tmp_path / "data" / "spool").iterdir()) == []


def test_half_open_connections_close_the_oldest_of_an_address() -> None:
    closed = []

    class Connection:
        def __init__(self, name: str) -> None:
            self.name = name

        def abort(self) -> None:
            closed.append(self.name)

    half_open = server_module.HalfOpenConnections(per_address=2, total=3)
    for name, address in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a"), ("c1", "c")]:
        half_open.add(Connection(name), address)  # type: ignore[arg-type]
    assert closed == ["a1", "b1"]


def test_the_address_is_announced_when_the_server_listens(tmp_path: Path) -> None:
    listening = threading.Event()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = server_config(make_app(make_studio(tmp_path)), "127.0.0.1", port)
    server = server_module.AnnouncingServer(config, listening.set)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert listening.wait(60)
    with socket.create_connection(("127.0.0.1", port), timeout=BOUND) as line:
        line.sendall(b"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = line.recv(100)
    server.should_exit = True
    thread.join(30)
    assert answer.startswith(b"HTTP/1.1 200")
