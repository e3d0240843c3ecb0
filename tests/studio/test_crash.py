"""The server is killed in the middle of following; the next one goes on from the last finished frame."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from masklet import VideoSession, load
from masklet.sessions.saved import SavedSession
from studio.small import make_clip

LENGTH = 64  # so many that the server is not done before it is killed, however late this process is woken
PATIENCE = 600  # seconds; on a busy machine the start alone may take minutes


class Process:
    """A studio as people start it."""

    def __init__(self, place: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            "studio",
            str(place / "clips"),
            "--no-browser",
            f"--port={self.port}",
            f"--data={place / 'data'}",
        ]
        # As many threads as the tests have: sums in another order differ in their last digit.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "masklet", *command, "--device=cpu"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api", timeout=PATIENCE)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self.process.poll() is None, "the server ended"
            try:
                self.client.get("/about")
                return
            except httpx.TransportError:
                time.sleep(0.2)
        raise AssertionError("the server does not answer")

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = self.client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.text else None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.client.close()


@pytest.mark.slow
def test_a_killed_server_goes_on(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    make_clip(tmp_path / "clips" / "blots.mp4", LENGTH)
    first = Process(tmp_path)
    try:
        project = first.call("POST", "/projects", {"name": "crash"})["id"]
        video = f"/videos/{first.call('POST', f'/projects/{project}/videos', {'path': 'blots.mp4'})['id']}"
        first.call("POST", f"{video}/prompts", {"frame": 0, "object": 1, "positive": [[20, 24]]})
        first.call("POST", f"{video}/propagation", {})
        while len(before := first.call("GET", f"{video}/masks")["frames"]) < 4:
            time.sleep(0.02)
    finally:
        first.kill()

    second = Process(tmp_path)
    try:
        after = second.call("GET", f"{video}/masks")["frames"]
        assert after[: len(before)] == before
        view = second.call("GET", video)
        assert len(after) < LENGTH and view["unfinished"]["frame"] == len(after)
        assert view["propagation"] is None
        second.call("POST", f"{video}/propagation", {"resume": True})
        while second.call("GET", f"{video}/propagation") is not None:
            time.sleep(0.1)
        view = second.call("GET", video)
        assert view["tracked"] == {"1": [[0, LENGTH]]} and view["unfinished"] is None
        masks = {entry["frame"]: entry["masks"] for entry in second.call("GET", f"{video}/masks")["frames"]}
        export = second.call("POST", f"{video}/exports", {"format": "script"})["id"]
        while (state := second.call("GET", f"/exports/{export}")["state"]) != "finished":
            assert state != "failed"
            time.sleep(0.1)
        script = tmp_path / "script.json"
        script.write_bytes(second.client.get(f"/exports/{export}/file").content)
    finally:
        second.kill()

    session = VideoSession(load(device="cpu", setting="balanced"), tmp_path / "clips" / "blots.mp4")
    session.replay(SavedSession.read(script).script)
    for frame in range(LENGTH):
        assert session.masks(frame).rle()[0]["counts"] == masks[frame][0]["counts"]
