"""What proposals become: accepted ones training data, doubtful ones a project of the studio, worst first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from masklet import rle
from masklet.engine.gates import Masklet
from masklet.errors import MaskletError
from masklet.files import atomic_write
from masklet.media import Frames, OverlayVideo, writers
from masklet.model import Sam2
from masklet.rle import RLE
from masklet.types import Masks

MARKER, QUEUE = "proposals.json", "queue.json"
ACCEPTED, REVIEW, STUDIO = "accepted", "review", "studio"


class ProposalFolder:
    """The folder of `masklet engine propose`, which belongs to one run: people go on from what is in it.

    Args:
        out: The folder.
        key: The same for the same videos and settings.

    Raises:
        MaskletError: It has the proposals of another run.

    Example:
        >>> import tempfile
        >>> folder = ProposalFolder(Path(tempfile.mkdtemp()), "videos and settings")
        >>> folder.is_complete
        False
        >>> folder.begin()
        >>> folder.complete()
        >>> ProposalFolder(folder.out, "videos and settings").is_complete
        True
    """

    def __init__(self, out: Path, key: str) -> None:
        self.out, self._key = out, key
        self._accepted: list[str] = []
        try:
            marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
            self.is_complete, earlier = bool(marker["is_complete"]), str(marker["key"])
            self._accepted = [Path(name).name for name in marker["accepted"]]
        except FileNotFoundError:
            self.is_complete = any((out / name).exists() for name in (QUEUE, REVIEW, STUDIO))
            earlier = ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MaskletError(f"{out / MARKER} cannot be read: {error}. Choose another --out.") from error
        if self.is_complete and earlier != key:
            raise MaskletError(
                f"{out} has proposals of other videos or settings, and perhaps their reviews: choose another "
                "--out."
            )

    def begin(self) -> None:
        """Remove what a run that was interrupted left."""
        for name in self._accepted:
            shutil.rmtree(self.out / ACCEPTED / name, ignore_errors=True)
        for name in (REVIEW, STUDIO):
            shutil.rmtree(self.out / name, ignore_errors=True)
        self._accepted = []
        self._write(is_complete=False)

    def accept(self, name: str) -> Path:
        """The folder for the accepted masklets of a video; none lies in another, where training finds it."""
        name = name.replace("/", "-")
        while name in self._accepted:
            name += "_"
        self._accepted.append(name)
        self._write(is_complete=False)
        return self.out / ACCEPTED / name

    def complete(self) -> None:
        self._write(is_complete=True)

    def _write(self, *, is_complete: bool) -> None:
        content = {"key": self._key, "is_complete": is_complete, "accepted": self._accepted}
        with atomic_write(self.out / MARKER) as part:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_accepted(folder: Path, frames: Frames, codes: Mapping[int, Sequence[RLE]]) -> None:
    """Write a clip as pictures and palette PNGs, which training reads, and as YouTube-VIS: COCO for video."""
    with writers(["frames", "palette", "youtube-vis"], folder, frames) as writer:
        for frame, image in enumerate(frames):
            arrays = {id: rle.decode(row[frame]) for id, row in codes.items()}
            writer.write(image, Masks.from_arrays(frame, arrays, frames.size))


def write_queue(out: Path, queue: Sequence[Masklet]) -> None:
    """Write the review queue, worst first: which masklet, and what it was measured as."""
    rows = [{"video": masklet.video, "object": masklet.id, **asdict(masklet.measures)} for masklet in queue]
    with atomic_write(out / QUEUE) as part:
        part.write_text(json.dumps(rows, indent=1))


def write_project(out: Path, model: Sam2, queue: Sequence[Masklet], sources: Mapping[str, Frames]) -> None:
    """Make a studio project of the doubtful masklets: a video each, numbered by the queue.

    The masks of the first frame are prompts there, so that tracking and corrections start from them.
    """
    from fastapi.testclient import TestClient  # the extra `studio`

    from masklet.studio.app import make_app
    from masklet.studio.settings import Settings
    from masklet.studio.studio import Studio

    review = out / REVIEW
    order: dict[str, list[Masklet]] = {}
    for masklet in queue:
        order.setdefault(masklet.video, []).append(masklet)
    studio = Studio(Settings(data=out / STUDIO, folder=review), model, "engine")
    with TestClient(make_app(studio), base_url="http://127.0.0.1:8000") as client:

        def call(path: str, body: object) -> dict[str, Any]:
            answer = client.post(f"/api{path}", json=body)
            if not answer.is_success:
                raise MaskletError(f"the studio project cannot be made: {answer.text}")
            content: dict[str, Any] = answer.json()
            return content

        project = call("/projects", {"name": "review, worst first"})["id"]
        for number, (name, masklets) in enumerate(order.items(), 1):
            target = f"{number:04d}-{Path(name).stem}.mp4"
            _write_video(review / target, sources[name])
            video = call(f"/projects/{project}/videos", {"path": target})["id"]
            for masklet in masklets:
                mask = {"size": list(sources[name].size), "counts": masklet.codes[0]["counts"]}
                call(f"/videos/{video}/prompts", {"frame": 0, "object": masklet.id, "mask": mask})


def _write_video(path: Path, frames: Frames) -> None:
    with OverlayVideo(path, frames) as writer:
        for frame, image in enumerate(frames):
            writer.write(image, Masks.empty(frame, frames.size))
