"""The interface of evaluated predictors that all protocols use, and a model as a predictor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch

from masklet.boxes import tight_box
from masklet.errors import MaskletError
from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.image import ImageSession
from masklet.sessions.video import VideoSession
from masklet.simulated_user import ImagePredictor, next_click
from masklet.types import Masks, Prompt
from masklet.zoom import find_zoom

PromptKind = Literal["mask", "box", "1 click", "3 clicks", "5 clicks"]
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)


@runtime_checkable
class VideoPredictor(Protocol):
    """A clip in which objects are prompted and tracked; VideoSession is one."""

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        """Add a prompt to those of an object on a frame; returns that frame's masks."""

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        """Track all objects from a frame, or from the first prompt, to the end of the clip."""


@runtime_checkable
class Predictor(Protocol):
    """A model or a baseline."""

    @property
    def identity(self) -> str:
        """Name, digest of the weights, and options. Results of one identity may be combined."""

    def video(self, frames: Frames) -> VideoPredictor: ...

    def image(self, image: np.ndarray) -> ImagePredictor: ...


@dataclass(frozen=True)
class ModelPredictor:
    """A model as a predictor.

    Attributes:
        policy: The name of its memory policy.
        cuts: Detect scene cuts.
        zoom: Segment objects a second time, see `masklet.zoom`; None uses the model's config.
        features: The features of the clip, if its frames are already encoded and no other clip is tracked.
    """

    name: str
    model: Sam2
    policy: str = "recency"
    cuts: bool = False
    zoom: bool | None = None
    features: FeatureCache | None = None

    @cached_property
    def digest(self) -> str:
        """A digest of the weights: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in self.model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def uses_zoom(self) -> bool:
        return find_zoom(self.zoom, default=self.model.config.zoom) is not None

    @cached_property
    def identity(self) -> str:
        config = self.model.config  # its options that the weights do not show
        options = [
            *([f"{config.memory_dtype} memories"] if config.memory_dtype != "bfloat16" else []),
            *(["held clicks"] if config.holds_clicks else []),
            *(["zoom"] if self.uses_zoom else []),
            *([self.policy] if self.policy != "recency" else []),
            *(["cuts"] if self.cuts else []),
        ]
        return ", ".join([f"{self.name} {self.digest}", *options])

    def video(self, frames: Frames) -> VideoPredictor:
        # The published predictor, and so its scores, scale the age of memories by the clip's length.
        return VideoSession(
            self.model,
            frames,
            policy=self.policy,
            cuts=self.cuts,
            clip_length=len(frames),
            features=self.features,
            zoom=self.zoom,
        )

    def image(self, image: np.ndarray) -> ImagePredictor:
        return ImageSession(self.model, image, zoom=self.zoom)


def require_model(predictor: Predictor, reason: str) -> ModelPredictor:
    """The predictor, if it is a model; a baseline raises MaskletError.

    Args:
        reason: The reason, as the start of a sentence.
    """
    if not isinstance(predictor, ModelPredictor):
        raise MaskletError(f"{reason}, but {predictor.identity} is a baseline: choose a model.")
    return predictor


def count_clicks(kind: PromptKind) -> int | None:
    """The number of clicks in a kind of prompt; None for a mask or a box."""
    return int(kind.split()[0]) if "click" in kind else None


def prompt_object(video: VideoPredictor, frame: int, id: int, truth: np.ndarray, kind: PromptKind) -> None:
    """Prompt an object with its true mask, the box around it, or clicks."""
    clicks = count_clicks(kind)
    if clicks is not None:
        click_object(video, frame, id, truth, None, clicks)
    else:
        video.prompt(frame, id, Prompt(mask=truth) if kind == "mask" else Prompt(box=tight_box(truth)))


def click_object(
    video: VideoPredictor, frame: int, id: int, truth: np.ndarray, answer: np.ndarray | None, clicks: int
) -> None:
    """Click several times, each time in the centre of the largest error.

    Args:
        answer: The object's current mask on the frame; without it, the first click is in the object's centre.
    """
    for _ in range(clicks):
        answer = video.prompt(frame, id, next_click(answer, truth))[id]
