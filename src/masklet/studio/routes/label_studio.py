"""An ML backend for Label Studio: key points and rectangles in, brushes out.

https://labelstud.io/guide/ml_create describes what it sends to an ML backend, and what it expects back.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import re
import time
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException, HTTPResponse
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.error import URLError
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4
from xml.etree import ElementTree

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError

from masklet.boxes import Box
from masklet.caches import Busy
from masklet.media import Image, brush_region
from masklet.studio.errors import ApiError, limit_exceeded
from masklet.studio.inference.worker import Priority
from masklet.studio.routes import ANSWER_SECONDS, RequesterDep, StudioDep
from masklet.studio.routes.image import decode_image
from masklet.studio.store.uploads import read_once
from masklet.studio.studio import Studio
from masklet.types import Prompt

router = APIRouter(tags=["label studio"])

URL_VARIABLE, KEY_VARIABLE = "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"
FETCH_SECONDS = 10.0  # maximum time to fetch an image
WAIT_SECONDS = 10.0  # maximum time to wait for an image that another request fetches
READ_BYTES = 2**18  # at a time
DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+);base64,", re.IGNORECASE)

Percent = Annotated[float, Field(ge=-100, le=200, allow_inf_nan=False)]
Extent = Annotated[
    float, Field(ge=-200, le=200, allow_inf_nan=False)
]  # negative if drawn to the left or upwards


class ToolArea(BaseModel):
    """The position of a smart tool's use, in percent of the image's sides; rotated clockwise around x, y."""

    x: Percent
    y: Percent
    width: Extent = 0
    height: Extent = 0
    rotation: Annotated[float, Field(allow_inf_nan=False)] = 0
    keypointlabels: list[str] = []
    rectanglelabels: list[str] = []


class ToolUse(BaseModel):
    """One use of a smart tool."""

    type: Literal["keypointlabels", "rectanglelabels", "keypoint", "rectangle"]
    value: ToolArea
    is_positive: bool = True
    image_rotation: float = 0


@dataclass(frozen=True)
class Brush:
    """The BrushLabels of a labelling config.

    Attributes:
        labels: The names that it offers.
        data: The field of a task that names the image.
    """

    from_name: str
    to_name: str
    labels: tuple[str, ...]
    data: str


def find_brush(config: str) -> Brush:
    """The first BrushLabels of a labelling config, and its Image."""
    if "<!doctype" in config.lower() or "<!entity" in config.lower():  # these can grow without end
        raise _invalid("the label_config may not declare a document type or entities.")
    try:
        root = ElementTree.fromstring(config)
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise _invalid(f"the label_config is not valid XML: {error}.") from None
    images = {image.get("name"): image.get("value", "") for image in root.iter("Image")}
    for brush in root.iter("BrushLabels"):
        to_name = brush.get("toName", "")
        if to_name in images:
            labels = tuple(label.get("value", "") for label in brush.iter("Label"))
            return Brush(brush.get("name", ""), to_name, labels, images[to_name].removeprefix("$"))
    raise _invalid("the label_config must have an Image, and BrushLabels for it: masklet answers with masks.")


def to_prompt(uses: list[ToolUse], size: tuple[int, int]) -> Prompt:
    """One prompt from all uses of smart tools, on an image of a size (H, W)."""
    height, width = size
    clicks: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    box = None
    for use in uses:
        area = use.value
        x, y = area.x / 100 * width, area.y / 100 * height
        if use.image_rotation:
            raise _invalid("the image is rotated in Label Studio: undo the rotation, and use the tool again.")
        if use.type.startswith("rectangle"):
            box = _upright_box(x, y, area.width / 100 * width, area.height / 100 * height, area.rotation)
        else:
            point = min(max(x, 0), width - 1), min(max(y, 0), height - 1)  # 100 % is the edge itself
            if max(point) <= 1:  # the first pixel: other places in it are taken for parts of the sides
                point = min(0.5, width - 1), min(0.5, height - 1)
            clicks[use.is_positive].append(point)
    return Prompt(positive=clicks[True], negative=clicks[False], box=box)


def _upright_box(x: float, y: float, width: float, height: float, degrees: float) -> Box:
    """The box around a rectangle that is turned clockwise around its corner (x, y)."""
    turn = math.radians(degrees)
    corners = [
        (
            x + right * math.cos(turn) - down * math.sin(turn),
            y + right * math.sin(turn) + down * math.cos(turn),
        )
        for right, down in ((0, 0), (width, 0), (width, height), (0, height))
    ]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def find_label(uses: list[ToolUse], brush: Brush) -> str:
    """The label with which the tool was used; if the brush does not have it, the brush's first label."""
    used = [name for use in uses for name in (use.value.keypointlabels or use.value.rectanglelabels)]
    offered = [name for name in used if name in brush.labels]
    return (offered or list(brush.labels) or used or ["object"])[0]


def path_in_folder(address: str) -> str | None:
    """The path in the studio's folder for an image's address; None if there is none.

    >>> path_in_folder("/data/local-files/?d=cats/1.jpg"), path_in_folder("http://host/1.jpg")
    ('cats/1.jpg', None)
    """
    parts = urlsplit(address)
    if parts.path.rstrip("/").endswith("/data/local-files"):
        return parse_qs(parts.query).get("d", [""])[0]
    if parts.scheme or parts.netloc or address.startswith("/"):
        return None
    return unquote(parts.path)


def fetch_image(address: str, max_bytes: int) -> tuple[bytes, str]:
    """An image's bytes and suffix: from the address itself, or from the Label Studio that is trusted."""
    inline = DATA_URL.match(address)
    if inline:
        try:
            content = base64.b64decode(address[inline.end() :], validate=True)
        except binascii.Error:
            raise ApiError(400, "media", "the image's base64 is damaged.") from None
        return content, f".{inline[1].lower().partition('+')[0]}"
    host = os.environ.get(URL_VARIABLE, "").rstrip("/")
    if not host:
        raise ApiError(
            403,
            "forbidden",
            "the image is not in the studio's folder. To have it fetched from Label Studio, start the "
            f"studio with {URL_VARIABLE} and {KEY_VARIABLE} set.",
        )
    url = f"{host}{address}" if address.startswith("/") else address
    if urlsplit(url)[:2] != urlsplit(host)[:2]:
        raise ApiError(403, "forbidden", f"images are fetched from {host} only. Got {url[:100]}.")
    return _download(url, max_bytes), PurePosixPath(unquote(urlsplit(url).path)).suffix.lower() or ".png"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they could lead to another host."""

    def redirect_request(
        self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> None:
        return None


def _download(url: str, max_bytes: int) -> bytes:
    key = os.environ.get(KEY_VARIABLE, "")
    request = urllib.request.Request(url, headers={"authorization": f"Token {key}"} if key else {})
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=FETCH_SECONDS) as response:
            return _read(response, max_bytes)
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise ApiError(400, "media", f"{url[:100]} cannot be fetched: {error}.") from None


def _read(response: HTTPResponse, max_bytes: int) -> bytes:
    """Read the body of a response. Raises an error as soon as it is too long or too slow."""
    parts: list[bytes] = []
    count, end = 0, time.monotonic() + FETCH_SECONDS
    while part := response.read1(READ_BYTES):
        count += len(part)
        if count > max_bytes:
            raise limit_exceeded(f"an image can have at most {max_bytes >> 20} MiB.")
        if time.monotonic() > end:
            raise TimeoutError(f"it did not come within {FETCH_SECONDS:g} seconds")
        parts.append(part)
    return b"".join(parts)


def _invalid(message: str) -> ApiError:
    return ApiError(422, "invalid", message)


class Context(BaseModel):
    result: Annotated[list[dict[str, Any]], Field(max_length=1000)] = []

    def tool_uses(self) -> list[ToolUse]:
        """Key points and rectangles; brushes and other tools are passed over."""
        tools = ("keypoint", "rectangle")
        return [ToolUse.model_validate(use) for use in self.result if str(use.get("type")).startswith(tools)]


class Parameters(BaseModel):
    context: Context | None = None


class Task(BaseModel):
    data: dict[str, Any]


class PredictRequest(BaseModel):
    """Label Studio's request to `/predict`."""

    tasks: Annotated[list[Task], Field(max_length=1000)]
    label_config: Annotated[str, Field(max_length=1_000_000)]
    params: Parameters | None = None


@router.get("/", include_in_schema=False)
@router.get("/health")
def health(studio: StudioDep) -> dict[str, str]:
    return {"status": "UP", "model_class": "masklet", "model_version": studio.model_name}


@router.post("/setup")
def setup(studio: StudioDep, body: dict[str, Any]) -> dict[str, str]:
    """Label Studio was connected, or a project's labels changed."""
    schema = body.get("schema")
    if isinstance(schema, str) and schema.strip():
        find_brush(schema)
    return {"model_version": studio.model_name}


@router.post("/webhook", status_code=201)
def webhook(body: dict[str, Any]) -> dict[str, Any]:
    """Label Studio reports annotations; nothing is learned from them."""
    return {"status": "ok", "result": None}


@router.get("/metrics")
def metrics() -> dict[str, Any]:
    return {}


@router.post("/predict")
def predict(studio: StudioDep, requester: RequesterDep, body: PredictRequest) -> dict[str, Any]:
    """A mask for the uses of smart tools. Without any, the result is empty."""
    uses = _tool_uses(body)
    if not uses or not body.tasks:
        return {"results": []}
    brush = find_brush(body.label_config)
    address = body.tasks[0].data.get(brush.data)
    if not isinstance(address, str):
        raise _invalid(f"the task's data must have its image in the field '{brush.data}'.")
    image = _load_image(studio, address)
    prompt = to_prompt(uses, (image.shape[0], image.shape[1]))
    job = studio.worker.call(
        requester.id, Priority.prompt, lambda: studio.inference.segment_image(image, [prompt])
    )
    (masks,) = job.result(ANSWER_SECONDS)
    score = round(float(masks.iou[0]), 4)
    mask = masks.best
    region = brush_region(mask, find_label(uses, brush), from_name=brush.from_name, to_name=brush.to_name)
    result = [{"id": uuid4().hex[:10], **region, "score": score, "readonly": False}] if mask.any() else []
    return {"results": [{"model_version": studio.model_name, "score": score, "result": result}]}


def _tool_uses(body: PredictRequest) -> list[ToolUse]:
    if body.params is None or body.params.context is None:
        return []
    try:
        return body.params.context.tool_uses()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise _invalid(f"params.context.result.{field}: {first['msg']}.") from None


def _load_image(studio: Studio, address: str) -> Image:
    """The image of a task. It is fetched and decoded once for all clicks on it."""
    try:
        address.encode()
        path = path_in_folder(address)
    except ValueError:  # half a character, or http://[
        raise _invalid("the task's image has no valid address.") from None
    if path is None:
        key = sha256(address.encode()).hexdigest()

        def make() -> Image:
            return decode_image(studio, *fetch_image(address, studio.limits.image_bytes))
    else:
        file = studio.paths.resolve_in_folder(path)
        facts = file.stat()
        key = f"{file}|{facts.st_mtime_ns}|{facts.st_size}"

        def make() -> Image:
            return read_once(file, file.name, studio.limits, lambda decoder: decoder.read(0))

    try:
        return studio.task_images.get(key, make, seconds=WAIT_SECONDS)
    except Busy:
        raise ApiError(
            429, "queue", "too many images are being fetched. Try again shortly.", retry=1
        ) from None
