"""Files that are complete or absent. Everything that masklet writes goes through `atomic_write`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from masklet.errors import MaskletError, MediaError

StrPath = str | os.PathLike[str]

PART = ".part"  # suffix of the stem of every incomplete file


@contextmanager
def write_errors(path: StrPath, error: type[MaskletError] = MediaError) -> Iterator[None]:
    """Raise errors of the system while writing `path` as one sentence."""
    try:
        yield
    except OSError as failure:
        reason = (failure.strerror or str(failure)).lower()
        raise error(f"{path} cannot be written: {reason}.") from failure


def sha256(path: StrPath) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_json(text: str | bytes) -> Any:
    """JSON that a person may have written.

    Raises:
        ValueError: It is not JSON, or an object has a key twice, so that one value would be lost.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: an object has the key 'a' twice
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeated_keys)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {repeated!r:.60} twice")
    return fields


def cache_folder() -> Path:
    """The folder for files that masklet can make or fetch again: in the user's cache. It is not created
    here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "masklet"


def make_folder(path: StrPath) -> Path:
    """Make a folder if it is missing, and check that files can be written to it."""
    path = Path(path)
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "permission denied")
    return path


def temporary_path(path: StrPath) -> Path:
    """A hidden name beside `path`, for its content until that is complete. Two writers never share one.

    >>> temporary_path("out/clip.mp4").match("out/.clip.*.part.mp4")
    True
    """
    path = Path(path)
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{PART}{path.suffix}")


@contextmanager
def atomic_write(path: StrPath, error: type[MaskletError] = MediaError) -> Iterator[Path]:
    """Write a file under a temporary name; it is renamed if the block succeeds, and removed otherwise.

    Args:
        path: The file. Its folder is made; a file that is already there stays until the new one is complete.
        error: Raised, with one sentence, when the system cannot write.

    Yields:
        The path to write to.

    Example:
        >>> import tempfile
        >>> note = Path(tempfile.mkdtemp(), "note.txt")
        >>> with atomic_write(note) as part:
        ...     _ = part.write_text("all of it")
        >>> [file.name for file in note.parent.iterdir()]
        ['note.txt']
    """
    part = temporary_path(path)
    try:
        with write_errors(path, error):
            part.parent.mkdir(parents=True, exist_ok=True)
            part.touch()
            mode = part.stat().st_mode  # by the umask: some libraries use 0600
            yield part
            part.chmod(mode)
            os.replace(part, path)
    finally:
        with suppress(OSError):  # the original error is more useful
            part.unlink(missing_ok=True)


def remove_unfinished(folder: StrPath, min_age: float = 0.0, *, recursive: bool = True) -> None:
    """Remove the temporary files of writers that were killed.

    Args:
        folder: The folder to search. It may be missing.
        min_age: Seconds since the last write; protects writers that are still at work.
        recursive: Search subfolders too.
    """
    for part in Path(folder).glob(f"{'**/' if recursive else ''}.*{PART}*"):
        if re.fullmatch(rf"\..+\.[0-9a-f]{{8}}\{PART}(\.\w+)?", part.name):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime >= min_age:
                    part.unlink()


def check_writable(folder: StrPath) -> None:
    """Check, without making it, that a folder could be made and written to."""
    path = Path(folder)
    nearest = next(parent for parent in (path, *path.absolute().parents) if os.path.lexists(parent))
    with write_errors(path):
        if not nearest.is_dir():
            raise NotADirectoryError(20, "not a directory")
        if not os.access(nearest, os.W_OK):
            raise PermissionError(13, "permission denied")
