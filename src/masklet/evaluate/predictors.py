"""The predictors that are evaluated, models and baselines, behind the two questions of all protocols."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch

from masklet.boxes import tight_box
from masklet.errors import MaskletError
from masklet.masks import Candidate
from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.image import ImageSession
from masklet.sessions.video import VideoSession
from masklet.simulated_user import ImagePredictor, next_click
from masklet.types import ImageCandidates, Masks, Prompt
from masklet.zoom import find_zoom

CERTAIN = 1.0  # object score of masks that no network predicted

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


def make_masks(frame: int, soft_masks: Mapping[int, np.ndarray], size: tuple[int, int]) -> Masks:
    """Masks of a baseline, which predicts no IoU.

    soft_masks : by object id, float32 (H, W), 0 to 1; above one half is the object
    """
    stacked = np.stack(list(soft_masks.values())) if soft_masks else np.zeros((0, *size), dtype=np.float32)
    iou, score = (
        torch.full((len(soft_masks),), value, dtype=torch.float32, device="cpu")
        for value in (math.nan, CERTAIN)
    )
    return Masks(frame, tuple(soft_masks), torch.from_numpy(stacked - 0.5), size, iou=iou, score=score)


def make_candidate(mask: np.ndarray) -> ImageCandidates:
    """The only candidate of a baseline, which predicts no IoU.

    mask : bool (H, W)
    """
    logits = torch.from_numpy(np.where(mask, np.float32(1), np.float32(-1)))
    iou, score = (torch.tensor(value, dtype=torch.float32, device="cpu") for value in (math.nan, 1.0))
    candidate = Candidate(logits, iou, score)
    return ImageCandidates((mask.shape[0], mask.shape[1]), (candidate,))


@dataclass(frozen=True)
class ModelPredictor:
    """A model as a predictor.

    policy : the name of its memory policy
    cuts : detect scene cuts
    zoom : segment small objects in a window around them; None leaves it to the model's config
    features : of the only clip that is tracked, where its frames are encoded already
    """

    name: str
    model: Sam2
    policy: str = "recency"
    cuts: bool = False
    zoom: bool | None = None
    features: FeatureCache | None = None

    @cached_property
    def digest(self) -> str:
        """Of the weights: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in self.model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def zooms(self) -> bool:
        return find_zoom(self.zoom, default=self.model.config.zoom) is not None

    @cached_property
    def identity(self) -> str:
        options = [
            *(["zoom"] if self.zooms else []),
            *([self.policy] if self.policy != "recency" else []),
            *(["cuts"] if self.cuts else []),
        ]
        return ", ".join([f"{self.name} {self.digest}", *options])

    def video(self, frames: Frames) -> VideoPredictor:
        # The published predictor, and so its numbers, scale the age of memories by the clip's length.
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

    reason : why, as the beginning of a sentence
    """
    if not isinstance(predictor, ModelPredictor):
        raise MaskletError(f"{reason}, and {predictor.identity} is a baseline: choose a model.")
    return predictor


def clicks_in(kind: PromptKind) -> int | None:
    """The number of clicks of a kind of prompt; None for a mask or a box."""
    return int(kind.split()[0]) if "click" in kind else None


def prompt_object(video: VideoPredictor, frame: int, id: int, truth: np.ndarray, kind: PromptKind) -> None:
    """Prompt an object with its true mask, the box around it, or clicks."""
    clicks = clicks_in(kind)
    if clicks is not None:
        click_object(video, frame, id, truth, None, clicks)
    else:
        video.prompt(frame, id, Prompt(mask=truth) if kind == "mask" else Prompt(box=tight_box(truth)))


def click_object(
    video: VideoPredictor, frame: int, id: int, truth: np.ndarray, answer: np.ndarray | None, clicks: int
) -> None:
    """Click several times in turn, each time in the centre of the largest error.

    answer : the object's mask on the frame so far; without it the first click goes to the object's centre
    """
    for _ in range(clicks):
        answer = video.prompt(frame, id, next_click(answer, truth))[id]
