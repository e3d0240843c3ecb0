"""CVAT's auto-annotation functions: one tracks objects, one answers clicks with masks.

    cvat-cli --server-host URL function create-native "masklet" --function-module masklet.integrations.cvat
    cvat-cli --server-host URL task auto-annotate 42 --function-module masklet.integrations.cvat

https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import PIL.Image

from masklet.checkpoint import load
from masklet.errors import MissingExtra, OptionError
from masklet.integrations.cvat_shapes import MASK, OBJECT, SHAPES, encode_mask, to_box, to_points, to_prompt
from masklet.media import read_image
from masklet.model import Sam2
from masklet.sessions.image import ImageSession
from masklet.sessions.tracker import Tracker
from masklet.tracking.step import encode_frame, encode_image
from masklet.types import FrameFeatures, Prompt

try:
    import cvat_sdk.auto_annotation as cvat
    from cvat_sdk.models import AttributeValRequest
except ImportError as error:
    raise MissingExtra("cvat", "cvat-sdk") from error

__all__ = ["ClickFunction", "TrackFunction", "create"]


@dataclass(frozen=True)
class EncodedImage:
    """An image, encoded once for all shapes on it."""

    pixels: np.ndarray
    features: FrameFeatures


class TrackFunction:
    """Tracks masks, polygons and rectangles from frame to frame; CVAT calls its methods.

    Args:
        model: The network; by default nano.
        policy: The memory policy by its name.
    """

    def __init__(self, model: Sam2 | None = None, policy: str = "recency") -> None:
        self._model = model or load()
        self._policy = policy

    @property
    def spec(self) -> cvat.TrackingFunctionSpec:
        return cvat.TrackingFunctionSpec(supported_shape_types=list(SHAPES))

    def preprocess_image(self, context: cvat.TrackingFunctionContext, image: PIL.Image.Image) -> EncodedImage:
        """Encode a frame, once for all shapes."""
        pixels = read_image(image)
        return EncodedImage(pixels, encode_frame(self._model, pixels))

    def init_tracking_state(
        self,
        context: cvat.TrackingFunctionShapeContext,
        pp_image: EncodedImage,
        shape: cvat.TrackableShape,
    ) -> ShapeTracker:
        """Start to track a shape on the frame on which a user drew it."""
        tracker = Tracker(self._model, policy=self._policy)
        prompt = to_prompt(shape.type, shape.points, pp_image.pixels.shape[:2])
        tracker.step(pp_image.pixels, {OBJECT: prompt}, features=pp_image.features)
        return ShapeTracker(tracker, shape.type)

    def track(
        self,
        context: cvat.TrackingFunctionShapeContext,
        pp_image: EncodedImage,
        state: ShapeTracker,
    ) -> cvat.TrackableShape | None:
        """The shape on the next frame; None if the object is not visible."""
        masks = state.tracker.step(pp_image.pixels, features=pp_image.features)
        points = to_points(state.type, masks)
        return None if points is None else cvat.TrackableShape(type=state.type, points=points)


@dataclass(frozen=True)
class ShapeTracker:
    """A tracked shape, with its memories."""

    tracker: Tracker
    type: str


class ClickFunction:
    """Answers clicks and boxes on an image with a mask; CVAT calls its methods.

    Args:
        model: The network; by default nano.
    """

    def __init__(self, model: Sam2 | None = None) -> None:
        self._model = model or load()

    @cached_property
    def spec(self) -> cvat.InteractionFunctionSpec:
        return cvat.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(
        self, context: cvat.InteractionFunctionContext, image: PIL.Image.Image
    ) -> EncodedImage:
        """Encode an image, once for all clicks."""
        pixels = read_image(image)
        return EncodedImage(pixels, encode_image(self._model, pixels))

    def process_prompts(
        self,
        context: cvat.InteractionFunctionContext,
        pp_image: EncodedImage,
        prompts: cvat.InteractionPrompts,
    ) -> list[cvat.InteractionResultShape]:
        """The best mask for the clicks and the box, as a shape; no shape without a prompt."""
        box = prompts.bounding_box
        prompt = Prompt(
            positive=list(prompts.pos_points),
            negative=list(prompts.neg_points),
            box=None if box is None else to_box((*box[0], *box[1])),
        )
        if not prompt:
            return []
        session = ImageSession(self._model, pp_image.pixels, features=pp_image.features)
        candidates = session.segment(prompt)
        if not candidates.best.any():
            return []
        confidence = AttributeValRequest(
            spec_id=int(cvat.InteractionResultAttributes.CONFIDENCE), value=f"{float(candidates.iou[0]):.4f}"
        )
        points = encode_mask(candidates.best)
        return [cvat.InteractionResultShape(type=MASK, points=points, attributes=[confidence])]


def create(
    kind: str = "track", model: str = "nano", policy: str = "recency"
) -> TrackFunction | ClickFunction:
    """Create a function; `cvat-cli --function-module masklet.integrations.cvat -p kind=str:click` calls this.

    Args:
        kind: "track" to track shapes, "click" to answer clicks.
        model: A model's name, path or hub id.
        policy: The memory policy by its name.

    Raises:
        OptionError: There is no such kind.
    """
    if kind == "track":
        return TrackFunction(load(model), policy)
    if kind == "click":
        return ClickFunction(load(model))
    raise OptionError(f'kind must be "track" or "click". Got {kind!r}.')
