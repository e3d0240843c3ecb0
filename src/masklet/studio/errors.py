"""Errors of the API: a status, a word and a sentence."""

from __future__ import annotations

import errno
import logging
import re
import sqlite3

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, DBAPIError, NoResultFound, SQLAlchemyError
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from masklet.errors import MaskletError, MediaError, PromptError
from masklet.media import NoSuchFrame

log = logging.getLogger(__name__)

FOREIGN_KEY_VIOLATION = "23503"  # PostgreSQL's code
PLAIN_WORD = re.compile(r"[a-z]+([ ,;]|: )")
# A part of a path. It may have spaces, but no word with a suffix before one: there a file's name ends.
PART = r"(?=\S)(?:(?!\.[A-Za-z]\w*\s|[,;.]\s)[^/\\'\":\n])+(?<!\s)"
# An absolute path, with its last part as a group; not the path of a URL or of a relative path.
ABSOLUTE_PATH = re.compile(rf"(?<![\w:/.~])/(?:{PART}/)+([^\s/'\":]*)")
QUOTED_PATH = re.compile(r"(?<=')/(?:[^/'\n]+/)+([^/'\n]*)(?=')|(?<=\")/(?:[^/\"\n]+/)+([^/\"\n]*)(?=\")")
WINDOWS_PATH = re.compile(rf"(?<!\w)(?:[A-Za-z]:|\\)(?:\\+{PART})*\\+([^\s\\'\":]*)")


class ApiError(MaskletError):
    """An error that is an HTTP response.

    Args:
        kind: The word that docs/api.md lists.
        retry: Seconds after which the client may try again.
    """

    def __init__(self, status: int, kind: str, message: str, *, retry: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry = retry


class FileGone(ApiError):
    """The file of a video was moved or deleted."""

    def __init__(self, message: str) -> None:
        super().__init__(404, "missing", message)


DISK_FULL = ApiError(507, "limit", "the server's disk is full. Free some space, then try again.")
DELETED = ApiError(404, "missing", "it has been deleted.")


def not_found(message: str) -> ApiError:
    """A response of HTTP status 404."""
    return ApiError(404, "missing", message)


def limit_exceeded(message: str) -> ApiError:
    """A response of HTTP status 413."""
    return ApiError(413, "limit", message)


def as_api_error(error: BaseException) -> ApiError | None:
    """The response for an expected error; None for an unexpected one."""
    match error:
        case ApiError():
            return error
        case NoSuchFrame():
            return not_found(str(error))
        case PromptError():
            return ApiError(400, "prompt", str(error))
        case MediaError():
            return ApiError(400, "media", str(error))
        case MaskletError():
            return ApiError(400, "invalid", str(error))
        case TimeoutError():
            return ApiError(503, "queue", "the model has too many requests. Try again shortly.", retry=5)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return DISK_FULL
        case NoResultFound() | StaleDataError() | ObjectDeletedError():
            return DELETED
        case DBAPIError(orig=sqlite3.Error() as cause) | (sqlite3.Error() as cause):
            return _as_sqlite_error(cause)
        case DBAPIError() if getattr(error.orig, "sqlstate", None) == FOREIGN_KEY_VIOLATION:
            return DELETED
        case DataError():  # PostgreSQL's of a text with a zero character, for example
            return ApiError(422, "invalid", "the request contains a text or number that cannot be stored.")
    return None


def _as_sqlite_error(error: BaseException) -> ApiError | None:
    name = str(getattr(error, "sqlite_errorname", ""))
    if name == "SQLITE_CONSTRAINT_FOREIGNKEY":
        return DELETED
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return DISK_FULL
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ApiError(503, "queue", "another program is using the database. Try again shortly.", retry=5)
    return None


def add_error_handlers(app: FastAPI) -> None:
    """Make an application answer every error with a sentence."""
    for kind in (MaskletError, SQLAlchemyError, sqlite3.Error, OSError):
        app.add_exception_handler(kind, _handle_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, _handle_exception)


def failure_message(error: BaseException, task: str) -> str:
    """The message for an error in the background. An unexpected error is logged.

    Args:
        error: Any error.
        task: The failed task, for the log.
    """
    expected = as_api_error(error)
    if expected is None:
        log.error("%s failed", task, exc_info=error)
        return "An internal error occurred on the server; its log has the details."
    return public_message(expected)


def public_message(error: BaseException) -> str:
    """An error as a sentence for users, without the server's paths."""
    message = QUOTED_PATH.sub(lambda match: match[1] or match[2] or "", str(error))
    message = WINDOWS_PATH.sub(r"\1", ABSOLUTE_PATH.sub(r"\1", message))
    return capitalize_sentence(message.encode("utf-8", "replace").decode())  # names may not be UTF-8


def capitalize_sentence(message: str) -> str:
    """A message with an initial capital, unless it starts with a name.

    >>> capitalize_sentence("there is no frame 9."), capitalize_sentence("dog.mp4 is damaged.")
    ('There is no frame 9.', 'dog.mp4 is damaged.')
    """
    return message[:1].upper() + message[1:] if PLAIN_WORD.match(message) else message


def _response(error: ApiError) -> JSONResponse:
    headers = {} if error.retry is None else {"retry-after": str(error.retry)}
    body = {"error": error.kind, "message": public_message(error)}
    return JSONResponse(body, error.status, headers)


def _handle_error(request: Request, error: Exception) -> Response:
    expected = as_api_error(error)
    return _handle_exception(request, error) if expected is None else _response(expected)


def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return _response(ApiError(422, "invalid", f"{field or 'the request'}: {first['msg']}."))


def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    cause = (
        None if error.__cause__ is None else as_api_error(error.__cause__)
    )  # FastAPI's, while it read the body
    if cause is not None:
        return _response(cause)
    kind = "missing" if error.status_code == 404 else "invalid"
    return _response(ApiError(error.status_code, kind, f"{error.detail}."))


def _handle_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client has gone


def _handle_exception(request: Request, error: Exception) -> Response:
    log.exception("a request failed", exc_info=error)
    return _response(
        ApiError(500, "server", "an internal error occurred on the server; its log has the details.")
    )
