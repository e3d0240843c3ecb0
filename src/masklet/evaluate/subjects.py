"""What is measured: models and baselines, which every protocol asks the same two questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.image import ImageSession
from masklet.sessions.video import VideoSession
from masklet.types import Masks, Prompt

SURE = 1.0  # logit of masks that come without any


@runtime_checkable
class Following(Protocol):
    """A clip in which objects are prompted and followed; VideoSession is one."""

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        """Add to what was said of an object on a frame; returns that frame's masks."""

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        """Follow all objects from a frame, or from the first prompt, to the end of the clip."""


@runtime_checkable
class Segmenting(Protocol):
    """An image in which an object is prompted; ImageSession is one."""

    def segment(self, prompt: Prompt, *, hint: Masks | None = None) -> Masks:
        """Candidates for one object, the one that is believed first.

        hint : what the last click corrects
        """


@runtime_checkable
class Subject(Protocol):
    """A model or a baseline."""

    @property
    def identity(self) -> str:
        """What it is, down to the weights: results of one identity may be added to one another."""

    def video(self, frames: Frames) -> Following: ...

    def image(self, image: np.ndarray) -> Segmenting: ...


def masks_of(frame: int, answers: Mapping[int, np.ndarray], size: tuple[int, int]) -> Masks:
    """Masks from what is not a network.

    answers : by object id, float32 (H, W), how much of each pixel is the object; more than half is
    """
    stacked = np.stack(list(answers.values())) if answers else np.zeros((0, *size), dtype=np.float32)
    sure = torch.full((len(answers),), SURE)
    return Masks(frame, tuple(answers), torch.from_numpy(stacked - 0.5), size, iou=sure, score=sure)


@dataclass(frozen=True)
class Network:
    """A model as a subject.

    policy : the name of its memory policy
    features : of the one clip that is followed, where its frames are encoded already
    """

    name: str
    model: Sam2
    policy: str = "recency"
    cuts: bool = False
    features: FeatureCache | None = None

    @cached_property
    def digest(self) -> str:
        """Of the weights: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in self.model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:12]

    @cached_property
    def identity(self) -> str:
        rule = "" if self.policy == "recency" else f", {self.policy}"
        looks = ", closer" if self.model.config.closer else ""
        return f"{self.name} {self.digest}{looks}{rule}{', cuts' if self.cuts else ''}"

    def video(self, frames: Frames) -> Following:
        # The published predictor, and so its numbers, let a clip's length scale the age of its memories.
        return VideoSession(
            self.model,
            frames,
            policy=self.policy,
            cuts=self.cuts,
            clip_length=len(frames),
            features=self.features,
        )

    def image(self, image: np.ndarray) -> Segmenting:
        return ImageSession(self.model, image)
