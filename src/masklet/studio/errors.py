"""Errors as the API sends them: a status, a word and a sentence."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from masklet.errors import MaskletError, MediaError, PromptError
from masklet.media import NoSuchFrame

log = logging.getLogger(__name__)


class ApiError(MaskletError):
    """An error that is an HTTP response.

    kind : the word that docs/api.md lists
    retry : seconds after which the client may try again
    """

    def __init__(self, status: int, kind: str, message: str, *, retry: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry = retry


def not_found(message: str) -> ApiError:
    return ApiError(404, "missing", message)


def limit_exceeded(message: str) -> ApiError:
    return ApiError(413, "limit", message)


def as_api_error(error: MaskletError) -> ApiError:
    """The response that tells a person of an error."""
    match error:
        case ApiError():
            return error
        case NoSuchFrame():
            return not_found(str(error))
        case PromptError():
            return ApiError(400, "prompt", str(error))
        case MediaError():
            return ApiError(400, "media", str(error))
    return ApiError(400, "invalid", str(error))


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer every error with a sentence."""
    app.add_exception_handler(MaskletError, _handle_masklet_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(Exception, _handle_exception)


def capitalize_sentence(message: str) -> str:
    return message[:1].upper() + message[1:]


def _response(error: ApiError) -> JSONResponse:
    headers = {} if error.retry is None else {"retry-after": str(error.retry)}
    body = {"error": error.kind, "message": capitalize_sentence(str(error))}
    return JSONResponse(body, error.status, headers)


def _handle_masklet_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MaskletError)
    return _response(as_api_error(error))


def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return _response(ApiError(422, "invalid", f"{field or 'the request'}: {first['msg']}."))


def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "missing" if error.status_code == 404 else "invalid"
    return _response(ApiError(error.status_code, kind, f"{error.detail}."))


def _handle_exception(request: Request, error: Exception) -> Response:
    log.exception("a request failed", exc_info=error)
    return _response(ApiError(500, "server", "the server made a mistake; its log says which."))
