"""Writes export files in the formats of `masklet.media.formats`, and the session's script."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from masklet import rle
from masklet.errors import first_line
from masklet.media import writers
from masklet.media.formats import FORMATS, LABEL_MAPS, Format, Look
from masklet.sessions.saved import SavedSession
from masklet.sessions.tracker import FrameAnswers
from masklet.studio import schemas
from masklet.studio.errors import ApiError, FileGone, failure_message, not_found
from masklet.studio.inference.live import Live, LiveVideos
from masklet.studio.inference.remote_frames import RemoteFrames
from masklet.studio.messages import ExportEvent, Hub
from masklet.studio.project_exports import ProjectExportJob, ProjectWriter, short_name
from masklet.studio.requests import NewExport, NewProjectExport
from masklet.studio.settings import Limits
from masklet.studio.store.database import Database, new_id
from masklet.studio.store.object_history import script_of
from masklet.studio.store.row_store import ResultCache, ResultTensors
from masklet.studio.store.storage import Quota
from masklet.studio.store.tables import Export, Project, Result, Step, now
from masklet.studio.store.video_history import State, holds_at, results
from masklet.studio.views import export_view
from masklet.types import Masks

log = logging.getLogger(__name__)

SCRIPT = "script"
PROGRESS_FRAMES = 16  # between two progress messages
ATTEMPTS = 3  # attempts to write a file if the server is killed each time, because the file may be the cause
UNFINISHED = ("waiting", "running")


@dataclass(frozen=True)
class ExportJob:
    """The export's content: the video at the time of the request, regardless of later changes."""

    id: str
    video: str
    format: str
    state: State
    objects: tuple[int, ...]
    hidden: tuple[int, ...] = ()  # left-out objects
    start: int = 0
    stop: int | None = None
    frames: Literal["all", "tracked"] = "all"
    audio: bool = True
    look: Look = field(default_factory=Look)


class Interrupted(Exception):
    """The studio is being closed; the export resumes when it is started again."""


class Exports:
    """Writes files one at a time, in a thread. Exports that a restart interrupts are started again."""

    def __init__(
        self,
        database: Database,
        live: LiveVideos,
        hub: Hub,
        quota: Quota,
        folder: Path,
        limits: Limits,
        tracking: Callable[[str], float | None],
    ) -> None:
        self._database = database
        self._live = live
        self._hub = hub
        self._quota = quota
        self._folder = folder
        self._limits = limits
        self._tracking = tracking
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._cache = ResultCache(0, torch.device("cpu"))
        self._is_closing = False
        self._failures: dict[str, str] = {}  # messages that could not be written to the database, by export

    def resume(self) -> None:
        """Restart exports that waited or ran when the studio was stopped or killed, oldest first."""
        with self._database.begin() as session:
            unfinished = select(Export).where(Export.state.in_(UNFINISHED))
            exports = session.scalars(unfinished.order_by(Export.created, Export.id)).all()
        for export in exports:
            shutil.rmtree(self._folder / export.id, ignore_errors=True)
            self._save(export.id, state="waiting", done=0, total=0, created=now())  # a day from now
            self._pool.submit(self._run, export.id)

    def start(self, video: str, body: NewExport) -> schemas.Export:
        """Queue an export of some objects, or of all that are not hidden.

        Args:
            video: Its id.
            body: The format, the objects and the frames.

        Raises:
            ApiError: The format is unknown, there is nothing to export, or the quota is used up.
        """
        format = body.format
        if format != SCRIPT and format not in FORMATS:
            raise ApiError(422, "invalid", f"format must be one of {', '.join([*FORMATS, SCRIPT])}.")
        state = self._live.history(video).state
        if not state.objects:
            raise ApiError(409, "nothing", "there is nothing to export yet: click on an object first.")
        choose_objects(state, body.objects, hidden=body.hidden)
        last = state.records[-1]
        request = {"head": last.number, "batch": last.batch, "body": body.model_dump()}
        return self._add(Export(id=new_id(), video=video, format=format, request=request))

    def start_project(self, project: str, body: NewProjectExport) -> schemas.Export:
        """Queue an export of all files of a project.

        Args:
            project: Its id.
            body: The format, and the share of the files for validation.

        Raises:
            ApiError: The quota is used up.
        """
        request = {"body": body.model_dump()}
        return self._add(Export(id=new_id(), project=project, format=body.format, request=request))

    def get(self, id: str) -> Export:
        """The row of an export.

        Raises:
            ApiError: There is no such export.
        """
        self._save_failures()
        with self._database.begin() as session:
            export = session.get(Export, id)
        if export is None:
            raise not_found(f"there is no export {id}.")
        if id in self._failures:
            export.state, export.message = "failed", self._failures[id]
        return export

    def file(self, id: str) -> Path:
        """The file of a finished export.

        Raises:
            ApiError: There is no such export, or its file is not there.
        """
        export = self.get(id)
        path = self._folder / id / (export.file or "")
        if export.state != "finished" or not path.is_file():
            raise not_found("the file does not exist or has been removed: export it again.")
        return path

    def view(self, export: Export) -> schemas.Export:
        """An export in the form of the API."""
        path = self._folder / export.id / (export.file or "")
        return export_view(export, path.stat().st_size if export.file and path.is_file() else None)

    def remove_old(self) -> None:
        """Remove files that are too old, and those of videos that were deleted."""
        self._save_failures()
        with self._database.begin() as session:
            old = now() - timedelta(days=self._limits.export_days)
            is_old = Export.created < old, Export.state.not_in(UNFINISHED)
            session.execute(delete(Export).where(*is_old))
            ids = set(session.scalars(select(Export.id)))
        for folder in self._folder.iterdir():
            if folder.name not in ids:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Stop after the current frame."""
        self._is_closing = True
        self._pool.shutdown(cancel_futures=True)

    def _add(self, export: Export) -> schemas.Export:
        """Queue an export, unless too many are queued."""
        self._quota.check()
        self._save_failures()
        export.state = "waiting"
        with self._database.begin() as session:
            waiting = select(func.count()).where(Export.state.in_(UNFINISHED))
            if (session.scalar(waiting) or 0) >= self._limits.exports:
                raise ApiError(429, "queue", "too many exports are waiting. Try again later.", retry=10)
            session.add(export)
        self._pool.submit(self._run, export.id)
        return self.view(export)

    def _run(self, id: str) -> None:
        folder = self._folder / id
        try:
            export = self._begin(id)
            folder.mkdir(parents=True)
            if export.video is not None:
                job = self._video_job(export)
                with self._live.using(job.video) as live:
                    file, notes = self._write_video(live, job)
                self._check_steps(export)
            else:
                file, notes = self._write_project(export)
            self._save(id, state="finished", file=file, notes=notes)
        except Interrupted:
            shutil.rmtree(folder, ignore_errors=True)
        except Exception as error:
            message = failure_message(error, "an export")
            shutil.rmtree(folder, ignore_errors=True)
            self._failures[id] = message
            self._save_failures()

    def _begin(self, id: str) -> Export:
        """Record that an export has started.

        Raises:
            ApiError: It was deleted, or its attempts are used up.
        """
        with self._database.begin() as session:
            export = session.get(Export, id)
            if export is None:
                raise not_found("its video or project was deleted.")
            if export.request is None:
                raise ApiError(
                    409, "stopped", "the server was stopped before it was finished. Export it again."
                )
            if export.attempts >= ATTEMPTS:
                words = f"the server was stopped {ATTEMPTS} times while it was written. Export it again."
                raise ApiError(409, "stopped", words)
            export.attempts += 1
            export.state = "running"
        return export

    def _video_job(self, export: Export) -> ExportJob:
        """The content of an export of a video, from its request."""
        assert export.video is not None and export.request is not None
        self._check_steps(export)
        body = NewExport.model_validate(export.request["body"])
        state = self._live.history(export.video).state.at(export.request["head"])
        selected, hidden = choose_objects(state, body.objects, hidden=body.hidden)
        span = body.start, body.stop, body.frames
        look = Look(body.background, body.soft)
        return ExportJob(
            export.id, export.video, body.format, state, selected, hidden, *span, body.audio, look
        )

    def _check_steps(self, export: Export) -> None:
        """Raise if the video's steps were undone and replaced since the request: its masks are lost."""
        assert export.request is not None
        with self._database.begin() as session:
            step = session.get(Step, (export.video, export.request["head"]))
        if step is None or step.batch != export.request["batch"]:
            raise ApiError(
                409, "changed", "its masks were undone and replaced before it was written. Export it again."
            )

    def _write_project(self, export: Export) -> tuple[str, list[str]]:
        """Write the file. Returns its name, and notes on it."""
        assert export.project is not None and export.request is not None
        with self._database.begin() as session:
            name = session.get_one(Project, export.project).name
        job = ProjectExportJob(export.id, export.project, **export.request["body"])
        suffix = "csv" if job.format == "measures" else "zip"
        file = f"{short_name(name)}-{job.format}.{suffix}"
        writer = ProjectWriter(self._database, self._live, job, self._tracking)
        for done, total in writer.write(self._folder / export.id / file):
            self._check_open()
            self._save(export.id, done=done, total=total)
            self._quota.check()
        return file, writer.notes

    def _check_open(self) -> None:
        if self._is_closing:
            raise Interrupted

    def _write_video(self, live: Live, job: ExportJob) -> tuple[str, list[str]]:
        try:
            return self._write(live, job)
        except FileGone as error:
            words = "Formats with masks alone, such as COCO, label maps and CVAT, can be exported without it."
            raise FileGone(f"{error} {words}") from error

    def _write(self, live: Live, job: ExportJob) -> tuple[str, list[str]]:
        """Write the file. Returns its name, and notes on it."""
        folder = self._folder / job.id
        stem = short_name(Path(live.frames.name).stem)
        if job.format == SCRIPT:
            file = f"{stem}-session.json"
            _saved_session(live, job).write(folder / file)
            return file, _script_notes(job)
        format = FORMATS[job.format]
        frames, notes = self._frames(job, len(live.frames))
        names = {id: obj.label or obj.name for id, obj in job.state.objects.items()}
        source, sound_notes = _with_sound(live, format, frames, audio=job.audio)
        blank = np.broadcast_to(np.uint8(0), (*live.frames.size, 3))
        needs_images, overlaps = format.shows_frames, 0
        with writers([job.format], folder, source, names, job.look) as writer:
            for done, masks in enumerate(self._masks(live, job, frames)):
                writer.write(live.frames[masks.frame] if needs_images else blank, masks)
                overlaps += format.name in LABEL_MAPS and _overlap(masks)
                self._check_open()
                if done % PROGRESS_FRAMES == 0:
                    self._save(job.id, done=done, total=len(frames))
        output = folder / format.path
        notes += sound_notes
        if overlaps:
            words = "On 1 frame" if overlaps == 1 else f"On {overlaps} frames"
            notes.append(
                f"{words} objects overlap. A label map has one object per pixel: “PNG for each object” "
                "keeps complete masks."
            )
        if output.is_dir():
            output = _zip(output)
        return output.rename(folder / f"{stem}-{output.name}").name, notes

    def _frames(self, job: ExportJob, count: int) -> tuple[Sequence[int], list[str]]:
        """The frames to write, and notes on them.

        These are the frames with masks. For formats that show the images, they are all frames, or all from
        the first to the last with masks.
        """
        stop = count if job.stop is None else min(job.stop, count)
        conditions = (
            holds_at(job.video, job.state.head),
            Result.object.in_(job.objects),
            Result.frame >= job.start,
            Result.frame < stop,
        )
        with self._database.begin() as session:
            frames = list(
                session.scalars(select(Result.frame).where(*conditions).distinct().order_by(Result.frame))
            )
        if not frames:
            raise ApiError(409, "nothing", "there are no masks on these frames yet.")
        notes = []
        if job.hidden:
            names = ", ".join(job.state.objects[id].name for id in job.hidden)
            notes.append(f"Hidden and left out: {names}.")
        wanted = range(job.start, stop)
        bare = len(wanted) - len(frames)
        if bare:
            last = f", and none after frame {frames[-1]}" if frames[-1] < stop - 1 else ""
            notes.append(f"{bare} of {len(wanted)} frames have no masks{last}.")
        if not FORMATS[job.format].shows_frames:
            return frames, notes
        return (wanted if job.frames == "all" else range(frames[0], frames[-1] + 1)), notes

    def _masks(self, live: Live, job: ExportJob, frames: Sequence[int]) -> Iterator[Masks]:
        prompts = job.state.session.prompts
        for frame in frames:
            with self._database.begin() as session:
                rows = results(session, job.video, job.state.head, frame, frame + 1, list(job.objects))
                cached = self._cache.get(session, [row.id for row in rows])
            drawn = {id for id, prompt in prompts.get(frame, {}).items() if prompt.is_mask_only}
            codes = {row.object: row.counts for row in rows if row.object in drawn or cached[row.id].is_exact}
            yield _masks(frame, {row.object: cached[row.id] for row in rows}, codes, live.frames.size)

    def _save_failures(self) -> None:
        """Note which exports failed; while the disk is full, they stay in memory."""
        for id, message in list(self._failures.items()):
            try:
                self._save(id, state="failed", message=message)
            except (SQLAlchemyError, OSError) as error:
                log.warning("the failure of an export is not saved yet: %s", first_line(error))
                return
            self._failures.pop(id, None)

    def _save(self, id: str, **values: Any) -> None:
        with self._database.begin() as session:
            export = session.get(Export, id)
            if export is None:
                return
            for name, value in values.items():
                setattr(export, name, value)
            if export.state == "finished":
                export.done = export.total
        if export.video is not None:
            self._hub.publish(export.video, ExportEvent(export=self.view(export)))


def _zip(folder: Path) -> Path:
    """Pack a folder into a ZIP file beside it, and delete the folder."""
    zipped = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
    return zipped


def _saved_session(live: Live, job: ExportJob) -> SavedSession:
    intensity_range = live.decoder.describe()["intensity_range"]
    return SavedSession(
        video=live.frames.name,
        size=live.frames.size,
        clip_length=None,
        capacity=None,
        script=script_of(job.state.records),
        policy=live.policy,
        channel=live.channel,
        intensity_range=None if intensity_range is None else tuple(intensity_range),
        length=len(live.frames),
    )


def _script_notes(job: ExportJob) -> list[str]:
    """Notes on what a script does not contain."""
    notes = []
    if job.hidden or len(job.objects) < len(job.state.objects) or job.start or job.stop is not None:
        notes.append("A script always has the prompts of all objects on all frames.")
    if any(record.do == "edit" for record in job.state.records):
        notes.append("Edits of masks, such as filled holes, are not in the script.")
    return notes


def choose_objects(
    state: State, objects: list[int] | None, *, hidden: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The objects to export, and those that are left out because they are hidden.

    Args:
        state: The video's state.
        objects: Ids; by default all that are not hidden.
        hidden: Whether hidden objects are exported too.

    Raises:
        ApiError: An object does not exist, or all are hidden.
    """
    if objects is not None:
        return tuple(state.object(id).id for id in objects), ()
    left_out = tuple(id for id, obj in state.objects.items() if obj.hidden and not hidden)
    selected = tuple(id for id in state.objects if id not in left_out)
    if not selected:
        raise ApiError(409, "nothing", "all objects are hidden. Show one, or include hidden objects.")
    return selected, left_out


def _overlap(masks: Masks) -> bool:
    covered = np.zeros(masks.size, dtype=bool)
    for _, mask in masks.items():
        if (covered & mask).any():
            return True
        covered |= mask
    return False


def _with_sound(
    live: Live, format: Format, frames: Sequence[int], *, audio: bool
) -> tuple[RemoteFrames, list[str]]:
    """The frames, with their sound for formats that can hold it; and notes on it."""
    if not audio or not format.path.endswith((".mp4", ".mov", ".webm")):
        return live.frames, []
    sound = live.decoder.sound(frames[0], frames[-1] + 1, 1 / live.frames.fps if live.frames.fps else 0.0)
    if sound is None:
        return live.frames, []
    return live.frames.with_sound(sound, frames[0]), ["The sound of these frames is in the file."]


def _masks(
    frame: int, answers: dict[int, ResultTensors], codes: dict[int, str], size: tuple[int, int]
) -> Masks:
    """The masks of a frame, as the session that made them would return them.

    Args:
        codes: The run lengths of masks that a person drew or that zoom refined.
    """
    exact = {id: rle.decode({"size": list(size), "counts": counts}) for id, counts in codes.items()}
    return FrameAnswers(frame, size, {id: cached.answer for id, cached in answers.items()}, exact).masks()
