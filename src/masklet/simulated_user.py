"""The simulated user compares the object's true mask with the model's, and answers with clicks and boxes.

Training and evaluation share it. Masks come in batches, bool (b, H, W), on any device; positions are pixel
indices, x before y, as in a person's clicks. This module does not depend on the model. The rules are the
paper's (arXiv 2408.00714, appendix C.2 and E.1.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from masklet.types import ImageCandidates, Prompt, tight_boxes

FROM_OBJECT = 0.1  # fraction of corrections in training that are clicks anywhere on the object
BOX_NOISE = 0.1  # of a side
BOX_NOISE_LIMIT = 20 / 1024  # relative to the image's side


# Takes candidates and the ground truth, returns the rank of one candidate.
SelectCandidate = Callable[[ImageCandidates, np.ndarray], int]


@runtime_checkable
class ImagePredictor(Protocol):
    """An image in which an object is prompted; ImageSession is one."""

    def segment(self, prompt: Prompt, *, hint: ImageCandidates | None = None) -> ImageCandidates:
        """Candidates for one object, best first.

        Args:
            hint: The candidate that the last click corrects.
        """


@dataclass(frozen=True)
class Clicks:
    """One click for each object of a batch."""

    points: Float[Tensor, "b 2"]
    positive: Bool[Tensor, " b"]

    def prompt(self, row: int) -> Prompt:
        point = [(float(self.points[row, 0]), float(self.points[row, 1]))]
        return Prompt(positive=point) if self.positive[row] else Prompt(negative=point)


def first_click(truth: Bool[Tensor, "b H W"], rng: Generator) -> Clicks:
    """Click anywhere on the object; if it is absent, anywhere (a negative click).

    Args:
        rng: A generator on the masks' device.
    """
    return corrective_click(torch.zeros_like(truth), truth, rng)


def corrective_click(
    predicted: Bool[Tensor, "b H W"], truth: Bool[Tensor, "b H W"], rng: Generator, from_object: float = 0.0
) -> Clicks:
    """Click on any wrong pixel with equal probability: positive on missed pixels, negative on exceeded ones.

    A perfect mask gets a negative click on the background.

    Args:
        from_object: Probability of a click anywhere on the object instead; FROM_OBJECT in training.
    """
    error = predicted ^ truth
    region = torch.where(_any(error), error, ~truth)
    if from_object:
        instead = (
            torch.rand(len(truth), generator=rng, dtype=torch.float32, device=truth.device) < from_object
        )
        region = torch.where(instead[:, None, None] & _any(truth), truth, region)
    region = region | ~_any(region)  # no error and no background: any pixel, since all belong to the object
    scores = torch.rand(region.shape, generator=rng, dtype=torch.float32, device=region.device)
    return _clicks(scores.masked_fill_(~region, -1.0).flatten(1).argmax(dim=1), truth)


def center_click(predicted: Bool[Tensor, "b H W"] | None, truth: Bool[Tensor, "b H W"]) -> Clicks:
    """Click in the centre of the largest error, as in evaluation: the pixel farthest from its boundary.

    Missed and exceeded regions are measured separately, the frame's edge counts as a boundary, and a tie gets
    a negative click. A perfect mask gets a negative click in the centre of the background.

    Args:
        predicted: None before the first click, which is then at the centre of the object.
    """
    guess = torch.zeros_like(truth) if predicted is None else predicted
    pairs = zip(guess.cpu().numpy(), truth.cpu().numpy(), strict=True)
    index = torch.tensor([_centre_of_error(*pair) for pair in pairs], dtype=torch.int64, device="cpu")
    return _clicks(index.to(truth.device), truth)


def next_click(predicted: Bool[np.ndarray, "H W"] | None, truth: Bool[np.ndarray, "H W"]) -> Prompt:
    """The `center_click` for a single object, as a prompt."""
    guess = None if predicted is None else torch.from_numpy(predicted)[None]
    return center_click(guess, torch.from_numpy(truth)[None]).prompt(0)


def click_image(
    session: ImagePredictor, truth: Bool[np.ndarray, "H W"], clicks: int, select: SelectCandidate
) -> Iterator[tuple[ImageCandidates, Bool[np.ndarray, "H W"]]]:
    """The candidates and the selected mask after each click; the next click corrects the selected mask."""
    prompt, answer, hint = Prompt(), None, None
    for _ in range(clicks):
        prompt = prompt | next_click(answer, truth)
        masks = session.segment(prompt, hint=hint)
        rank = select(masks, truth)
        answer, hint = masks[rank], masks.select(rank)
        yield masks, answer


def select_first(masks: ImageCandidates, truth: Bool[np.ndarray, "H W"]) -> int:
    """The rank of the candidate with the highest predicted IoU."""
    return 0


def select_closest(masks: ImageCandidates, truth: Bool[np.ndarray, "H W"]) -> int:
    """The rank of the candidate with the highest true IoU."""
    return max(range(len(masks)), key=lambda rank: mask_iou(truth, masks[rank]))


def mask_iou(truth: Bool[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]) -> float:
    """Intersection over union; 1 when both masks are empty, 0 when one of them is.

    >>> mask_iou(np.array([[True, True, False]]), np.array([[False, True, True]]))
    0.3333333333333333
    """
    union = np.count_nonzero(truth | mask)
    return float(np.count_nonzero(truth & mask) / union) if union else 1.0


def noisy_box(truth: Bool[Tensor, "b H W"], rng: Generator) -> Float[Tensor, "b 4"]:
    """A box as a person would draw it, within the frame: each side is off by up to a tenth of the box, at
    most 20 of 1024 pixels. Zeros if a mask is empty.
    """
    height, width = truth.shape[1:]
    box = tight_boxes(truth)
    sides = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    frame = box.new_tensor([width, height, width, height])
    reach = torch.minimum(sides * BOX_NOISE, frame * BOX_NOISE_LIMIT)
    offset = 2 * torch.rand(box.shape, generator=rng, dtype=torch.float32, device=box.device) - 1
    return torch.minimum((box + offset * reach).clamp(min=0), frame)


def _any(masks: Bool[Tensor, "b H W"]) -> Bool[Tensor, "b 1 1"]:
    return masks.flatten(1).any(dim=1)[:, None, None]


def _clicks(index: Int[Tensor, " b"], truth: Bool[Tensor, "b H W"]) -> Clicks:
    """A click is positive exactly where the object is."""
    width = truth.shape[2]
    points = torch.stack([index % width, index // width], dim=1).float()
    return Clicks(points, truth.flatten(1).gather(1, index[:, None])[:, 0])


def _centre_of_error(predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> int:
    """Index of the pixel to click on."""
    missed, exceeded = _depth(truth & ~predicted), _depth(predicted & ~truth)
    if missed.max() > exceeded.max():
        return int(missed.argmax())
    if exceeded.max() > 0:
        return int(exceeded.argmax())
    return int(_depth(~truth).argmax())


def _depth(region: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """The distance of each pixel of a region to the nearest pixel outside it, or outside the frame."""
    padded = np.pad(region, 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
