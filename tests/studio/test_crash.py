"""The server is killed in the middle of tracking or of an export; the next one goes on with it."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
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


@pytest.mark.slow
def test_exports_go_on_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    length = 600  # so many that the first file is not done before the kill
    make_clip(tmp_path / "clips" / "blots.mp4", length)
    first = Process(tmp_path)
    try:
        project = first.call("POST", "/projects", {"name": "crash"})["id"]
        video = f"/videos/{first.call('POST', f'/projects/{project}/videos', {'path': 'blots.mp4'})['id']}"
        first.call("POST", f"{video}/prompts", {"frame": 0, "object": 1, "positive": [[20, 24]]})
        running, waiting, coco = (
            first.call("POST", f"{video}/exports", {"format": format})["id"]
            for format in ("overlay", "cutout-webm", "coco")
        )
        whole = first.call("POST", f"/projects/{project}/exports", {"format": "coco"})["id"]
        exports = [running, waiting, coco, whole]
        while not (state := first.call("GET", f"/exports/{running}"))["done"]:
            assert state["state"] in ("waiting", "running")
            time.sleep(0.02)
    finally:
        first.kill()
    folder = tmp_path / "data" / "exports"
    half_written = {path for path in folder.rglob("*") if path.is_file()}
    assert {path.parent.name for path in half_written} == {running}

    second = Process(tmp_path)
    try:
        assert states_of(second, exports)[-1] == "waiting"
        assert second.client.get(f"/exports/{running}/file").status_code == 404
        while set(states := states_of(second, exports)) != {"finished"}:
            assert "failed" not in states
            time.sleep(0.1)
        for id in exports:
            view = second.call("GET", f"/exports/{id}")
            assert [path.name for path in (folder / id).iterdir()] == [view["file"]]
            assert view["done"] == view["total"] and view["bytes"] > 0
        for id in (running, waiting):
            with av.open(io.BytesIO(second.client.get(f"/exports/{id}/file").content)) as film:
                assert sum(1 for _ in film.decode(video=0)) == length
        annotations = second.client.get(f"/exports/{coco}/file").json()["annotations"]
        assert len(annotations) == 1
    finally:
        second.kill()


def states_of(server: Process, exports: list[str]) -> list[str]:
    return [server.call("GET", f"/exports/{id}")["state"] for id in exports]
