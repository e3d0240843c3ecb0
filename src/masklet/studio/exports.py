"""Masks on their way out: files in the formats of `masklet.media.formats`, and the session's script."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import func, select, update

from masklet import rle
from masklet.errors import MaskletError
from masklet.media import writers
from masklet.media.formats import FORMATS
from masklet.sessions.saved import SavedSession
from masklet.studio.database import Database
from masklet.studio.errors import Refusal, missing
from masklet.studio.hub import Hub
from masklet.studio.ledger import State, results, standing
from masklet.studio.live import Live, LiveVideos
from masklet.studio.names import new_id
from masklet.studio.object_history import outline_of, script_of
from masklet.studio.quota import Quota
from masklet.studio.result_cache import Known, Rows
from masklet.studio.settings import Limits
from masklet.studio.tables import Export, Result, now
from masklet.studio.views import export_view
from masklet.types import MaskPrediction, Masks

log = logging.getLogger(__name__)

SCRIPT = "script"
TOLD_EVERY = 16  # frames


@dataclass(frozen=True)
class Wanted:
    """What is to be written: the video as it stands now, whatever is done with it meanwhile."""

    id: str
    video: str
    format: str
    state: State
    objects: tuple[int, ...]


class Exports:
    """Writes files, one after the other, beside what else the server does."""

    def __init__(
        self,
        database: Database,
        live: LiveVideos,
        hub: Hub,
        quota: Quota,
        folder: Path,
        limits: Limits,
    ) -> None:
        self._database = database
        self._live = live
        self._hub = hub
        self._quota = quota
        self._folder = folder
        self._limits = limits
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._rows = Rows(0, torch.device("cpu"))
        with database.begin() as session:
            interrupted = Export.state.in_(["waiting", "running"])
            message = "the server was stopped before it was done. Ask again."
            session.execute(update(Export).where(interrupted).values(state="failed", message=message))

    def ask(self, video: str, format: str, objects: list[int] | None) -> dict[str, Any]:
        if format != SCRIPT and format not in FORMATS:
            raise Refusal(422, "invalid", f"format must be one of {', '.join([*FORMATS, SCRIPT])}.")
        state = self._live.ledger(video).state
        chosen = tuple(state.things if objects is None else [state.thing(id).id for id in objects])
        if not state.things:
            raise Refusal(409, "nothing", "there is nothing to export yet: click on something first.")
        self._quota.check()
        export = Export(id=new_id(), video=video, format=format, state="waiting", done=0, total=0)
        with self._database.begin() as session:
            waiting = select(func.count()).where(Export.state.in_(["waiting", "running"]))
            if (session.scalar(waiting) or 0) >= self._limits.exports:
                raise Refusal(429, "queue", "too many exports are waiting. Try again later.", retry=10)
            session.add(export)
        self._pool.submit(self._run, Wanted(export.id, video, format, state, chosen))
        return self.view(export)

    def get(self, id: str) -> Export:
        with self._database.begin() as session:
            export = session.get(Export, id)
        if export is None:
            raise missing(f"there is no export {id}.")
        return export

    def file(self, id: str) -> Path:
        export = self.get(id)
        path = self._folder / id / (export.file or "")
        if export.state != "finished" or not path.is_file():
            raise missing("the file is not there, or no longer: ask for it again.")
        return path

    def view(self, export: Export) -> dict[str, Any]:
        path = self._folder / export.id / (export.file or "")
        return export_view(export, path.stat().st_size if export.file and path.is_file() else None)

    def tidy(self) -> None:
        """Remove files that nobody fetched for long, and those of videos that are gone."""
        with self._database.begin() as session:
            old = now() - timedelta(days=self._limits.export_days)
            session.execute(
                Export.__table__.delete().where(Export.created < old)  # type: ignore[attr-defined]
            )
            known = set(session.scalars(select(Export.id)))
        for folder in self._folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, wanted: Wanted) -> None:
        try:
            with self._live.using(wanted.video) as live:
                file = self._write(live, wanted)
            self._save(wanted, state="finished", file=file)
        except MaskletError as error:
            self._save(wanted, state="failed", message=str(error))
        except Exception:
            log.exception("an export failed")
            self._save(wanted, state="failed", message="the server made a mistake; its log says which.")

    def _write(self, live: Live, wanted: Wanted) -> str:
        folder = self._folder / wanted.id
        folder.mkdir(parents=True)
        stem = Path(live.frames.name).stem[:80]
        if wanted.format == SCRIPT:
            script = script_of(wanted.state.steps)
            file = f"{stem}-session.json"
            saved = SavedSession(
                video=live.frames.name,
                size=live.frames.size,
                clip_length=None,
                capacity=None,
                script=script,
                policy=live.policy,
            )
            saved.write(folder / file)
            return file
        format = FORMATS[wanted.format]
        frames = self._frames(wanted)
        called = {id: thing.name for id, thing in wanted.state.things.items()}
        blank = np.broadcast_to(np.uint8(0), (*live.frames.size, 3))
        painted = format.shows_frames
        with writers([wanted.format], folder, live.frames, called) as writer:
            for done, masks in enumerate(self._masks(live, wanted, frames)):
                writer.write(live.frames[masks.frame] if painted else blank, masks)
                if done % TOLD_EVERY == 0:
                    self._save(wanted, state="running", done=done, total=len(frames))
        made = folder / format.path
        if not made.is_dir():
            return made.rename(folder / f"{stem}-{made.name}").name
        zipped = folder / f"{stem}-{made.name}.zip"
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file_path in sorted(each for each in made.rglob("*") if each.is_file()):
                archive.write(file_path, file_path.relative_to(folder))
        shutil.rmtree(made)
        return zipped.name

    def _frames(self, wanted: Wanted) -> range | list[int]:
        """Those with masks; where the picture is shown, all from the first to the last of them."""
        which = (standing(wanted.video, wanted.state.head), Result.object.in_(wanted.objects))
        with self._database.begin() as session:
            found = list(
                session.scalars(select(Result.frame).where(*which).distinct().order_by(Result.frame))
            )
        if not found:
            raise Refusal(409, "nothing", "there are no masks yet.")
        return range(found[0], found[-1] + 1) if FORMATS[wanted.format].shows_frames else found

    def _masks(self, live: Live, wanted: Wanted, frames: range | list[int]) -> Iterator[Masks]:
        script = dict(outline_of(wanted.state.steps))
        for frame in frames:
            with self._database.begin() as session:
                rows = results(
                    session, wanted.video, wanted.state.head, frame, frame + 1, list(wanted.objects)
                )
                known = self._rows.get(session, [row.id for row in rows])
            drawn = {id for id, said in script.get(frame, {}).items() if said.decides}
            codes = {row.object: row.counts for row in rows if row.object in drawn or known[row.id].close}
            yield _masks(frame, {row.object: known[row.id] for row in rows}, codes, live.frames.size)

    def _save(self, wanted: Wanted, **values: Any) -> None:
        with self._database.begin() as session:
            export = session.get(Export, wanted.id)
            if export is None:
                return
            for name, value in values.items():
                setattr(export, name, value)
            if export.state == "finished":
                export.done = export.total
        self._hub.tell(wanted.video, {"type": "export", "export": self.view(export)})


def _masks(frame: int, known: dict[int, Known], codes: dict[int, str], size: tuple[int, int]) -> Masks:
    """The masks of a frame, as the session that made them would give them.

    codes : the run lengths of those that a person drew, and of those that a closer look found
    """
    if not known:
        nothing = torch.zeros(0)
        return Masks(frame, (), torch.zeros(0, 1, 1), size, nothing, nothing)
    batch = MaskPrediction.stack([each.answer for each in known.values()])
    drawn = {id: rle.decode({"size": list(size), "counts": counts}) for id, counts in codes.items()}
    return Masks(frame, tuple(known), batch.logits, size, batch.iou, batch.score, drawn=drawn)
