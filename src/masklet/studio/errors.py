"""What the studio answers when it does not do what it was asked: a status, a word and a sentence."""

from __future__ import annotations

from masklet.errors import MaskletError, MediaError, PromptError
from masklet.media import NoSuchFrame


class Refusal(MaskletError):
    """An answer that is an error; `kind` is the word that docs/api.md lists."""

    def __init__(self, status: int, kind: str, message: str, *, retry: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry = retry  # seconds


def missing(message: str) -> Refusal:
    return Refusal(404, "missing", message)


def too_much(message: str) -> Refusal:
    return Refusal(413, "limit", message)


def refusal_of(error: MaskletError) -> Refusal:
    """The answer that tells a person of an error."""
    match error:
        case Refusal():
            return error
        case NoSuchFrame():
            return missing(str(error))
        case PromptError():
            return Refusal(400, "prompt", str(error))
        case MediaError():
            return Refusal(400, "media", str(error))
    return Refusal(400, "invalid", str(error))
