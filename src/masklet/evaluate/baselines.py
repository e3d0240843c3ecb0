"""Baselines: predictors without learning, which repeat or move masks, and segment images by GrabCut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from masklet.image_candidates import Candidate
from masklet.media import Frames
from masklet.types import ImageCandidates, Masks, Prompt

CERTAIN = 1.0  # object score of masks without a network
GRABCUT_SIDE = 512  # longer images are cut out at this size
GRABCUT_ROUNDS = 1  # more take longer and are no better: 0.72 after 1 and after 5, from boxes on photos
CLICK_REACH = 0.3  # radius around a positive click that may be the object, relative to the shorter side
CLICK_CORE = 0.05  # the same: radius around any click that is certain
# (frame, next frame, mask) -> the next frame's mask; masks are float32 (H, W), 0 to 1.
MaskStep = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def make_masks(frame: int, soft_masks: Mapping[int, np.ndarray], size: tuple[int, int]) -> Masks:
    """Masks of a baseline, which predicts no IoU.

    Args:
        soft_masks: By object id, float32 (H, W), 0 to 1; above one half is the object.
    """
    stacked = np.stack(list(soft_masks.values())) if soft_masks else np.zeros((0, *size), dtype=np.float32)
    iou, score = (
        torch.full((len(soft_masks),), value, dtype=torch.float32, device="cpu")
        for value in (math.nan, CERTAIN)
    )
    return Masks(frame, tuple(soft_masks), torch.from_numpy(stacked - 0.5), size, iou=iou, score=score)


def make_candidate(mask: np.ndarray) -> ImageCandidates:
    """The single candidate of a baseline, which predicts no IoU.

    Args:
        mask: bool (H, W).
    """
    logits = torch.from_numpy(np.where(mask, np.float32(1), np.float32(-1)))
    iou, score = (torch.tensor(value, dtype=torch.float32, device="cpu") for value in (math.nan, 1.0))
    size = mask.shape[0], mask.shape[1]
    return ImageCandidates(size, (Candidate(logits, iou, score, size),))


@dataclass(frozen=True)
class Baseline:
    """A predictor without learning."""

    identity: str
    step: MaskStep

    def video(self, frames: Frames) -> BaselineVideo:
        return BaselineVideo(frames, self.step)

    def image(self, image: np.ndarray) -> GrabCutImage:
        return GrabCutImage(image)


def repeat_mask(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask does not change."""
    return mask


def warp_mask(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask moves with the pixels, by OpenCV's DIS optical flow at its medium preset.

    Each pixel of the later frame gets its value from its origin, so the mask has no holes. It stays soft, so
    that rounding errors do not accumulate over a clip.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    after, before = cv2.cvtColor(after, cv2.COLOR_RGB2GRAY), cv2.cvtColor(before, cv2.COLOR_RGB2GRAY)
    # The stubs need an array instead of None, but it would be used as the initial flow.
    moved = flow.calc(after, before, None)  # type: ignore[call-overload]
    return cv2.remap(mask, columns + moved[..., 0], rows + moved[..., 1], cv2.INTER_LINEAR)


# On images, all three baselines are GrabCut, so only one is listed.
BASELINES = {
    baseline.identity: baseline
    for baseline in (
        Baseline("repeat", repeat_mask),
        Baseline("flow", warp_mask),
        Baseline("grabcut", repeat_mask),
    )
}


@dataclass
class BaselineVideo:
    """A clip whose prompted masks are propagated from frame to frame."""

    frames: Frames
    step: MaskStep
    script: dict[int, dict[int, Prompt]] = field(default_factory=dict)
    prompted: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)  # by frame and object, 0 or 1

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        prompts = self.script.setdefault(frame, {})
        prompts[id] = prompts.get(id, Prompt()) | prompt
        mask = GrabCutImage(self.frames[frame]).cut(prompts[id])
        self.prompted.setdefault(frame, {})[id] = mask.astype(np.float32)
        return make_masks(frame, self.prompted[frame], mask.shape)

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        first = min(self.prompted) if start is None else start
        before, answers = self.frames[first], dict[int, np.ndarray]()
        for frame in range(first, len(self.frames)):
            after = self.frames[frame]
            answers = {id: self.step(before, after, mask) for id, mask in answers.items()}
            answers |= self.prompted.get(frame, {})
            yield make_masks(frame, answers, after.shape[:2])
            before = after


@dataclass(frozen=True)
class GrabCutImage:
    """An image segmented by GrabCut (Rother et al., 2004), with the same prompts as models."""

    image: np.ndarray
    cuts: dict[Prompt, np.ndarray] = field(default_factory=dict, repr=False)  # a cut can take a second

    def segment(self, prompt: Prompt, *, hint: ImageCandidates | None = None) -> ImageCandidates:
        return make_candidate(self.cut(prompt))

    def cut(self, prompt: Prompt) -> np.ndarray:
        """The object as bool (H, W); a mask prompt is returned as it is."""
        if prompt.mask is not None:
            return prompt.mask
        if prompt not in self.cuts:
            self.cuts[prompt] = self._grab(prompt)
        return self.cuts[prompt]

    def _grab(self, prompt: Prompt) -> np.ndarray:
        height, width = self.image.shape[:2]
        scale = min(1.0, GRABCUT_SIDE / max(height, width))
        small = cv2.resize(self.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        guess = _first_guess(prompt, scale, small.shape[:2])
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        if 0 < np.count_nonzero(guess & 1) < guess.size:  # both object and background have colours
            cv2.setRNGSeed(0)  # the seed of its colour clusters
            whole, colours = (0, 0, 0, 0), (np.zeros((1, 65)), np.zeros((1, 65)))
            cv2.grabCut(bgr, guess, whole, colours[0], colours[1], GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        mask = guess & 1  # GC_FGD and GC_PR_FGD are the odd labels
        return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _first_guess(prompt: Prompt, scale: float, size: tuple[int, int]) -> np.ndarray:
    """GrabCut's labels from a prompt: outside a box is background; near a click is certain."""
    reach, core = (max(1, round(share * min(size))) for share in (CLICK_REACH, CLICK_CORE))
    guess = np.full(size, cv2.GC_PR_BGD, dtype=np.uint8)
    if prompt.box is not None:
        x0, y0 = (max(0, math.floor(side * scale)) for side in prompt.box[:2])
        x1, y1 = (math.ceil(side * scale) for side in prompt.box[2:])
        guess[:] = cv2.GC_BGD
        guess[y0:y1, x0:x1] = cv2.GC_PR_FGD
    else:
        for x, y in prompt.positive:
            cv2.circle(guess, (round(x * scale), round(y * scale)), reach, cv2.GC_PR_FGD, cv2.FILLED)
    for points, label in ((prompt.negative, cv2.GC_BGD), (prompt.positive, cv2.GC_FGD)):
        for x, y in points:
            cv2.circle(guess, (round(x * scale), round(y * scale)), core, label, cv2.FILLED)
    return guess
