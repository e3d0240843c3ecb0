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
from masklet.run_folder import Manifest, Run, check_folder
from masklet.types import Masks

QUEUE, ACCEPTED, REVIEW, STUDIO = "queue.json", "accepted", "review", "studio"
BEFORE = "proposals.json"  # in place of run.json, in folders of earlier versions


class ProposalFolder:
    """The folder of `masklet engine propose`. Once complete, no other run may follow: people go on from it.

    Args:
        out: The folder.
        run: Videos and settings.

    Raises:
        MediaError: It belongs to another run.

    Example:
        >>> import tempfile
        >>> run = Run("engine propose", "1", {}, {"clip.mp4": "hash"})
        >>> folder = ProposalFolder(Path(tempfile.mkdtemp()), run)
        >>> folder.is_complete
        False
        >>> folder.begin()
        >>> folder.complete()
        >>> ProposalFolder(folder.out, run).is_complete
        True
    """

    def __init__(self, out: Path, run: Run) -> None:
        self.out, self._run = out, run
        earlier = check_folder(out, run, before=lambda: _read_before(out, run))
        self.is_complete = earlier is not None and earlier.is_complete
        names = () if earlier is None else map(Path, earlier.files)
        self._accepted = [path.name for path in names if path.parent == Path(ACCEPTED)]

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
        files = dict.fromkeys([QUEUE, REVIEW, STUDIO, *(f"{ACCEPTED}/{name}" for name in self._accepted)])
        Manifest(self._run, self._run.key, files, is_complete, is_protected=is_complete).write(self.out)


def _read_before(out: Path, run: Run) -> Manifest | None:
    """What an earlier version left: proposals.json with the run's key, or before that no such file at all."""
    path, files = out / BEFORE, dict.fromkeys([QUEUE, REVIEW, STUDIO])
    unknown = Run(run.command, "", {}, {})
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_complete, key = bool(content["is_complete"]), str(content["key"])
        files |= dict.fromkeys(f"{ACCEPTED}/{Path(name).name}" for name in content["accepted"])
        return Manifest(run if key == run.key else unknown, key, files, is_complete, is_protected=is_complete)
    except FileNotFoundError:
        return Manifest(unknown, "", files, is_complete=True, is_protected=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaskletError(f"{path} cannot be read: {error}. Choose another folder.") from error


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
