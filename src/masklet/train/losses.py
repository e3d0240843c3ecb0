"""The training losses: focal and dice of the best candidate, IoU, object score (SAM 2, app. C.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from masklet.types import Candidates

FOCAL, DICE, IOU, SCORE = 20.0, 1.0, 1.0, 1.0
ALPHA = 0.25  # weight of the positive pixels in the focal loss; its gamma is 2


@dataclass(frozen=True)
class Losses:
    """The losses of one answer, each a mean over the objects of the batch, before weighting."""

    focal: Float[Tensor, ""]
    dice: Float[Tensor, ""]
    iou: Float[Tensor, ""]
    score: Float[Tensor, ""]

    def total(self, focal: float = FOCAL, iou: float = IOU) -> Float[Tensor, ""]:
        return focal * self.focal + DICE * self.dice + iou * self.iou + SCORE * self.score


def focal_loss(logits: Float[Tensor, "*n h w"], truth: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n"]:
    """Cross-entropy that weighs pixels down that are already right (arXiv 1708.02002), a mean over pixels."""
    probability = logits.sigmoid()
    miss = probability + truth - 2 * probability * truth  # the probability given to the wrong answer
    alpha = ALPHA * truth + (1 - ALPHA) * (1 - truth)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (alpha * miss.square() * entropy).mean(dim=(-2, -1))


def dice_loss(logits: Float[Tensor, "*n h w"], truth: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n"]:
    """One minus the overlap of soft mask and truth (arXiv 1606.04797)."""
    probability = logits.sigmoid()
    both = (probability * truth).sum(dim=(-2, -1))
    return 1 - (2 * both + 1) / (probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1)) + 1)


def true_iou(logits: Float[Tensor, "*n h w"], truth: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n"]:
    """IoU of the thresholded mask with the truth; 1 where both are empty."""
    mask, truth = logits > 0, truth > 0.5
    both, either = (mask & truth).sum(dim=(-2, -1)), (mask | truth).sum(dim=(-2, -1))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def compute_losses(
    candidates: Candidates, truth: Bool[Tensor, "b H W"], size: int, focal_weight: float = FOCAL
) -> Losses:
    """Compare the candidates with the truth, at a map of size x size.

    Only the candidate with the lowest mask loss trains its mask; every candidate trains its IoU. An absent
    object trains nothing but the object score.
    """
    target = F.interpolate(truth[:, None].float(), (size, size), mode="area").ge(0.5).float()
    logits = F.interpolate(candidates.logits.float(), (size, size), mode="bilinear", align_corners=False)
    target = target.expand_as(logits)

    present = truth.flatten(1).any(dim=1).float()
    focal, dice = focal_loss(logits, target), dice_loss(logits, target)
    best = (focal_weight * focal + DICE * dice).argmin(dim=1, keepdim=True)
    iou_error = (candidates.iou.float() - true_iou(logits.detach(), target)).abs().mean(dim=1)
    return Losses(
        (focal.gather(1, best)[:, 0] * present).mean(),
        (dice.gather(1, best)[:, 0] * present).mean(),
        (iou_error * present).mean(),
        F.binary_cross_entropy_with_logits(candidates.score.float(), present),
    )
