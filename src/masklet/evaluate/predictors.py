"""The evaluated predictors, models and baselines, with the interface that all protocols use."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, get_args, runtime_checkable

import cv2
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

CERTAIN = 1.0  # object score of masks without a network

PromptKind = Literal["mask", "box", "1 click", "3 clicks", "5 clicks"]
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)

GRABCUT_SIDE = 512  # longer images are cut out at this size
GRABCUT_ROUNDS = 1  # more take longer and are no better: 0.72 after 1 and after 5, from boxes on photos
CLICK_REACH = 0.3  # of the shorter side: radius around a positive click that may be the object
CLICK_CORE = 0.05  # the same: radius around any click that is certain
# (frame, next frame, mask) -> the next frame's mask; masks are float32 (H, W), 0 to 1.
MaskStep = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


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
    candidate = Candidate(logits, iou, score)
    return ImageCandidates((mask.shape[0], mask.shape[1]), (candidate,))


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
        options = [
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
            cv2.setRNGSeed(0)  # of its colour clusters
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
