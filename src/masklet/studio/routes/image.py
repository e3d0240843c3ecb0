"""Pictures without a session: a picture and prompts in, masks out, nothing kept."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from pydantic import TypeAdapter, ValidationError

from masklet.media import Image
from masklet.media.readers.pictures import is_picture
from masklet.studio import answers
from masklet.studio.drawn import Said
from masklet.studio.errors import Refusal
from masklet.studio.footage import Footage
from masklet.studio.routes.common import Asking, Here, Sent, View
from masklet.studio.studio import Studio
from masklet.studio.worker import Line
from masklet.types import Masks

router = APIRouter(tags=["pictures"])

LONG = 120  # seconds
MOST_PROMPTS = 32
PROMPTS: TypeAdapter[list[Said]] = TypeAdapter(list[Said])
PROMPT = TypeAdapter(Said)


@router.post("/image", response_model=answers.Picture)
def segment(studio: Here, who: Asking, image: Sent, prompts: Annotated[str, Form()]) -> View:
    """Masks for one prompt or several on a picture.

    prompts : JSON, one prompt or a list of them
    """
    began = time.perf_counter()
    said = _prompts(prompts)
    picture = sent_picture(studio, image)
    size = picture.shape[0], picture.shape[1]
    meant = [each.prompt(size, studio.limits.points) for each in said]
    found = studio.worker.call(who.id, Line.prompt, lambda: studio.engine.picture(picture, meant)).result(
        LONG
    )
    return {
        "size": list(size),
        "model": studio.model_name,
        "milliseconds": round(1000 * (time.perf_counter() - began)),
        "results": [{"masks": _ranked(masks)} for masks in found],
    }


def sent_picture(studio: Studio, image: UploadFile) -> Image:
    """The pixels of a picture that was sent; a process of its own decodes them."""
    suffix = Path(image.filename or "").suffix.lower() or ".png"
    if not is_picture(Path(f"a{suffix}")):
        raise Refusal(400, "media", f"image must be a picture. Got a file named {suffix[:10]}.")
    content = image.file.read(studio.limits.picture_bytes + 1)
    return decoded(studio, content, suffix)


def decoded(studio: Studio, content: bytes, suffix: str) -> Image:
    if len(content) > studio.limits.picture_bytes:
        raise Refusal(413, "limit", f"a picture may have {studio.limits.picture_bytes >> 20} MiB.")
    handle, name = tempfile.mkstemp(suffix=suffix, dir=studio.settings.data)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        footage = Footage(Path(name), studio.limits)
        try:
            return footage.pixels(0)
        finally:
            footage.close()
    finally:
        Path(name).unlink()


def _prompts(text: str) -> list[Said]:
    try:
        listed = text.lstrip().startswith("[")
        said = PROMPTS.validate_json(text) if listed else [PROMPT.validate_json(text)]
    except ValidationError as error:
        raise Refusal(422, "invalid", f"prompts must be JSON: {error.errors()[0]['msg']}.") from None
    if not 1 <= len(said) <= MOST_PROMPTS:
        raise Refusal(422, "invalid", f"one to {MOST_PROMPTS} prompts can be sent.")
    return said


def _ranked(masks: Masks) -> list[View]:
    rows = zip(
        masks.ids, masks.iou.tolist(), masks.score.tolist(), masks.boxes.tolist(), masks.rle(), strict=True
    )
    return [
        {"rank": rank, "iou": round(iou, 4), "score": round(score, 3), "box": box, "rle": code}
        for rank, iou, score, box, code in rows
    ]
