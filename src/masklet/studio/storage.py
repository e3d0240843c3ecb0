"""Files of the studio: which may be opened, how uploads come in, and how much is kept in all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import BoundedSemaphore
from typing import BinaryIO, TypeVar

from sqlalchemy import func, select

from masklet.media import is_picture
from masklet.studio.database import Database, new_id
from masklet.studio.decoder import DecoderProcess
from masklet.studio.errors import ApiError, limit_exceeded, not_found
from masklet.studio.schemas import FolderEntry, clean_name
from masklet.studio.settings import GIB, Limits, Settings
from masklet.studio.tables import Project, Video

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "3gp asf avi flv gif h264 hevc ivf m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv y4m".split()  # noqa: SIM905
    )
)
Value = TypeVar("Value")

QUOTA_SECONDS = 5.0  # after which the data folder is measured anew


class MediaPaths:
    """Turns what clients name into paths: in the folder that the studio serves, or among the uploads.

    folder : None where the studio was started without one
    uploads : files that came over the network, under names made here
    """

    def __init__(self, folder: Path | None, uploads: Path) -> None:
        self.folder = folder
        self.uploads = uploads

    def resolve(self, location: str) -> Path:
        """The file of a video: "upload:NAME" or "folder:PATH", as the database has it."""
        kind, _, name = location.partition(":")
        path = self.uploads / Path(name).name if kind == "upload" else self.resolve_in_folder(name)
        if not path.exists():
            raise not_found(f"{path.name} is not where it was. Put it back, or delete the video here.")
        return path

    def resolve_in_folder(self, path: str) -> Path:
        """A path in the folder. Whatever leads outside of it, also through links, is refused."""
        if self.folder is None:
            raise ApiError(403, "forbidden", "the studio was started without a folder to choose from.")
        root = Path(os.path.realpath(self.folder))
        if "\0" in path or "\\" in path or Path(path).is_absolute():
            raise ApiError(403, "forbidden", "a path must be relative, with / between its parts.")
        try:
            real = Path(os.path.realpath(root / path))
        except (OSError, ValueError):
            raise ApiError(403, "forbidden", "that is not a path.") from None
        if not real.is_relative_to(root):
            raise ApiError(403, "forbidden", f"{path} is outside of the folder.")
        if any(part.startswith(".") for part in real.relative_to(root).parts):
            raise ApiError(403, "forbidden", "hidden files are not shown.")
        if not _exists(real):
            raise not_found(f"there is no {path[:200]} in the folder.")
        return real

    def list_folder(self, path: str) -> list[FolderEntry]:
        """What can be chosen in a folder, folders first."""
        folder = self.resolve_in_folder(path)
        if not folder.is_dir():
            raise not_found(f"{path} is not a folder.")
        root = Path(os.path.realpath(self.folder or folder))
        entries = []
        for file in folder.iterdir():
            if file.name.startswith(".") or not Path(os.path.realpath(file)).is_relative_to(root):
                continue
            kind = _kind(file)
            if kind is not None:
                size = 0 if file.is_dir() else file.stat().st_size
                relative = str(file.relative_to(root))
                entries.append(FolderEntry(name=file.name, path=relative, kind=kind, bytes=size))  # type: ignore[arg-type]
        return sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name.lower()))


class Quota:
    """Measures the data folder and the database, and refuses what would let them grow too large."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._message: str | None = None
        self._measured = -QUOTA_SECONDS

    def check(self) -> None:
        """Raise an ApiError if nothing more may be kept."""
        if time.monotonic() - self._measured > QUOTA_SECONDS:
            self._message, self._measured = self._measure(), time.monotonic()
        if self._message is not None:
            raise limit_exceeded(self._message)

    def _measure(self) -> str | None:
        limit, spare = self._settings.limits.data_bytes, self._settings.limits.spare_bytes
        folders = (self._settings.uploads, self._settings.exports)
        used = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
        used += self._database.size()
        if used >= limit:
            return (
                f"the studio keeps {used / GIB:.1f} GiB, and may keep up to {limit / GIB:.1f} GiB. "
                "Delete videos that are done."
            )
        if shutil.disk_usage(self._settings.data).free < spare:
            return f"the server's disk has less than {spare / GIB:.1f} GiB left. Make room there first."
        return None


class Uploads:
    """Adds videos, from the network or from the folder. Each file is tried in a process of its own."""

    def __init__(self, database: Database, paths: MediaPaths, quota: Quota, limits: Limits) -> None:
        self._database = database
        self._quota = quota
        self._paths = paths
        self._limits = limits
        self._slots = BoundedSemaphore(limits.uploads)

    def add_upload(self, project: str, name: str, file: BinaryIO) -> str:
        """Keep a file that was sent, if it can be read. Returns the video's id."""
        suffix = Path(name).suffix.lower()
        if not (suffix in VIDEO_SUFFIXES or is_picture(Path(f"a{suffix}"))):
            raise ApiError(400, "media", f"{clean_name(name)} is not named like a video or picture.")
        if not self._slots.acquire(blocking=False):
            raise ApiError(
                429, "queue", f"{self._limits.uploads} files are being read. Try again shortly.", retry=5
            )
        id = new_id()
        path = self._paths.uploads / f"{id}{suffix}"
        try:
            self._check_room(project)
            with path.open("wb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
            return self._add(project, id, name, f"upload:{path.name}")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._slots.release()

    def add_from_folder(self, project: str, path: str) -> str:
        """Open a file or folder of pictures that lies in the folder. Returns the video's id."""
        real = self._paths.resolve_in_folder(path)
        self._check_room(project)
        return self._add(project, new_id(), real.name, f"folder:{path}")

    def _add(self, project: str, id: str, name: str, location: str) -> str:
        path = self._paths.resolve(location)
        info = read_once(path, self._limits, DecoderProcess.describe)
        kind = "pictures" if path.is_dir() else "picture" if is_picture(path) else "video"
        size = {key: info[key] for key in ("width", "height", "frames", "fps")}
        with self._database.begin() as session:
            session.add(Video(id=id, project=project, name=_short(name), place=location, kind=kind, **size))
        return id

    def _check_room(self, project: str) -> None:
        with self._database.begin() as session:
            if session.get(Project, project) is None:
                raise not_found(f"there is no project {project}.")
            videos = session.scalar(select(func.count()).select_from(Video)) or 0
        if videos >= self._limits.videos:
            raise limit_exceeded(f"there may be up to {self._limits.videos} videos. Delete one first.")
        self._quota.check()


def read_once(path: Path, limits: Limits, read: Callable[[DecoderProcess], Value]) -> Value:
    """One answer of a decoder that is started for it alone."""
    decoder = DecoderProcess(path, limits)
    try:
        return read(decoder)
    finally:
        decoder.close()


def _exists(path: Path) -> bool:
    """Whether there is something. A name too long for the disk names nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def _kind(path: Path) -> str | None:
    if path.is_dir():
        return "pictures" if any(is_picture(file) for file in path.iterdir()) else "folder"
    if is_picture(path):
        return "picture"
    return "video" if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() else None


def _short(name: str) -> str:
    """A file's name as people see it, with its suffix."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = Path(last).stem[:200], Path(last).suffix[:10]
    return clean_name(stem + suffix, 220)
