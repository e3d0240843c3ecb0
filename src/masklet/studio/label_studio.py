"""Label Studio's words, and what they mean here: its labelling config, its smart tools, its pictures.

https://labelstud.io/guide/ml_create describes what it sends to an ML backend, and what it wants back.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.error import URLError
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from pydantic import BaseModel, Field

from masklet.studio.errors import Refusal
from masklet.types import Prompt

ADDRESS, KEY = "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"
PATIENCE = 10.0  # seconds for a picture to come
DATA = re.compile(r"data:image/([a-z0-9.+-]+);base64,", re.IGNORECASE)

Percent = Annotated[float, Field(ge=-100, le=200, allow_inf_nan=False)]


class Place(BaseModel):
    """Where a smart tool was used, in percent of the picture's sides."""

    x: Percent
    y: Percent
    width: Percent = 0
    height: Percent = 0
    keypointlabels: list[str] = []
    rectanglelabels: list[str] = []


class Used(BaseModel):
    """One use of a smart tool."""

    type: Literal["keypointlabels", "rectanglelabels", "keypoint", "rectangle"]
    value: Place
    is_positive: bool = True


@dataclass(frozen=True)
class Brush:
    """Where a labelling config wants masks.

    labels : the names that it offers
    data : the field of a task that names the picture
    """

    from_name: str
    to_name: str
    labels: tuple[str, ...]
    data: str


def brush_of(config: str) -> Brush:
    """The first BrushLabels of a labelling config, and its Image."""
    if "<!doctype" in config.lower() or "<!entity" in config.lower():  # these can grow without end
        raise _unfit("the label_config may not declare a document type or entities.")
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise _unfit(f"the label_config is not XML: {error}.") from None
    images = {each.get("name"): each.get("value", "") for each in root.iter("Image")}
    for brush in root.iter("BrushLabels"):
        to_name = brush.get("toName", "")
        if to_name in images:
            labels = tuple(label.get("value", "") for label in brush.iter("Label"))
            return Brush(brush.get("name", ""), to_name, labels, images[to_name].removeprefix("$"))
    raise _unfit("the label_config must have an Image, and BrushLabels for it: masklet answers with masks.")


def prompt_of(used: list[Used], size: tuple[int, int]) -> Prompt:
    """What the smart tools point at, all together, on a picture of a size (H, W)."""
    height, width = size
    clicks: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    box = None
    for each in used:
        place = each.value
        x, y = place.x / 100 * width, place.y / 100 * height
        if each.type.startswith("rectangle"):
            box = x, y, x + place.width / 100 * width, y + place.height / 100 * height
        else:
            inside = min(max(x, 0), width - 1), min(max(y, 0), height - 1)  # 100 % is the edge itself
            clicks[each.is_positive].append(inside)
    return Prompt(positive=clicks[True], negative=clicks[False], box=box)


def label_of(used: list[Used], brush: Brush) -> str:
    """The label under which the tool was used; where the brush has no such label, its first."""
    chosen = [name for each in used for name in (each.value.keypointlabels or each.value.rectanglelabels)]
    known = [name for name in chosen if name in brush.labels]
    return (known or list(brush.labels) or chosen or ["object"])[0]


def in_folder(address: str) -> str | None:
    """The path in the studio's folder that a picture's address means; None where it means none.

    >>> in_folder("/data/local-files/?d=cats/1.jpg"), in_folder("cats/1.jpg"), in_folder("http://host/1.jpg")
    ('cats/1.jpg', 'cats/1.jpg', None)
    """
    parts = urlsplit(address)
    if parts.path.rstrip("/").endswith("/data/local-files"):
        return parse_qs(parts.query).get("d", [""])[0]
    if parts.scheme or parts.netloc or address.startswith("/"):
        return None
    return unquote(parts.path)


def fetched(address: str, room: int) -> tuple[bytes, str]:
    """A picture's bytes and suffix: from the address itself, or from the Label Studio that is trusted."""
    inline = DATA.match(address)
    if inline:
        try:
            content = base64.b64decode(address[inline.end() :], validate=True)
        except binascii.Error:
            raise Refusal(400, "media", "the picture's base64 is damaged.") from None
        return content, f".{inline[1].lower().partition('+')[0]}"
    host = os.environ.get(ADDRESS, "").rstrip("/")
    if not host:
        raise Refusal(
            403,
            "forbidden",
            "the picture is not in the studio's folder. To have it fetched from Label Studio, start the "
            f"studio with {ADDRESS} and {KEY} set.",
        )
    url = f"{host}{address}" if address.startswith("/") else address
    if urlsplit(url)[:2] != urlsplit(host)[:2]:
        raise Refusal(403, "forbidden", f"pictures are fetched from {host} only. Got {url[:100]}.")
    return _download(url, room), PurePosixPath(unquote(urlsplit(url).path)).suffix.lower() or ".png"


class _Straight(urllib.request.HTTPRedirectHandler):
    """Goes where it was told to, and nowhere else."""

    def redirect_request(
        self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> None:
        return None


def _download(url: str, room: int) -> bytes:
    key = os.environ.get(KEY, "")
    request = urllib.request.Request(url, headers={"authorization": f"Token {key}"} if key else {})
    try:
        with urllib.request.build_opener(_Straight).open(request, timeout=PATIENCE) as answer:
            content: bytes = answer.read(room + 1)
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise Refusal(400, "media", f"{url[:100]} cannot be fetched: {error}.") from None
    return content


def _unfit(message: str) -> Refusal:
    return Refusal(422, "invalid", message)


class Context(BaseModel):
    result: Annotated[list[dict[str, Any]], Field(max_length=1000)] = []

    def used(self) -> list[Used]:
        """The uses of the tools that masklet understands; brushes and others are passed over."""
        kinds = ("keypoint", "rectangle")
        return [Used.model_validate(each) for each in self.result if str(each.get("type")).startswith(kinds)]


class Parameters(BaseModel):
    context: Context | None = None


class Task(BaseModel):
    data: dict[str, Any]


class Asked(BaseModel):
    """What Label Studio sends to `/predict`."""

    tasks: Annotated[list[Task], Field(max_length=1000)]
    label_config: Annotated[str, Field(max_length=1_000_000)]
    params: Parameters | None = None
