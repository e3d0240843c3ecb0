"""How near two implementations come to each other, and how near they must come."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDING = 1e-5  # of a mask's largest logit: what float32 does to a logit on one CPU or another


@dataclass(frozen=True)
class Answer:
    """One object on one frame, as an implementation sees it.

    logits : (h4, w4) low-res; iou and score: scalars; iou is None where the implementation does not tell
    """

    logits: Tensor
    iou: Tensor | None
    score: Tensor


@dataclass(frozen=True)
class Agreement:
    """The largest differences seen.

    logits : relative to the largest logit of the mask
    pixels : share of pixels, at four times the size of the logits, in one mask and not in the other; where
        both logits are 0 but for rounding, which side they are on says nothing
    """

    logits: float = 0.0
    iou: float = 0.0
    score: float = 0.0
    pixels: float = 0.0

    def __or__(self, other: Self) -> Agreement:
        return Agreement(*(max(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)))

    @property
    def good(self) -> bool:
        return self.logits <= 1e-3 and self.iou <= 1e-4 and self.score <= 1e-4 and self.pixels <= 1e-3


def between(ours: Answer, theirs: Answer) -> Agreement:
    return Agreement(
        logits=relative(ours.logits, theirs.logits),
        iou=0.0 if ours.iou is None or theirs.iou is None else (ours.iou - theirs.iou).abs().item(),
        score=(ours.score - theirs.score).abs().item(),
        pixels=other_pixels(ours.logits, theirs.logits),
    )


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def shown(logits: Tensor) -> Tensor:
    """The mask at four times the size of its logits."""
    return enlarged(logits) > 0


def enlarged(logits: Tensor) -> Tensor:
    return F.interpolate(logits[None, None], scale_factor=4, mode="bilinear", align_corners=False)


def other_pixels(ours: Tensor, theirs: Tensor) -> float:
    """The share of pixels in one mask and not in the other."""
    largest = torch.maximum(enlarged(ours).abs(), enlarged(theirs).abs())
    is_told = largest > ROUNDING * theirs.abs().max()
    return ((shown(ours) != shown(theirs)) & is_told).float().mean().item()
