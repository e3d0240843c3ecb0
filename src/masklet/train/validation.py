"""How good a network is on held-back clips: masks from clicks and boxes on stills, and following in clips.

The user clicks where evaluation would, in the middle of the largest error, so that nothing is left to chance.
It is quick rather than official: masks are compared in the model's square.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from masklet import simulated_user
from masklet.boxes import tight_boxes
from masklet.model import Sam2
from masklet.synthetic.clip import Clip
from masklet.train.losses import true_iou
from masklet.train.recipe import Exam
from masklet.train.rollout import Batch, Plan, Points, believed, normalised, rollout
from masklet.types import Candidates, FrameFeatures, MemorySelection

CLICKS = 3
BEST, OFF, HIGH = "1 click, best", "predicted IoU, off", "predicted IoU, too high"
NOT_SUMMED = {BEST, OFF, HIGH}


@dataclass(frozen=True)
class StillAnswers:
    """Low-res logits for each object of a still.

    offered : the three candidates for one click
    chosen : the one of them that the network itself prefers
    predicted : the IoU that it has by its own account
    """

    offered: Float[Tensor, "b 3 h w"]
    chosen: Float[Tensor, "b h w"]
    predicted: Float[Tensor, " b"]
    clicks: Float[Tensor, "b h w"]
    box: Float[Tensor, "b h w"]


def examine(model: Sam2, exam: Exam) -> dict[str, float]:
    """Mean IoU over the objects of all stills, and mean J over those of all clips; `mean` sums it up.

    Beside them, of one click: how far the IoU that the network predicts is off, and how much too high it is.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for still in exam.stills:
        for name, scores in score_still(model, still).items():
            found[name] += scores.tolist()
    for clip in exam.clips:
        found["following"] += score_clip(model, clip).tolist()
    means = {name: float(np.mean(scores)) for name, scores in found.items()}
    judged = [score for name, score in means.items() if name not in NOT_SUMMED]
    return {**means, "mean": float(np.mean(judged))}


def score_still(model: Sam2, still: Clip) -> dict[str, Float[Tensor, " b"]]:
    """The IoU of each object, in each way of prompting."""
    answers = answer_still(model, still)
    truth = torch.from_numpy(still.masks[0]).to(model.device)
    chosen = _iou(answers.chosen[:, None], truth)[:, 0]
    return {
        BEST: _iou(answers.offered, truth).max(dim=1).values,
        "1 click": chosen,
        OFF: (answers.predicted - chosen).abs(),
        HIGH: answers.predicted - chosen,
        f"{CLICKS} clicks": _iou(answers.clicks[:, None], truth)[:, 0],
        "box": _iou(answers.box[:, None], truth)[:, 0],
    }


@torch.inference_mode()
def answer_still(model: Sam2, still: Clip) -> StillAnswers:
    """What a network answers for every object of a still."""
    device = model.device
    truth = torch.from_numpy(still.masks[0]).to(device)
    features = model.encode(normalised(torch.from_numpy(still.images).to(device)))
    context = model.attend(features, [MemorySelection()] * len(truth))

    points = Points.none(len(truth), device).and_click(simulated_user.center_click(None, truth))
    first = model.decode(features, context, points.xy, points.labels)
    prediction = believed(first)
    answer = prediction.logits
    for _ in range(CLICKS - 1):
        points = points.and_click(simulated_user.center_click(_mask(answer, truth), truth))
        answer = _single(model, features, context, points, answer)
    box = _single(model, features, context, Points.box(tight_boxes(truth)), None)
    return StillAnswers(first.logits, prediction.logits, prediction.iou, answer, box)


def _single(
    model: Sam2, features: FrameFeatures, context: Tensor, points: Points, hint: Tensor | None
) -> Float[Tensor, "b h w"]:
    candidates: Candidates = model.decode(features, context, points.xy, points.labels, hint, candidates=1)
    return candidates.logits[:, 0]


@torch.inference_mode()
def score_clip(model: Sam2, clip: Clip) -> Float[Tensor, " b"]:
    """Mean J of each object over all frames but the first, whose mask was given."""
    batch = Batch.collate([clip]).to(model.device)
    answers = rollout(model, batch, Plan("mask", (0,), ()), torch.Generator(model.device))
    scores = [
        _iou(believed(each.candidates).hidden().logits[:, None], batch.masks[:, each.frame])[:, 0]
        for each in answers
    ]
    return torch.stack(scores).mean(dim=0)


def _iou(logits: Float[Tensor, "b m h w"], truth: Bool[Tensor, "b H W"]) -> Float[Tensor, "b m"]:
    shown = F.interpolate(logits, truth.shape[-2:], mode="bilinear", align_corners=False)
    return true_iou(shown, truth[:, None].float().expand_as(shown))


def _mask(logits: Float[Tensor, "b h w"], truth: Bool[Tensor, "b H W"]) -> Bool[Tensor, "b H W"]:
    return F.interpolate(logits[:, None], truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0


def held_back_stills(clips: Sequence[Clip], objects: int = 8) -> tuple[Clip, ...]:
    """Stills for an exam, with at most so many objects each, and none that is empty."""
    kept = []
    for clip in clips:
        shown = np.flatnonzero(clip.masks[0].any(axis=(1, 2)))[:objects]
        if len(shown):
            kept.append(Clip(clip.images[:1], clip.masks[:1, shown]))
    return tuple(kept)
