"""Files that are whole or not there: what is written appears under its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from masklet.errors import MediaError

StrPath = str | os.PathLike[str]


@contextmanager
def writing(path: StrPath) -> Iterator[None]:
    """Turn what the system says against writing here into one sentence."""
    try:
        yield
    except OSError as error:
        raise MediaError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from error


def folder(path: StrPath) -> Path:
    """The folder, made where it is missing, into which files can be written."""
    path = Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "permission denied")
    return path


def unfinished(path: StrPath) -> Path:
    """Where a file lies until it is whole: hidden, beside its own place, which gets a folder."""
    path = Path(path)
    return folder(path.parent) / f".{path.name}.part"


@contextmanager
def whole(path: StrPath) -> Iterator[Path]:
    """A path to write to; it takes its true name when all went well, and is removed when not.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp(), "note.txt")
    >>> with whole(place) as part:
    ...     _ = part.write_text("all of it")
    >>> [file.name for file in place.parent.iterdir()]
    ['note.txt']
    """
    part = unfinished(path)
    try:
        with writing(path):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
