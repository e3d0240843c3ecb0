"""Images without a session: an image and prompts in, masks out, nothing kept."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter, ValidationError

from masklet.media import Image, is_image
from masklet.studio import schemas
from masklet.studio.errors import ApiError, limit_exceeded
from masklet.studio.inference.worker import Priority
from masklet.studio.requests import PromptBody, parse_json
from masklet.studio.routes import ANSWER_SECONDS, RequesterDep, StrictRoute, StudioDep
from masklet.studio.security import Requester
from masklet.studio.store.database import new_id
from masklet.studio.store.uploads import Form, file_form, read_once, receive_form
from masklet.studio.studio import Studio
from masklet.types import ImageCandidates

router = APIRouter(route_class=StrictRoute, tags=["images"])

MAX_PROMPTS = 32
_PROMPTS: TypeAdapter[list[PromptBody]] = TypeAdapter(list[PromptBody])


@router.post("/image", openapi_extra=file_form(image="file", prompts="text"))
async def segment(request: Request, studio: StudioDep, requester: RequesterDep) -> schemas.ImageMasks:
    """Masks for one or several prompts on an image. Nothing is stored.

    A multipart form: `image`, the file, and `prompts`, JSON: one prompt or a list of them, each with
    `positive`, `negative`, `box` and `mask`, which may be left out.
    """
    await run_in_threadpool(studio.quota.check)
    async with receive_form(request, "image", studio.settings.spool, studio.quota) as form:
        return await run_in_threadpool(_segment, studio, requester, form)


def _segment(studio: Studio, requester: Requester, form: Form) -> schemas.ImageMasks:
    start = time.perf_counter()
    bodies = _parse_prompts(form.fields.get("prompts"))
    image = _decode(studio, _as_image(form))
    size = image.shape[0], image.shape[1]
    prompts = [body.to_prompt(size, studio.limits.points) for body in bodies]
    job = studio.worker.call(
        requester.id, Priority.prompt, lambda: studio.inference.segment_image(image, prompts)
    )
    results = job.result(ANSWER_SECONDS)
    return schemas.ImageMasks(
        size=size,
        model=studio.model_name,
        milliseconds=round(1000 * (time.perf_counter() - start)),
        results=[schemas.PromptMasks(masks=_rank_masks(masks)) for masks in results],
    )


def decode_image(studio: Studio, content: bytes, suffix: str) -> Image:
    """Decode an image's bytes in a separate process."""
    file = studio.settings.spool / f"{new_id()}{suffix}"
    try:
        file.write_bytes(content)
        return _decode(studio, file)
    finally:
        file.unlink(missing_ok=True)


def _decode(studio: Studio, file: Path) -> Image:
    if file.stat().st_size > studio.limits.image_bytes:
        raise limit_exceeded(f"an image can have at most {studio.limits.image_bytes >> 20} MiB.")
    return read_once(file, "the image", studio.limits, lambda decoder: decoder.read(0))


def _as_image(form: Form) -> Path:
    """The file that was sent, under an image's name."""
    file = form.file
    if not file.suffix:
        form.path = file.rename(file.with_suffix(".png"))
    elif not is_image(file):
        raise ApiError(400, "media", f"image must be an image file. Got a file named {file.suffix}.")
    return form.file


def _parse_prompts(text: bytes | None) -> list[PromptBody]:
    if text is None:
        raise ApiError(422, "invalid", "the form must have prompts, as JSON.")
    sent = parse_json(text)
    try:
        prompts = _PROMPTS.validate_python(sent if isinstance(sent, list) else [sent])
    except ValidationError as error:
        raise ApiError(422, "invalid", f"prompts must be JSON: {error.errors()[0]['msg']}.") from None
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise ApiError(422, "invalid", f"send from 1 to {MAX_PROMPTS} prompts.")
    return prompts


def _rank_masks(masks: ImageCandidates) -> list[schemas.ImageMask]:
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
