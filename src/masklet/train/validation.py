"""Validation on held-back images and clips: masks from clicks and boxes, and tracking.

The simulated user clicks as in evaluation, in the centre of the largest error, so the scores have no
randomness. Images are segmented by an ImageSession at their own size, as in `masklet evaluate image`, if
the caller passes one. Stills are faster: they are segmented by the network in its square.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from masklet import rle, simulated_user
from masklet.boxes import tight_box
from masklet.datasets import DatasetItem
from masklet.datasets.types import Clip
from masklet.errors import MediaError
from masklet.masks import enlarge
from masklet.model import Sam2
from masklet.simulated_user import mask_iou, select_closest, select_first
from masklet.train.recipe import OpenImage, ValidationImage, ValidationSet
from masklet.train.rollout import Batch, Plan, Points, best_candidate, rollout, true_iou
from masklet.train.sampling import Augmentation, ClipSampler
from masklet.transforms import normalize
from masklet.types import Candidates, FrameFeatures, ImageCandidates, MemorySelection, Prompt, tight_boxes

log = logging.getLogger(__name__)

CLICKS = 3
OBJECTS = 4  # maximum number of objects of an image
CLIP_OBJECTS = 8  # maximum number of objects of a clip
LONGEST_SIDE = 1536  # maximum side of an image in pixels; larger ones are scaled down to limit memory
TRACKED_CLIPS = 8  # number of tracked clips in each validation
BEST_OF_THREE, IOU_ERROR, IOU_BIAS = "1 click, best of 3", "predicted IoU, error", "predicted IoU, bias"
NOT_IN_MEAN = {BEST_OF_THREE, IOU_ERROR, IOU_BIAS}
NO_CHANGE = (0.0, 0.0, 0.0)
NO_AUGMENTATION = Augmentation(
    flip=0, reverse=0, rotation=0, shear=0, colour=NO_CHANGE, flicker=NO_CHANGE, grey=0
)


@dataclass(frozen=True)
class StillAnswers:
    """Low-res logits for each object of a still.

    Attributes:
        candidates: The three masks for one click.
        one_click: The one of them with the highest predicted IoU.
        predicted_iou: Of `one_click`.
    """

    candidates: Float[Tensor, "b 3 h w"]
    one_click: Float[Tensor, "b h w"]
    predicted_iou: Float[Tensor, " b"]
    clicks: Float[Tensor, "b h w"]
    box: Float[Tensor, "b h w"]


def validate(model: Sam2, validation: ValidationSet) -> dict[str, float]:
    """Mean IoU over the objects of all images and stills, and mean J over those of all clips.

    `mean` averages these. Also, after one click, the calibration of the predicted IoU: its mean absolute
    error, and its bias, which is positive if the network predicts too high values.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    for sample in validation.images:
        for answers in answer_image(model, sample, validation):
            for name, value in answers.scores().items():
                scores[name].append(value)
    for still in validation.stills:
        for name, values in score_still(model, still).items():
            scores[name] += values.tolist()
    for clip in validation.clips:
        scores["tracking"] += score_clip(model, clip).tolist()
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    return {
        **means,
        "mean": float(np.mean([mean for name, mean in means.items() if name not in NOT_IN_MEAN])),
    }


@dataclass(frozen=True, eq=False)
class ObjectAnswers:
    """The answers for one object of an image.

    Attributes:
        one_click: Candidates, best first.
    """

    truth: Bool[np.ndarray, "H W"]
    one_click: ImageCandidates
    clicks: Bool[np.ndarray, "H W"]
    box: Bool[np.ndarray, "H W"]

    def scores(self) -> dict[str, float]:
        """The IoU for each kind of prompt, and the calibration of the predicted IoU."""
        first, closest = (
            mask_iou(self.truth, self.one_click[select(self.one_click, self.truth)])
            for select in (select_first, select_closest)
        )
        predicted = float(self.one_click.iou[0])
        return {
            BEST_OF_THREE: closest,
            "1 click": first,
            IOU_ERROR: abs(predicted - first),
            IOU_BIAS: predicted - first,
            f"{CLICKS} clicks": mask_iou(self.truth, self.clicks),
            "box": mask_iou(self.truth, self.box),
        }


def answer_image(model: Sam2, sample: ValidationImage, validation: ValidationSet) -> Iterator[ObjectAnswers]:
    """Segment each object of an image like a user."""
    assert validation.open_image is not None, "a validation set with images has an open_image"
    session = validation.open_image(model, sample.image)
    for code in sample.masks:
        truth = rle.decode(code)
        turns = list(simulated_user.click_image(session, truth, CLICKS, select_first))
        boxed = session.segment(Prompt(box=tight_box(truth)))
        yield ObjectAnswers(truth, turns[0][0], turns[-1][1], boxed.best)


def score_still(model: Sam2, still: Clip) -> dict[str, Float[Tensor, " b"]]:
    """The IoU of each object, for each kind of prompt."""
    answers = answer_still(model, still)
    truth = torch.from_numpy(still.masks[0]).to(model.device)
    one_click = _iou(answers.one_click[:, None], truth)[:, 0]
    return {
        BEST_OF_THREE: _iou(answers.candidates, truth).max(dim=1).values,
        "1 click": one_click,
        IOU_ERROR: (answers.predicted_iou - one_click).abs(),
        IOU_BIAS: answers.predicted_iou - one_click,
        f"{CLICKS} clicks": _iou(answers.clicks[:, None], truth)[:, 0],
        "box": _iou(answers.box[:, None], truth)[:, 0],
    }


@torch.inference_mode()
def answer_still(model: Sam2, still: Clip) -> StillAnswers:
    """The answers of a network for every object of a still."""
    device = model.device
    truth = torch.from_numpy(still.masks[0]).to(device)
    features = model.encode(normalize(torch.from_numpy(still.images).to(device)))
    context = model.attend(features, [MemorySelection()] * len(truth))

    points = Points.empty(len(truth), device).with_click(simulated_user.center_click(None, truth))
    candidates = model.decode(features, context, points.xy, points.labels)
    one_click = best_candidate(candidates)
    logits = one_click.logits
    for _ in range(CLICKS - 1):
        points = points.with_click(
            simulated_user.center_click(enlarge(logits, (truth.shape[1], truth.shape[2])) > 0, truth)
        )
        logits = _decode_single(model, features, context, points, logits)
    box = _decode_single(model, features, context, Points.from_box(tight_boxes(truth)), None)
    return StillAnswers(candidates.logits, one_click.logits, one_click.iou, logits, box)


def _decode_single(
    model: Sam2, features: FrameFeatures, context: Tensor, points: Points, hint: Tensor | None
) -> Float[Tensor, "b h w"]:
    candidates: Candidates = model.decode(features, context, points.xy, points.labels, hint, candidates=1)
    return candidates.logits[:, 0]


@torch.inference_mode()
def score_clip(model: Sam2, clip: Clip) -> Float[Tensor, " b"]:
    """Mean J of each object over all frames except the first, whose mask is the prompt."""
    batch = Batch.collate([clip]).to(model.device)
    answers = rollout(model, batch, Plan("mask", (0,), ()), torch.Generator(model.device))
    scores = [
        _iou(best_candidate(answer.candidates).hide_absent().logits[:, None], batch.masks[:, answer.frame])[
            :, 0
        ]
        for answer in answers
    ]
    return torch.stack(scores).mean(dim=0)


def _iou(logits: Float[Tensor, "b m h w"], truth: Bool[Tensor, "b H W"]) -> Float[Tensor, "b m"]:
    resized = F.interpolate(logits, truth.shape[-2:], mode="bilinear", align_corners=False)
    return true_iou(resized, truth[:, None].float().expand_as(resized))


def make_validation_set(
    items: Sequence[DatasetItem], size: int, frames: int, every: int, open_image: OpenImage | None
) -> ValidationSet:
    """An image of each item, and clips of some items if training uses clips.

    Args:
        size, frames: Size and length of the clips.
        open_image: Segments the images; None makes them stills, for the network without sessions.
    """
    clips = [_read_clip(item, size, frames) for item in items[:TRACKED_CLIPS]] if frames > 1 else []
    validation = ValidationSet(
        clips=tuple(clip for clip in clips if clip is not None), open_image=open_image, every=every
    )
    if open_image is None:
        stills = [_read_clip(item, size, 1) for item in items]
        validation = replace(
            validation, stills=validation_stills([still for still in stills if still is not None])
        )
    else:
        images = [_read_image(item) for item in items]
        validation = replace(validation, images=tuple(image for image in images if image is not None))
    if not (validation.stills or validation.images):
        raise MediaError(
            f"none of the {len(items)} images or videos for validation can be read and has an object. "
            "Pass labelled data with --validation."
        )
    return validation


def _read_image(item: DatasetItem) -> ValidationImage | None:
    """An image, or a video's middle frame; None if it cannot be read or has no object."""
    try:
        frames = item.open()
        index = len(frames) // 2
        image, masks = frames.image(index), frames.masks(index, frames.objects(index))
    except MediaError as error:
        log.warning("left %s out of validation: %s", item.name, error)
        return None
    scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = image.shape[1], image.shape[0]
    resized = [cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks]
    codes = [rle.encode(mask) for mask in resized if mask.any()][:OBJECTS]
    return ValidationImage(item.name, image, tuple(codes)) if codes else None


def _read_clip(item: DatasetItem, size: int, frames: int) -> Clip | None:
    try:
        return ClipSampler(
            [item], size, frames, objects=CLIP_OBJECTS, seed=0, augmentation=NO_AUGMENTATION
        ).clip(0)
    except MediaError as error:
        log.warning("left the clip of %s out of validation: %s", item.name, error)
        return None


def validation_stills(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    """The first frame of each clip with a visible object, and at most `CLIP_OBJECTS` of its objects."""
    stills = []
    for clip in clips:
        visible = np.flatnonzero(clip.masks[0].any(axis=(1, 2)))[:CLIP_OBJECTS]
        if len(visible):
            stills.append(Clip(clip.images[:1], clip.masks[:1, visible]))
    return tuple(stills)
