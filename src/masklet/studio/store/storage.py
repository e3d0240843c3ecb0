"""Files of the studio: access to them, the quota, and the lock for one server."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout

from masklet.errors import MaskletError
from masklet.media import is_image
from masklet.studio.errors import ApiError, FileGone, limit_exceeded, not_found
from masklet.studio.project_schemas import FolderEntry, FolderEntryKind
from masklet.studio.settings import GIB, Settings
from masklet.studio.store.database import Database
from masklet.studio.store.project_files import natural_key

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "3gp asf avi flv gif h264 hevc ivf m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv y4m".split()  # noqa: SIM905
    )
)
LOCK_FILE = "studio.lock"
OWNER_FILE = "studio.pid"  # the number of the process that holds the lock
QUOTA_SECONDS = 5.0  # after which the data folder is measured again


class MediaPaths:
    """Resolves names from clients to paths in the folder that the studio serves, or among the uploads.

    Args:
        folder: None if the studio was started without one.
        uploads: Files that came over the network, under names made here.
    """

    def __init__(self, folder: Path | None, uploads: Path) -> None:
        self.folder = folder
        self.uploads = uploads

    def resolve(self, place: str) -> Path:
        """The file of a video.

        Args:
            place: "upload:NAME" or "folder:PATH", as the database has it.

        Raises:
            FileGone: The file, or the folder, is not there.
            ApiError: It is outside of the folder.
        """
        kind, _, name = place.partition(":")
        is_upload = kind == "upload"
        if not is_upload and self.folder is None:
            raise FileGone(
                f"{name} is in a folder that the studio was started without. Start it with that folder: "
                "masklet studio FOLDER."
            )
        path = self.uploads / Path(name).name if is_upload else self._place_in_folder(name)
        if not _exists(path):
            missing = (
                f"{path.name} is no longer at its path" if is_upload else f"{name} is no longer in the folder"
            )
            raise FileGone(f"{missing}. Restore it; your work on it is kept.")
        return path

    def resolve_in_folder(self, path: str) -> Path:
        """A path in the folder. Paths outside it, also through links, are refused.

        Args:
            path: Relative to the folder, with / between its parts.

        Raises:
            ApiError: There is no such file, or it is hidden or outside of the folder.
        """
        real = self._place_in_folder(path)
        if not _exists(real):
            raise not_found(f"there is no {path[:200]} in the folder.")
        return real

    def _place_in_folder(self, path: str) -> Path:
        """The resolved path in the folder, whether or not it exists."""
        if self.folder is None:
            raise ApiError(403, "forbidden", "the studio was started without a folder.")
        root = Path(os.path.realpath(self.folder))
        if "\0" in path or "\\" in path or Path(path).is_absolute():
            raise ApiError(403, "forbidden", "a path must be relative, with / between its parts.")
        try:
            real = Path(os.path.realpath(root / path))
        except (OSError, ValueError):
            raise ApiError(403, "forbidden", "this is not a path.") from None
        if not real.is_relative_to(root):
            raise ApiError(403, "forbidden", f"{path} is outside the folder.")
        if any(part.startswith(".") for part in real.relative_to(root).parts):
            raise ApiError(403, "forbidden", "hidden files are not shown.")
        if not _exists(root):
            raise not_found(f"the studio's folder {root.name} is no longer at its path. Restore it.")
        return real

    def relative(self, real: Path) -> str:
        """The path of a resolved file, counted from the folder."""
        return real.relative_to(os.path.realpath(self.folder or real)).as_posix()

    def list_folder(self, path: str, search: str = "") -> list[FolderEntry]:
        """The entries of a folder: folders first, then in natural order of names.

        Args:
            path: Relative to the folder, with / between its parts.
            search: Words that a name must have, whatever their case.

        Raises:
            ApiError: There is no such folder, or it is outside of the one that is served.
        """
        folder = self.resolve_in_folder(path)
        if not folder.is_dir():
            raise not_found(f"{path} is not a folder.")
        root = Path(os.path.realpath(self.folder or folder))
        entries, words = [], search.casefold().split()
        for file in folder.iterdir():
            if not all(word in file.name.casefold() for word in words):
                continue
            if file.name.startswith(".") or not _is_text(file.name):
                continue
            if not Path(os.path.realpath(file)).is_relative_to(root):
                continue
            try:
                kind = _kind(file)
                size = 0 if file.is_dir() else file.stat().st_size
            except OSError:  # it may not be readable, or was removed
                continue
            if kind is not None:
                relative = str(file.relative_to(root))
                entries.append(FolderEntry(name=file.name, path=relative, kind=kind, bytes=size))
        return sorted(entries, key=lambda entry: (entry.kind != "folder", natural_key(entry.name)))


class Quota:
    """Measures the data folder and the database, and enforces the quota."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._message: str | None = None
        self._measured = -QUOTA_SECONDS

    def check(self) -> None:
        """Refuse to keep more.

        Raises:
            ApiError: The quota is used up, or the disk is nearly full.
        """
        if time.monotonic() - self._measured > QUOTA_SECONDS:
            self._message, self._measured = self._measure(), time.monotonic()
        if self._message is not None:
            raise limit_exceeded(self._message)

    def _measure(self) -> str | None:
        limit, spare = self._settings.limits.data_bytes, self._settings.limits.spare_bytes
        folders = (self._settings.uploads, self._settings.spool, self._settings.exports)
        used = sum(_size(path) for folder in folders for path in folder.rglob("*")) + self._database.size()
        if used >= limit:
            return (
                f"the studio uses {used / GIB:.1f} GiB of at most {limit / GIB:.1f} GiB. Delete finished "
                "videos."
            )
        if shutil.disk_usage(self._settings.data).free < spare:
            return f"the server's disk has less than {spare / GIB:.1f} GiB left. Free some space first."
        return None


class DataFolderLock:
    """Locks a data folder for one server, until it is closed or its process ends."""

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False)
        owner = folder / OWNER_FILE
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise MaskletError(
                f"another studio (process {_read_owner(owner)}) is using the data folder {folder}. Stop it, "
                "or choose another folder with --data."
            ) from None
        except (OSError, NotImplementedError) as error:  # a network file system without locks
            log.warning("the data folder cannot be locked: %s. Do not start a second server on it.", error)
        owner.write_text(str(os.getpid()))

    def close(self) -> None:
        self._lock.release()


def _read_owner(path: Path) -> str:
    try:
        return path.read_text()[:20].strip() or "unknown"
    except (OSError, UnicodeDecodeError):
        return "unknown"


def _exists(path: Path) -> bool:
    """Whether a path exists; False for a name that is too long."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_text(name: str) -> bool:
    """Whether a file's name can be sent as text: a disk takes names that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(path: Path) -> FolderEntryKind | None:
    if path.is_dir():
        return "pictures" if any(is_image(file) for file in path.iterdir()) else "folder"
    if is_image(path):
        return "picture"
    return "video" if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() else None


def _size(path: Path) -> int:
    """The bytes of a file; 0 if it is a folder, or was just removed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
