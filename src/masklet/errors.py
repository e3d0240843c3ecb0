"""The exceptions of masklet.

MaskletError
├── PromptError     (ValueError)   an invalid click, box, mask or object id
├── OptionError     (ValueError)   another argument with an invalid type or value
├── CheckpointError                weights that are not SAM 2's, are damaged, or cannot be fetched
├── MediaError                     images and videos that cannot be read or written
└── MissingExtra    (ImportError)  a part of masklet whose dependencies are not installed

Every message says what was expected, what came, and what to do.
"""

import operator
import os
from pathlib import Path
from typing import SupportsIndex


class MaskletError(Exception):
    """Base class of all errors that masklet raises on purpose."""


class PromptError(MaskletError, ValueError):
    """A prompt is not usable: outside the frame, without area, of a wrong size, or for no object."""


class OptionError(MaskletError, ValueError):
    """An argument other than a prompt has a wrong type or value."""


class CheckpointError(MaskletError):
    """Weights are not SAM 2's, are damaged, are unsafe to read, or cannot be fetched."""


class MediaError(MaskletError):
    """An image, video or folder cannot be read or written."""


class MissingExtra(MaskletError, ImportError):
    """A part of masklet needs packages that the plain installation does not include."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"this needs {package}, which is not installed: pip install 'masklet[{extra}]'.")
        self.extra, self.package = extra, package

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        return type(self), (self.extra, self.package)  # so that a worker's error can be pickled


def first_line(error: Exception) -> str:
    """The first line of another library's error without its full stop, for use in a sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def whole_number(value: object) -> int | None:
    """A whole number, also of NumPy, as an int; None for everything else, such as True."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array with several numbers
        return None


def check_count(value: object, name: str, least: int = 1) -> int:
    """Check an option that must be a whole number, and return it as an int.

    Args:
        value: The option's value.
        name: The option's name.
        least: The smallest allowed number.

    Raises:
        OptionError: It is not a whole number, or is smaller.

    Example:
        >>> check_count(2, "batch")
        2
    """
    number = whole_number(value)
    if number is None:
        raise OptionError(f"{name} must be a whole number, such as {max(least, 1)}. Got {value!r:.60}.")
    if number < least:
        raise OptionError(f"{name} must be at least {least}. Got {number}.")
    return number


def check_path(path: object) -> Path:
    """The path of a file.

    Raises:
        OptionError: It is not a path, is empty, or has characters that file names cannot have.
    """
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if isinstance(text, str) and Path(text).name and "\0" not in text:
            return Path(text)
    raise OptionError(f"path must be the path of a file. Got {path!r:.60}.")
