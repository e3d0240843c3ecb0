"""Files on their way in: counted, written under names made here, and tried in a process of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import BoundedSemaphore
from typing import BinaryIO

from sqlalchemy import func, select

from masklet.media.readers.pictures import is_picture
from masklet.studio.database import Database
from masklet.studio.errors import Refusal, missing, too_much
from masklet.studio.footage import Footage
from masklet.studio.names import new_id, tidy_name
from masklet.studio.paths import VIDEO_SUFFIXES, Places
from masklet.studio.quota import Quota
from masklet.studio.settings import Limits
from masklet.studio.tables import Project, Video


class Uploads:
    """New videos, from the network or from the folder."""

    def __init__(self, database: Database, places: Places, quota: Quota, limits: Limits) -> None:
        self._database = database
        self._quota = quota
        self._places = places
        self._limits = limits
        self._at_once = BoundedSemaphore(limits.uploads)

    def take(self, project: str, name: str, file: BinaryIO) -> str:
        """Keep a file that was sent, if it can be read. Returns the video's id."""
        suffix = Path(name).suffix.lower()
        if not (suffix in VIDEO_SUFFIXES or is_picture(Path(f"a{suffix}"))):
            raise Refusal(400, "media", f"{tidy_name(name)} is not named like a video or picture.")
        if not self._at_once.acquire(blocking=False):
            raise Refusal(
                429, "queue", f"{self._limits.uploads} files are being read. Try again shortly.", retry=5
            )
        id = new_id()
        path = self._places.uploads / f"{id}{suffix}"
        try:
            self._check_room(project)
            with path.open("wb") as kept:
                shutil.copyfileobj(file, kept, 2**20)
            return self._add(project, id, name, f"upload:{path.name}")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._at_once.release()

    def choose(self, project: str, path: str) -> str:
        """Open a file or folder of pictures that lies in the folder."""
        real = self._places.inside(path)
        self._check_room(project)
        return self._add(project, new_id(), real.name, f"folder:{path}")

    def _add(self, project: str, id: str, name: str, place: str) -> str:
        path = self._places.path(place)
        footage = Footage(path, self._limits)
        try:
            about = footage.about()
        finally:
            footage.close()
        kind = "pictures" if path.is_dir() else "picture" if is_picture(path) else "video"
        size = {side: about[side] for side in ("width", "height", "frames", "fps")}
        with self._database.begin() as session:
            video = Video(id=id, project=project, name=_short(name), place=place, kind=kind, **size)
            session.add(video)
        return id

    def _check_room(self, project: str) -> None:
        with self._database.begin() as session:
            if session.get(Project, project) is None:
                raise missing(f"there is no project {project}.")
            videos = session.scalar(select(func.count()).select_from(Video)) or 0
        if videos >= self._limits.videos:
            raise too_much(f"there may be up to {self._limits.videos} videos. Delete one first.")
        self._quota.check()


def _short(name: str) -> str:
    """A file's name as people see it, with its suffix."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = Path(last).stem[:200], Path(last).suffix[:10]
    return tidy_name(stem + suffix, 220)
