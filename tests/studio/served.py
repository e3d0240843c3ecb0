"""A studio on a true socket, for tests of what comes over the network."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from websockets.sync.client import ClientConnection, connect

from masklet.studio.app import make_app
from masklet.studio.server import server_config
from masklet.studio.settings import Limits
from studio import hostile_files
from studio.small import make_clip, make_image, make_studio

LIMITS = Limits(decode_seconds=8, image_bytes=2**20)


class Served:
    """A studio on a true socket, with a project and a video in it."""

    def __init__(self, place: Path, **settings: Any) -> None:
        (place / "clips").mkdir()
        make_clip(place / "clips" / "blots.mp4")
        make_image(place / "clips" / "one.png")
        (place / "clips" / ".hidden").mkdir()
        make_clip(place / "clips" / ".hidden" / "a.mp4")
        (place / "clips" / "out").symlink_to(place / "data")
        (place / "clips" / "passwd.mp4").symlink_to("/etc/passwd")
        self.place = place
        app = make_app(make_studio(place, limits=LIMITS, **settings))
        self._server = uvicorn.Server(server_config(app, "127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.project = self.ok("POST", "/api/projects", {"name": "hostile"})["id"]
        made = self.ok("POST", f"/api/projects/{self.project}/videos", {"path": "blots.mp4"})
        self.video = f"/api/videos/{made['id']}"
        self.click()

    def click(self) -> None:
        self.ok("POST", f"{self.video}/prompts", {"frame": 0, "object": 1, "positive": [[20, 24]]})

    def raw(self, method: str, address: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)  # a busy machine takes long
        try:
            all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
            line.request(method, address, body, {"content-type": "application/json", **all_headers})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def ok(self, method: str, address: str, body: object = None) -> Any:
        status, content = self.raw(method, address, None if body is None else json.dumps(body).encode())
        assert status < 300, content
        return json.loads(content)

    def upload(self, address: str, field: str, file: hostile_files.File, **fields: str) -> tuple[int, bytes]:
        name, content = file
        parts = [f'form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
        parts.append(f'form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content)
        edge = b"--edge-of-a-part\r\ncontent-disposition: "
        body = b"".join(edge + part + b"\r\n" for part in parts) + b"--edge-of-a-part--\r\n"
        return self.raw("POST", address, body, content_type="multipart/form-data; boundary=edge-of-a-part")

    def events(self, address: str | None = None, **options: Any) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}{address or self.video}/events", **options)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
