"""What can go wrong, in the user's words.

MaskletError
├── PromptError     (ValueError)   a click, box, mask or object id that cannot be meant
├── CheckpointError                weights that are not SAM 2's, are damaged, or cannot be fetched
├── MediaError                     pictures and videos that cannot be read or written
└── MissingExtra    (ImportError)  a part of masklet whose dependencies are not installed

Every message says what was expected, what came, and what to do.
"""


class MaskletError(Exception):
    """The root: catch this to catch everything that masklet raises on purpose."""


class PromptError(MaskletError, ValueError):
    """A prompt that cannot be meant: outside the frame, without area, of another size, of no object."""


class CheckpointError(MaskletError):
    """Weights that are not SAM 2's, are damaged, are unsafe to read, or cannot be fetched."""


class MediaError(MaskletError):
    """A picture, video or folder that cannot be read or written."""


class MissingExtra(MaskletError, ImportError):
    """A part of masklet that needs more packages than the plain installation brings."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"this needs {package}, which is not installed: pip install 'masklet[{extra}]'.")
        self.extra = extra
