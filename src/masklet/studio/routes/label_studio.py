"""An ML backend for Label Studio: key points and rectangles in, brushes out."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter
from pydantic import ValidationError

from masklet.media import Image, brush_region
from masklet.studio.errors import Refusal
from masklet.studio.footage import Footage
from masklet.studio.label_studio import Asked, Used, brush_of, fetched, in_folder, label_of, prompt_of
from masklet.studio.routes.common import Asking, Here, View
from masklet.studio.routes.image import LONG, decoded
from masklet.studio.studio import Studio
from masklet.studio.worker import Line

router = APIRouter(tags=["label studio"])


@router.get("/", include_in_schema=False)
@router.get("/health")
def health(studio: Here) -> View:
    return {"status": "UP", "model_class": "masklet", "model_version": studio.model_name}


@router.post("/setup")
def setup(studio: Here, body: dict[str, Any]) -> View:
    """Label Studio was connected, or a project's labels changed."""
    schema = body.get("schema")
    if isinstance(schema, str) and schema.strip():
        brush_of(schema)
    return {"model_version": studio.model_name}


@router.post("/webhook", status_code=201)
def webhook(body: dict[str, Any]) -> View:
    """Label Studio tells of annotations; nothing is learned from them."""
    return {"status": "ok", "result": None}


@router.get("/metrics")
def metrics() -> View:
    return {}


@router.post("/predict")
def predict(studio: Here, who: Asking, body: Asked) -> View:
    """A mask for what the smart tools were used on; without a use of them there is nothing to answer."""
    used = _used(body)
    if not used or not body.tasks:
        return {"results": []}
    brush = brush_of(body.label_config)
    address = body.tasks[0].data.get(brush.data)
    if not isinstance(address, str):
        raise Refusal(422, "invalid", f"the task's data must name its picture under '{brush.data}'.")
    picture = _picture(studio, address)
    prompt = prompt_of(used, (picture.shape[0], picture.shape[1]))
    job = studio.worker.call(who.id, Line.prompt, lambda: studio.engine.picture(picture, [prompt]))
    (masks,) = job.result(LONG)
    score = round(float(masks.iou[0]), 4)
    mask = masks[masks.ids[0]]
    region = brush_region(mask, label_of(used, brush), from_name=brush.from_name, to_name=brush.to_name)
    found = [{"id": uuid4().hex[:10], **region, "score": score, "readonly": False}] if mask.any() else []
    return {"results": [{"model_version": studio.model_name, "score": score, "result": found}]}


def _used(body: Asked) -> list[Used]:
    if body.params is None or body.params.context is None:
        return []
    try:
        return body.params.context.used()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refusal(422, "invalid", f"params.context.result.{where}: {first['msg']}.") from None


def _picture(studio: Studio, address: str) -> Image:
    path = in_folder(address)
    if path is None:
        return decoded(studio, *fetched(address, studio.limits.picture_bytes))
    footage = Footage(studio.places.inside(path), studio.limits)
    try:
        return footage.pixels(0)
    finally:
        footage.close()
