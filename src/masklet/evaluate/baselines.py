"""What a program without learning reaches: repeat the mask, warp it by optical flow, cut it out by colour.

Baselines take every prompt that a model takes: what is not a mask is turned into one by GrabCut. What has
learned should beat them; a score means little without theirs beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from masklet.evaluate.subjects import masks_of
from masklet.media import Frames
from masklet.types import Masks, Prompt

GRABCUT_SIDE = 512  # longer images are cut out at this size
GRABCUT_ROUNDS = 1  # more take longer and are no better: 0.72 after 1 as after 5, from boxes on photos
CLICK_REACH = 0.3  # of the shorter side: around a positive click, what may be the object
CLICK_CORE = 0.05  # around any click, what is certain

# (frame, next frame, mask) -> the next frame's mask; masks are float32 (H, W), 0 to 1.
Carry = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """A subject without learning."""

    identity: str
    carry: Carry

    def video(self, frames: Frames) -> CarriedVideo:
        return CarriedVideo(frames, self.carry)

    def image(self, image: np.ndarray) -> CutOut:
        return CutOut(image)


def repeat(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask stays where it is."""
    return mask


def warp(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask moves with the pixels, by OpenCV's DIS optical flow at its medium preset.

    Each pixel of the later frame looks where it came from, so the mask tears nowhere; it stays soft, so that
    the many small steps of a clip do not round it away.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    after, before = cv2.cvtColor(after, cv2.COLOR_RGB2GRAY), cv2.cvtColor(before, cv2.COLOR_RGB2GRAY)
    # An array in place of None, which the stubs ask for, would be taken as a first guess.
    moved = flow.calc(after, before, None)  # type: ignore[call-overload]
    return cv2.remap(mask, columns + moved[..., 0], rows + moved[..., 1], cv2.INTER_LINEAR)


# Pictures have nothing to carry: there all three are GrabCut, and one bears its name.
BASELINES = {
    each.identity: each
    for each in (Baseline("repeat", repeat), Baseline("flow", warp), Baseline("grabcut", repeat))
}


@dataclass
class CarriedVideo:
    """A clip whose prompted masks are carried from frame to frame."""

    frames: Frames
    carry: Carry
    script: dict[int, dict[int, Prompt]] = field(default_factory=dict)
    prompted: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)  # by frame and object, 0 or 1

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        said = self.script.setdefault(frame, {})
        said[id] = said.get(id, Prompt()) | prompt
        cut = CutOut(self.frames[frame]).cut(said[id])
        self.prompted.setdefault(frame, {})[id] = cut.astype(np.float32)
        return masks_of(frame, self.prompted[frame], cut.shape)

    def propagate(self, start: int | None = None) -> Iterator[Masks]:
        first = min(self.prompted) if start is None else start
        before, answers = self.frames[first], dict[int, np.ndarray]()
        for frame in range(first, len(self.frames)):
            after = self.frames[frame]
            answers = {id: self.carry(before, after, mask) for id, mask in answers.items()}
            answers |= self.prompted.get(frame, {})
            yield masks_of(frame, answers, after.shape[:2])
            before = after


@dataclass(frozen=True)
class CutOut:
    """An image whose object is cut out by GrabCut (Rother et al., 2004), from the prompts that models get."""

    image: np.ndarray
    known: dict[Prompt, np.ndarray] = field(default_factory=dict, repr=False)  # a cut can take a second

    def segment(self, prompt: Prompt, *, hint: Masks | None = None) -> Masks:
        return masks_of(0, {0: self.cut(prompt).astype(np.float32)}, self.image.shape[:2])

    def cut(self, prompt: Prompt) -> np.ndarray:
        """The object as bool (H, W); a mask is taken as it is."""
        if prompt.mask is not None:
            return prompt.mask
        if prompt not in self.known:
            self.known[prompt] = self._grab(prompt)
        return self.known[prompt]

    def _grab(self, prompt: Prompt) -> np.ndarray:
        height, width = self.image.shape[:2]
        scale = min(1.0, GRABCUT_SIDE / max(height, width))
        small = cv2.resize(self.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        guess = _first_guess(prompt, scale, small.shape[:2])
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        if 0 < np.count_nonzero(guess & 1) < guess.size:  # else there is nothing to learn colours from
            cv2.setRNGSeed(0)  # its colour clusters start at random
            whole, colours = (0, 0, 0, 0), (np.zeros((1, 65)), np.zeros((1, 65)))
            cv2.grabCut(bgr, guess, whole, colours[0], colours[1], GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        found = guess & 1  # GC_FGD and GC_PR_FGD are the odd labels
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _first_guess(prompt: Prompt, scale: float, size: tuple[int, int]) -> np.ndarray:
    """GrabCut's labels from a prompt: outside a box is background; a click is sure of its surroundings."""
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
