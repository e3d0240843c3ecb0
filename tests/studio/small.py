"""A studio with a toy network, for tests, and the calls that most of them make."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
from fastapi.testclient import TestClient

from masklet.studio.app import make_app
from masklet.studio.settings import Settings
from masklet.studio.studio import Studio
from toy_models import clip, toy_network

LENGTH = 8
SIZE = (48, 64)
HERE = "http://127.0.0.1"


def make_clip(path: Path, length: int = LENGTH) -> Path:
    """A short video of drifting blots."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 10, {"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for image in clip(length, SIZE):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    return path


def make_image(path: Path) -> Path:
    PIL.Image.fromarray(clip(1, SIZE)[0]).save(path)
    return path


def make_studio(place: Path, **settings: Any) -> Studio:
    folder = place / "clips"
    if not folder.exists():
        folder.mkdir(parents=True)
        make_clip(folder / "blots.mp4")
        make_image(folder / "one.png")
    return Studio(Settings(data=place / "data", folder=folder, **settings), toy_network(), "toy")


class Caller:
    """A program that uses the studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.client = TestClient(make_app(studio), base_url=HERE, raise_server_exceptions=False)

    def __enter__(self) -> Caller:
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(None, None, None)

    def ask(self, method: str, path: str, status: int | None = None, **options: Any) -> Any:
        """Call, and see that it went well, or with the expected status."""
        answer = self.client.request(method, f"/api{path}", **options)
        as_expected = answer.status_code == status if status else answer.is_success
        assert as_expected, f"{answer.status_code} {answer.text}"
        return json.loads(answer.text) if answer.text else None

    def get(self, path: str, **options: Any) -> Any:
        return self.ask("GET", path, **options)

    def post(self, path: str, body: object = None, **options: Any) -> Any:
        return self.ask("POST", path, json={} if body is None else body, **options)

    def video(self, name: str = "blots.mp4", policy: str = "recency") -> str:
        """A video of the folder, opened in a new project; its path below /api."""
        project = self.post("/projects", {"name": "tests", "policy": policy})["id"]
        return f"/videos/{self.post(f'/projects/{project}/videos', {'path': name})['id']}"

    def click(
        self, video: str, frame: int = 0, object: int = 1, x: float = 20, y: float = 24, **fields: Any
    ) -> Any:
        headers = fields.pop("headers", None)
        body = {"frame": frame, "object": object, "positive": [[x, y]], **fields}
        return self.post(f"{video}/prompts", body, headers=headers)

    def click_refused(self, video: str, object: int, status: int) -> Any:
        body = {"frame": 0, "object": object, "positive": [[20, 24]]}
        return self.post(f"{video}/prompts", body, status=status)

    def follow(self, video: str, **fields: Any) -> None:
        self.post(f"{video}/propagation", fields)
        self.rest(video)

    def rest(self, video: str) -> None:
        """Wait until nothing is followed any more."""
        propagation = self.studio.propagations.get(video.rpartition("/")[2])
        if propagation is not None and propagation.job is not None:
            propagation.job.done.result(60)

    def exported(self, video: str, format: str, **fields: Any) -> bytes:
        """The file of an export."""
        export = self.export(video, format=format, **fields)
        assert export["state"] == "finished", export["message"]
        return self.export_file(export)

    def export(self, source: str, **fields: Any) -> Any:
        """Export a video or a project; what the studio says of the export when it has ended."""
        return self.wait_for_export(self.post(f"{source}/exports", fields)["id"])

    def wait_for_export(self, id: str) -> Any:
        deadline = time.monotonic() + 120
        while (export := self.get(f"/exports/{id}"))["state"] not in ("finished", "failed"):
            assert time.monotonic() < deadline, export
            time.sleep(0.01)
        return export

    def export_file(self, export: Any) -> bytes:
        return self.client.get(f"/api/exports/{export['id']}/file").content

    def masks(self, video: str) -> dict[int, Any]:
        return {entry["frame"]: entry["masks"] for entry in self.get(f"{video}/masks")["frames"]}


def counts(mask: np.ndarray) -> list[int]:
    """COCO's plain run lengths."""
    flat = np.asarray(mask, dtype=np.uint8).T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return runs if flat[0] == 0 else [0, *runs]
