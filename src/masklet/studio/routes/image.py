"""Pictures without a session: a picture and prompts in, masks out, nothing kept."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from pydantic import TypeAdapter, ValidationError

from masklet.media import Image, is_picture
from masklet.studio import schemas
from masklet.studio.errors import ApiError, limit_exceeded
from masklet.studio.requests import PromptBody
from masklet.studio.routes.dependencies import ANSWER_SECONDS, RequesterDep, SentFile, StudioDep
from masklet.studio.storage import read_once
from masklet.studio.studio import Studio
from masklet.studio.worker import Priority
from masklet.types import ImageCandidates

router = APIRouter(tags=["pictures"])

MAX_PROMPTS = 32
_PROMPTS: TypeAdapter[list[PromptBody]] = TypeAdapter(list[PromptBody])


@router.post("/image")
def segment(
    studio: StudioDep, requester: RequesterDep, image: SentFile, prompts: Annotated[str, Form()]
) -> schemas.ImageMasks:
    """Masks for one prompt or several on a picture. Nothing is kept.

    A multipart form: `image`, a picture, and `prompts`, JSON: one prompt or a list of them, each with
    `positive`, `negative`, `box` and `mask`, which may be left out.
    """
    start = time.perf_counter()
    bodies = _parse_prompts(prompts)
    picture = _read_upload(studio, image)
    size = picture.shape[0], picture.shape[1]
    parsed = [body.to_prompt(size, studio.limits.points) for body in bodies]
    job = studio.worker.call(requester.id, Priority.prompt, lambda: studio.engine.picture(picture, parsed))
    results = job.result(ANSWER_SECONDS)
    return schemas.ImageMasks(
        size=size,
        model=studio.model_name,
        milliseconds=round(1000 * (time.perf_counter() - start)),
        results=[schemas.PromptMasks(masks=_ranked(masks)) for masks in results],
    )


def decode_picture(studio: Studio, content: bytes, suffix: str) -> Image:
    """The pixels of a picture's bytes; a process of its own decodes them."""
    if len(content) > studio.limits.picture_bytes:
        raise limit_exceeded(f"a picture may have {studio.limits.picture_bytes >> 20} MiB.")
    handle, name = tempfile.mkstemp(suffix=suffix, dir=studio.settings.data)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return read_once(Path(name), studio.limits, lambda decoder: decoder.read(0))
    finally:
        Path(name).unlink()


def _read_upload(studio: Studio, image: UploadFile) -> Image:
    suffix = Path(image.filename or "").suffix.lower() or ".png"
    if not is_picture(Path(f"a{suffix}")):
        raise ApiError(400, "media", f"image must be a picture. Got a file named {suffix[:10]}.")
    content = image.file.read(studio.limits.picture_bytes + 1)
    return decode_picture(studio, content, suffix)


def _parse_prompts(text: str) -> list[PromptBody]:
    try:
        is_list = text.lstrip().startswith("[")
        prompts = _PROMPTS.validate_json(text) if is_list else [PromptBody.model_validate_json(text)]
    except ValidationError as error:
        raise ApiError(422, "invalid", f"prompts must be JSON: {error.errors()[0]['msg']}.") from None
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise ApiError(422, "invalid", f"one to {MAX_PROMPTS} prompts can be sent.")
    return prompts


def _ranked(masks: ImageCandidates) -> list[schemas.ImageMask]:
    rows = zip(
        range(len(masks)),
        masks.iou.tolist(),
        masks.score.tolist(),
        masks.boxes.tolist(),
        masks.rle(),
        strict=True,
    )
    return [
        schemas.ImageMask(
            rank=rank, iou=round(iou, 4), score=round(score, 3), box=box, rle=schemas.Rle.model_validate(rle)
        )
        for rank, iou, score, box, rle in rows
    ]
