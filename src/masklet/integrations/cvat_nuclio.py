"""CVAT's serverless functions: a tracker and an interactor, which nuclio calls with CVAT's requests.

`examples/cvat` has the two folders for `nuctl deploy`. Images are base64 in JSON:

    interactor  {"image", "pos_points", "neg_points", "obj_bbox"}  ->  {"mask": rows of 0 and 255, "points"}
    tracker     {"image", "shapes", "states"}                      ->  {"shapes", "states"}

https://docs.cvat.ai/docs/guides/serverless-tutorial/
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, Self
from uuid import uuid4

import numpy as np

from masklet.caches import LruCache
from masklet.checkpoint import load
from masklet.drawing import outlines
from masklet.errors import MaskletError, MediaError, PromptError
from masklet.integrations.cvat_shapes import OBJECT, POLYGON, RECTANGLE, SHAPES, to_box, to_points, to_prompt
from masklet.media import read_image
from masklet.model import Sam2
from masklet.sessions.image import ImageSession
from masklet.sessions.tracker import Tracker
from masklet.tracking.policies import find_policy
from masklet.tracking.step import encode_frame
from masklet.types import Prompt

MODEL_VARIABLE = "MASKLET_MODEL"  # a name, path or hub id
IMAGE_BYTES = 64 * 2**20  # maximum size of an image in a request
STATE_BYTES = 2**30  # maximum size of all memories; the least recently used objects are dropped first
SESSIONS = 4  # maximum number of encoded images


class Function(Protocol):
    """Answers the body of a request."""

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]: ...


class Interactor:
    """Answers clicks and boxes on an image, which is decoded and encoded once for all clicks.

    Args:
        model: The network; by default nano.
    """

    def __init__(self, model: Sam2 | None = None) -> None:
        self._model = model or load()
        self._sessions: LruCache[str, ImageSession] = LruCache(SESSIONS)

    @classmethod
    def from_environment(cls) -> Self:
        """With the model of the environment variable MASKLET_MODEL; by default nano."""
        return cls(load(os.environ.get(MODEL_VARIABLE, "nano")))

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The best mask for the prompts; an empty mask without a prompt.

        Raises:
            MaskletError: The image or a prompt cannot be used.
        """
        data = _read_image(body)
        key = sha256(data).hexdigest()
        session = self._sessions.get(key)
        if session is None:
            session = ImageSession(self._model, read_image(data))
            self._sessions[key] = session
        corners = _read_corners(body)
        prompt = Prompt(
            positive=_read_points(body, "pos_points"),
            negative=_read_points(body, "neg_points"),
            box=to_box(corners) if corners else None,
        )
        mask = session.segment(prompt).best if prompt else np.zeros(session.size, dtype=bool)
        rings = [polygon[0] for polygon in outlines(mask)]
        largest = max(rings, key=len).tolist() if rings else []
        return {"mask": (mask * np.uint8(255)).tolist(), "points": largest}


class ShapeTracker:
    """Tracks shapes from frame to frame. A state is a key to memories in this process.

    A state can be used again, so users can go back to an earlier frame. The function must run in one worker.

    Args:
        model: The network; by default nano.
        policy: The memory policy by its name.
    """

    def __init__(self, model: Sam2 | None = None, policy: str = "recency") -> None:
        self._model = model or load()
        self._policy = policy
        config = self._model.config
        memory = config.grid**2 * config.memory_channels * self._model.memory_dtype.itemsize
        of_object = 2 * find_policy(policy)().capacity * memory
        self._states: LruCache[str, Tracker] = LruCache(STATE_BYTES, size=lambda tracker: of_object)

    @classmethod
    def from_environment(cls) -> Self:
        """With the model of the environment variable MASKLET_MODEL; by default nano."""
        return cls(load(os.environ.get(MODEL_VARIABLE, "nano")))

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Start to track the shapes without a state, and track the others to this frame.

        A shape that is not visible on the frame keeps its last position.

        Raises:
            MaskletError: The image, a shape or a state cannot be used.
        """
        image = read_image(_read_image(body))
        features = encode_frame(self._model, image)
        given, states = body.get("shapes") or [], body.get("states") or []
        shapes, names = [], []
        for row in range(max(len(given), len(states))):
            shape = Shape.read(given[row]) if row < len(given) else None
            state = states[row] if row < len(states) else None
            if state is None:
                if shape is None:
                    raise PromptError(f"shape {row} has neither points nor a state: draw it first.")
                tracker, prompts = self._begin(), {OBJECT: shape.to_prompt(image.shape[:2])}
            else:
                tracker, prompts = self._find(state), {}
            masks = tracker.step(image, prompts, features=features)
            shape = shape or Shape.of_state(state or {})
            points = shape.points if state is None else to_points(shape.type, masks)
            after = shape.move_to(shape.points if points is None else points)
            name = uuid4().hex
            self._states[name] = tracker
            shapes.append(after.write())
            names.append({"id": name, **after.description()})
        return {"shapes": shapes, "states": names}

    def _begin(self) -> Tracker:
        return Tracker(self._model, policy=self._policy)

    def _find(self, state: object) -> Tracker:
        """A copy of the tracker of a state, so that the state can be used again."""
        name = state.get("id") if isinstance(state, Mapping) else None
        tracker = self._states.get(str(name))
        if tracker is None:
            raise PromptError(
                "the function no longer has memories of this object: it was restarted, or has tracked too "
                "many other objects. Draw the object on this frame again."
            )
        return deepcopy(tracker, {id(self._model): self._model})


@dataclass(frozen=True)
class Shape:
    """A shape of a request: a list of numbers, or a type with points.

    Attributes:
        is_list: Whether it was a list; the answer then is a list, too.
    """

    type: str
    points: list[float]
    is_list: bool

    @classmethod
    def read(cls, shape: object) -> Shape:
        if isinstance(shape, Mapping):
            type, points, is_list = shape.get("type"), shape.get("points"), False
        else:
            type, points, is_list = None, shape, True
        try:
            numbers = [float(value) for value in points]  # type: ignore[union-attr]
        except (TypeError, ValueError):
            raise PromptError("a shape must be a list of numbers, or have a type and points.") from None
        named = type or (RECTANGLE if len(numbers) == 4 else POLYGON)
        if named not in SHAPES:
            raise PromptError(f"shapes of the types {', '.join(SHAPES)} can be tracked. Got {named!r}.")
        return cls(named, numbers, is_list)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Shape:
        """The shape of a state's last answer."""
        shape = cls.read({"type": state.get("type"), "points": state.get("points")})
        return cls(shape.type, shape.points, bool(state.get("is_list")))

    def description(self) -> dict[str, Any]:
        """The shape's description in a state, for requests that only send states."""
        return {"type": self.type, "points": self.points, "is_list": self.is_list}

    def to_prompt(self, size: Sequence[int]) -> Prompt:
        return to_prompt(self.type, self.points, tuple(size))

    def move_to(self, points: list[float]) -> Shape:
        return Shape(self.type, points, self.is_list)

    def write(self) -> list[float] | dict[str, Any]:
        return self.points if self.is_list else {"type": self.type, "points": self.points}


def respond(function: Function, context: Any, event: Any) -> Any:
    """Answer a call of nuclio. Errors are answered with a message and HTTP status 400."""
    try:
        body = event.body if isinstance(event.body, Mapping) else json.loads(event.body)
        if not isinstance(body, Mapping):
            raise PromptError("a request must be a JSON object.")
        content, code = function.answer(body), 200
    except (MaskletError, json.JSONDecodeError, UnicodeDecodeError) as error:
        content, code = {"error": str(error)}, 400
    return context.Response(
        body=json.dumps(content), headers={}, content_type="application/json", status_code=code
    )


def _read_image(body: Mapping[str, Any]) -> bytes:
    text = body.get("image")
    if not isinstance(text, str):
        raise MediaError("a request must have an image, as base64 under 'image'.")
    if len(text) > IMAGE_BYTES * 4 / 3 + 4:
        raise MediaError(f"an image may have at most {IMAGE_BYTES >> 20} MiB.")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise MediaError("the image's base64 is damaged.") from None


def _read_points(body: Mapping[str, Any], key: str) -> list[tuple[float, float]]:
    try:
        return [(float(x), float(y)) for x, y in body.get(key) or []]
    except (TypeError, ValueError):
        raise PromptError(f"{key} must be a list of [x, y].") from None


def _read_corners(body: Mapping[str, Any]) -> list[float]:
    """The two corners of a box, as four numbers; none if there is no box."""
    try:
        corners: list[float] = np.array(body.get("obj_bbox") or [], dtype=float).reshape(-1).tolist()
    except (TypeError, ValueError):
        corners = [math.nan]
    if len(corners) not in (0, 4) or not all(map(math.isfinite, corners)):
        raise PromptError("obj_bbox must be two corners, [[x0, y0], [x1, y1]], of finite numbers.")
    return corners
