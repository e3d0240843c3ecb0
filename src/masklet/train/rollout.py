"""One training example: a simulated user prompts, the network tracks, the user corrects (SAM 2, app. C.2).

The network is called through its own five verbs, with gradients on; there is no second model for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from masklet import simulated_user
from masklet.datasets.types import Clip
from masklet.masks import enlarge
from masklet.model import Sam2
from masklet.prompts import BOX_END, BOX_START, NEGATIVE, POSITIVE
from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import Recency
from masklet.transforms import normalize
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Memory, MemorySelection

CORRECTIONS = 7  # clicks on a corrected frame

FOCAL, DICE, IOU, SCORE = 20.0, 1.0, 1.0, 1.0
ALPHA = 0.25  # weight of the positive pixels in the focal loss; its gamma is 2


@dataclass(frozen=True)
class Batch:
    """Clips of one length, and the objects in them as rows of one batch.

    Attributes:
        owner: The clip of each object.
    """

    images: UInt8[Tensor, "clips t S S 3"]
    masks: Bool[Tensor, "b t S S"]
    owner: Int[Tensor, " b"]

    @classmethod
    def collate(cls, clips: Sequence[Clip]) -> Batch:
        owner = [i for i, clip in enumerate(clips) for _ in range(clip.objects)]
        return cls(
            torch.from_numpy(np.stack([clip.images for clip in clips])),
            torch.from_numpy(np.concatenate([clip.masks.swapaxes(0, 1) for clip in clips])),
            torch.tensor(owner, dtype=torch.int64, device="cpu"),
        )

    def to(self, device: torch.device) -> Batch:
        return Batch(self.images.to(device), self.masks.to(device), self.owner.to(device))

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class Plan:
    """The simulated user's plan, the same for all objects of a batch.

    Attributes:
        start: The kind of the initial prompts.
        prompted: Frames with an initial prompt; the first is always one.
        corrected: Frames that get corrective clicks.
    """

    start: Literal["mask", "click", "box"]
    prompted: tuple[int, ...]
    corrected: tuple[int, ...]

    @classmethod
    def draw(cls, frames: int, rng: np.random.Generator) -> Plan:
        """A mask half of the time, otherwise a click or box; one or two prompted frames, up to two corrected
        ones.

        A still always gets a click or a box, and corrections. A mask as a prompt is taken as true and gets no
        corrections.
        """
        if frames == 1:
            return cls("click" if rng.random() < 0.5 else "box", (0,), (0,))
        start: Literal["mask", "click", "box"] = ("mask", "mask", "click", "box")[rng.integers(4)]
        others = rng.permutation(np.arange(1, frames)).tolist()
        second = int(rng.integers(2)) if frames > 2 else 0  # a frame must be left to track
        prompted = (0, *others[:second])
        if start == "mask":
            return cls(start, prompted, ())
        corrected = int(rng.integers(len(prompted), 3))
        return cls(start, prompted, (*prompted, *others[len(prompted) - 1 :])[:corrected])


@dataclass(frozen=True)
class RolloutAnswer:
    """The network's candidates at one moment of a rollout.

    Attributes:
        points: The number of points on this frame so far; a box counts as two.
    """

    frame: int
    points: int
    candidates: Candidates


@dataclass(frozen=True)
class Points:
    """All points of one frame; a box is two points, its corners."""

    xy: Float[Tensor, "b p 2"]
    labels: Int[Tensor, "b p"]

    def with_click(self, click: simulated_user.Clicks) -> Points:
        labels = torch.where(click.positive, POSITIVE, NEGATIVE)
        return Points(
            torch.cat([self.xy, click.points[:, None]], dim=1),
            torch.cat([self.labels, labels[:, None]], dim=1),
        )

    @classmethod
    def empty(cls, b: int, device: torch.device) -> Points:
        return cls(torch.zeros(b, 0, 2, device=device), torch.zeros(b, 0, dtype=torch.long, device=device))

    @classmethod
    def from_box(cls, box: Float[Tensor, "b 4"]) -> Points:
        labels = torch.tensor([BOX_START, BOX_END], dtype=torch.int64, device=box.device)
        return cls(box.unflatten(1, (2, 2)), labels.expand(len(box), 2))


def split_by_frame(encoded: FrameFeatures, batch: Batch) -> list[FrameFeatures]:
    """The features of every frame with a row for each object.

    Args:
        encoded: The frames of the batch's clips, one clip after the other.
    """
    frames = batch.images.shape[1]
    return [FrameFeatures(*(part[batch.owner * frames + t] for part in encoded)) for t in range(frames)]


def rollout(
    model: Sam2,
    batch: Batch,
    plan: Plan,
    rng: torch.Generator,
    corrections: int = CORRECTIONS,
    encoded: FrameFeatures | None = None,
) -> list[RolloutAnswer]:
    """Track a batch of clips with a simulated user, and return every answer in order.

    Args:
        corrections: Clicks on each corrected frame.
        encoded: The frames' features; None encodes them.
    """
    features = split_by_frame(encoded or model.encode(normalize(batch.images)), batch)
    policy = Recency()
    banks = [MemoryBank(capacity=None) for _ in range(len(batch.masks))]
    answers: list[RolloutAnswer] = []
    # Initial prompts come first, without memory; then the other frames in temporal order.
    order = [*plan.prompted, *(t for t in range(len(features)) if t not in plan.prompted)]
    for t in order:
        truth = batch.masks[:, t]
        if t in plan.prompted and plan.start == "mask":
            prediction = model.adopt(features[t], truth.float())
        else:
            if t in plan.prompted:
                selections, points = [MemorySelection()] * len(banks), _first_points(plan.start, truth, rng)
            else:
                selections = [
                    policy.select_memories(bank, t, reverse=False, clip_length=None) for bank in banks
                ]
                points = Points.empty(len(truth), truth.device)
            context = model.attend(features[t], selections)
            clicks = corrections if t in plan.corrected else 0
            answers += _answer_and_correct(model, features[t], context, t, truth, points, clicks, rng)
            prediction = best_candidate(answers[-1].candidates).hide_absent()
        if t == order[-1]:
            break  # no later frame uses its memory
        tokens = model.memorize(features[t], prediction)
        for row, bank in enumerate(banks):
            obj = prediction.row(row)
            conditioning = t in plan.prompted or t in plan.corrected
            bank.keep(Memory(t, tokens[row], obj.pointer[0], obj.iou[0], obj.score[0], conditioning))
    return answers


def _first_points(start: str, truth: Bool[Tensor, "b S S"], rng: torch.Generator) -> Points:
    if start == "box":
        return Points.from_box(simulated_user.noisy_box(truth, rng))
    return Points.empty(len(truth), truth.device).with_click(simulated_user.first_click(truth, rng))


def _answer_and_correct(
    model: Sam2,
    features: FrameFeatures,
    context: Float[Tensor, "b c h w"],
    frame: int,
    truth: Bool[Tensor, "b S S"],
    points: Points,
    corrections: int,
    rng: torch.Generator,
) -> list[RolloutAnswer]:
    """The first answer on a frame, and one after every corrective click, with the last logits as hint."""
    answers: list[RolloutAnswer] = []
    hint: Tensor | None = None
    for _ in range(corrections + 1):
        if hint is not None:
            mask = enlarge(hint, (truth.shape[1], truth.shape[2])) > 0
            points = points.with_click(
                simulated_user.corrective_click(mask, truth, rng, simulated_user.FROM_OBJECT)
            )
        count = points.xy.shape[1]
        # In training, an unstable single mask is not replaced, so that it gets gradients.
        candidates = model.decode(
            features,
            context,
            points.xy if count else None,
            points.labels if count else None,
            hint,
            candidates=3 if count <= 1 else 1,
            stable=False,
        )
        answers.append(RolloutAnswer(frame, count, candidates))
        hint = best_candidate(candidates).logits.detach()
    return answers


def best_candidate(candidates: Candidates) -> MaskPrediction:
    """The candidate with the highest predicted IoU."""
    return candidates.pick(candidates.iou.argmax(dim=1))


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
    """Focal loss (arXiv 1708.02002): cross-entropy with lower weights for pixels that are already correct,
    averaged over pixels."""
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
    """IoU of the thresholded mask with the truth; 1 if both are empty."""
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
