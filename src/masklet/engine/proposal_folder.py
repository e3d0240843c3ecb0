"""Writes proposals: accepted ones as training data, doubtful ones as a studio project, worst first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from masklet import rle
from masklet.engine.proposals import Masklet, Measures
from masklet.errors import MaskletError
from masklet.files import atomic_write
from masklet.media import Frames, OverlayVideo, open_frames, writers
from masklet.model import Sam2
from masklet.rle import RLE
from masklet.run_folder import Manifest, Run, check_folder
from masklet.types import Masks

QUEUE, VIDEOS = "queue.json", "videos.json"
ACCEPTED, PROPOSED, REVIEW, STUDIO = "accepted", "proposed", "review", "studio"
EARLIER_MANIFEST = "proposals.json"  # in place of run.json, in folders of earlier versions


@dataclass(frozen=True)
class _Video:
    """The folder's content for one video.

    Attributes:
        name: The name of its folder of accepted masklets, and of its file of proposals.
        content: A hash of the video.
        is_done: Whether its proposals are complete.
        project: The number of the project with its doubtful masklets; 0 if it is in none yet.
    """

    name: str
    content: str
    is_done: bool = False
    project: int = 0


class ProposalFolder:
    """The folder of `masklet engine propose` and its content for each video, so that none is proposed twice.

    After a project exists, runs with other settings are refused, since people work on the project.

    Args:
        out: The folder.
        run: The settings, without inputs.

    Raises:
        MediaError: It belongs to another run.

    Example:
        >>> import tempfile
        >>> run = Run("engine propose", "1", {}, {})
        >>> folder = ProposalFolder(Path(tempfile.mkdtemp()), run)
        >>> folder.begin({"clip.mp4": "content"})
        >>> folder.is_done("clip.mp4")
        False
        >>> folder.accept("clip.mp4", "clip").name
        'clip'
        >>> folder.finish("clip.mp4", [])
        >>> ProposalFolder(folder.out, run).is_done("clip.mp4")
        True
    """

    def __init__(self, out: Path, run: Run) -> None:
        self.out, self._run = out, run
        earlier = check_folder(out, run, before=lambda: _read_before(out, run))
        names = () if earlier is None else map(Path, earlier.files)
        self._accepted = [path.name for path in names if path.parent == Path(ACCEPTED)]
        self._videos: dict[str, _Video] = {}
        if earlier is not None and earlier.key == run.key:
            self._videos = _read_videos(out / PROPOSED / VIDEOS)

    @property
    def projects(self) -> int:
        """The projects of the studio that are complete."""
        return max((video.project for video in self._videos.values()), default=0)

    @property
    def unreviewed(self) -> list[str]:
        """The videos that are done and not in a project yet."""
        return [source for source, video in self._videos.items() if video.is_done and not video.project]

    def is_done(self, source: str) -> bool:
        return source in self._videos and self._videos[source].is_done

    def begin(self, contents: Mapping[str, str]) -> None:
        """Remove the partial results of unfinished videos.

        Args:
            contents: A hash of each video to process.

        Raises:
            MaskletError: The folder has proposals of other videos, or of another version of one.
        """
        for source, video in self._videos.items():
            if video.is_done and contents.get(source) != video.content:
                state = (
                    "which has changed since" if source in contents else "which is not among the given videos"
                )
                raise MaskletError(
                    f"{self.out} has proposals for {source}, {state}, and perhaps reviews of them: choose "
                    "another --out."
                )
        self._videos = {source: video for source, video in self._videos.items() if video.is_done}
        kept = {video.name for video in self._videos.values()}
        for name in set(self._accepted) - kept:
            shutil.rmtree(self.out / ACCEPTED / name, ignore_errors=True)
        for name in (REVIEW, STUDIO) if not self.projects else ():
            shutil.rmtree(self.out / name, ignore_errors=True)
        self._contents = contents
        self._write()

    def accept(self, source: str, name: str) -> Path:
        """The folder for the accepted masklets of a video. It is never inside another one, so that training
        finds it."""
        name = name.replace("/", "-")
        taken = {VIDEOS, *(f"{video.name}.json" for video in self._videos.values())}
        while f"{name}.json" in taken or os.path.lexists(self.out / ACCEPTED / name):
            name += "_"
        self._videos[source] = _Video(name, self._contents[source])
        self._write()
        return self.out / ACCEPTED / name

    def finish(self, source: str, masklets: Sequence[Masklet]) -> None:
        """Save the proposals of a video after its accepted masklets are written."""
        rows = [
            {"id": masklet.id, "measures": asdict(masklet.measures), "mask": masklet.codes[0]}
            for masklet in masklets
        ]
        with atomic_write(self._path(source)) as part:
            part.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        self._videos[source] = replace(self._videos[source], is_done=True)
        self._write()

    def masklets(self) -> list[Masklet]:
        """All proposals, with their masks on the first frame only."""
        return [
            Masklet(source, row["id"], (row["mask"],), Measures(**row["measures"]))
            for source, video in self._videos.items()
            if video.is_done
            for row in json.loads(self._path(source).read_text(encoding="utf-8"))
        ]

    def finish_project(self, sources: Sequence[str]) -> None:
        """Record that the doubtful masklets of some videos are in a project."""
        number = self.projects + 1
        self._videos.update({source: replace(self._videos[source], project=number) for source in sources})
        self._write()

    def _path(self, source: str) -> Path:
        return self.out / PROPOSED / f"{self._videos[source].name}.json"

    def _write(self) -> None:
        with atomic_write(self.out / PROPOSED / VIDEOS) as part:
            videos = {source: asdict(video) for source, video in self._videos.items()}
            part.write_text(json.dumps(videos, indent=1), encoding="utf-8")
        names = [f"{ACCEPTED}/{video.name}" for video in self._videos.values()]
        files = dict.fromkeys([QUEUE, PROPOSED, REVIEW, STUDIO, *names])
        is_complete = bool(self._videos) and all(video.project for video in self._videos.values())
        is_protected = self.projects > 0
        Manifest(self._run, self._run.key, files, is_complete, is_protected=is_protected).write(self.out)


def _read_videos(path: Path) -> dict[str, _Video]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {source: _Video(**video) for source, video in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MaskletError(f"{path} cannot be read: {error}. Choose another folder.") from error


def _read_before(out: Path, run: Run) -> Manifest | None:
    """The results of earlier versions: with proposals.json, or without it."""
    path, files = out / EARLIER_MANIFEST, dict.fromkeys([QUEUE, REVIEW, STUDIO])
    unknown = Run(run.command, "", {}, {})
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_complete, key = bool(content["is_complete"]), str(content["key"])
        files |= dict.fromkeys(f"{ACCEPTED}/{Path(name).name}" for name in content["accepted"])
        return Manifest(unknown, key, files, is_complete, is_protected=is_complete)
    except FileNotFoundError:
        return Manifest(unknown, "", files, is_complete=True, is_protected=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaskletError(f"{path} cannot be read: {error}. Choose another folder.") from error


def write_accepted(folder: Path, frames: Frames, codes: Mapping[int, Sequence[RLE]]) -> None:
    """Write a clip as images and in SA-V's form, which training reads, and as YouTube-VIS: COCO for video.

    Both formats keep overlapping masks.
    """
    with writers(["frames", "sa-v", "youtube-vis"], folder, frames) as writer:
        for frame, image in enumerate(frames):
            arrays = {id: rle.decode(row[frame]) for id, row in codes.items()}
            writer.write(image, Masks.from_arrays(frame, arrays, frames.size))


def write_queue(out: Path, queue: Sequence[Masklet]) -> None:
    """Write the review queue, worst first: each masklet and its measures."""
    rows = [{"video": masklet.video, "object": masklet.id, **asdict(masklet.measures)} for masklet in queue]
    with atomic_write(out / QUEUE) as part:
        part.write_text(json.dumps(rows, indent=1))


def write_project(out: Path, model: Sam2, queue: Sequence[Masklet], number: int) -> None:
    """Make a studio project of the doubtful masklets: a video each, numbered by the queue.

    The masks of the first frame are prompts there, so that tracking and corrections start from them.

    Args:
        out: The folder of the proposals.
        model: The network.
        queue: The masklets, worst first.
        number: The project's number, from 1. Partial results of a killed run for the same project are
            removed.
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

        title = "review, worst first" if number == 1 else f"review {number}, worst first"
        for project in client.get("/api/projects").json()["projects"]:
            if project["name"] == title:
                client.delete(f"/api/projects/{project['id']}")
        project = call("/projects", {"name": title})["id"]
        folder = "" if number == 1 else f"{number}/"
        for place, (name, masklets) in enumerate(order.items(), 1):
            target = f"{folder}{place:04d}-{Path(name).stem}.mp4"
            frames = open_frames(name)
            _write_video(review / target, frames)
            video = call(f"/projects/{project}/videos", {"path": target})["id"]
            for masklet in masklets:
                mask = {"size": list(frames.size), "counts": masklet.codes[0]["counts"]}
                call(f"/videos/{video}/prompts", {"frame": 0, "object": masklet.id, "mask": mask})


def _write_video(path: Path, frames: Frames) -> None:
    with OverlayVideo(path, frames) as writer:
        for frame, image in enumerate(frames):
            writer.write(image, Masks.empty(frame, frames.size))
