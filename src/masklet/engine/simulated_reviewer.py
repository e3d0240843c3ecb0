"""A simulated reviewer: corrects proposed masklets of a clip with ground truth, and counts the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from masklet import rle
from masklet.engine.proposals import Masklet
from masklet.evaluate.protocols import CLICK, CLICKS, LOCATE, WATCH
from masklet.media import Frames
from masklet.model import Sam2
from masklet.rle import RLE
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.video import VideoSession
from masklet.simulated_user import mask_iou, next_click
from masklet.types import Prompt

RIGHT_J = 0.75  # mean J from which a masklet is correct; the paper's users accept it there
ACCEPT_J = 0.85  # the reviewer's limit: masklets with a J of 0.75 would teach a network its own errors
SAME_J = 0.3  # a proposal is meant for an object from this IoU on its first frame on
PAINT = 37.8  # seconds to paint a mask, from the paper's first phase (app. D.1); see also its time model
CORRECTIONS = 5  # corrected frames after which a masklet is rejected


@dataclass
class SimulatedReviewer:
    """Watches the masklets of a clip; accepts, corrects or rejects them, and adds missing ones.

    Attributes:
        model: The network that tracks corrections.
        frames: The clip.
        truth: bool (t, n, H, W).
        taken: Masklets that need no review; their objects are not labelled again.
        accepted: The accepted masklets, by the row of their object in the ground truth.
        seconds: The duration of the review.
        zoom: See `VideoSession`.
        accept_from: The mean J from which the reviewer accepts a masklet, and the IoU of a corrected frame.
    """

    model: Sam2
    frames: Frames
    truth: np.ndarray
    taken: Sequence[Masklet] = ()
    accepted: dict[int, Sequence[RLE]] = field(default_factory=dict)
    seconds: float = 0.0
    zoom: bool | None = None
    accept_from: float = ACCEPT_J

    def __post_init__(self) -> None:
        self._features = FeatureCache()
        rows = (find_object(masklet, self.truth)[0] for masklet in self.taken)
        self._has_masklet = {row for row in rows if row is not None}

    def review(self, masklet: Masklet) -> str:
        """Watch a masklet; returns the result: accepted, corrected or rejected."""
        self.seconds += WATCH * len(self.frames)
        row, j = find_object(masklet, self.truth)
        if row is None or row in self.accepted or row in self._has_masklet:
            return "rejected"
        if j >= self.accept_from:
            self.accepted[row] = masklet.codes
            return "accepted"
        masks = [masklet.mask(frame) for frame in range(len(self.frames))]
        return "corrected" if self._correct(row, {0: Prompt(mask=masks[0])}, masks) else "rejected"

    def add_missing(self) -> int:
        """Click objects without a masklet, and correct the results; returns how many were accepted."""
        count = 0
        for row in range(self.truth.shape[1]):
            if row not in self.accepted and row not in self._has_masklet:
                click = next_click(None, self.truth[0, row])
                self.seconds += LOCATE + CLICK + WATCH * len(self.frames)
                count += self._correct(row, {0: click}, self._track({0: click}))
        return count

    def _correct(self, row: int, prompts: dict[int, Prompt], masks: list[np.ndarray]) -> bool:
        """Correct frames, by clicks or painting, until the masklet is correct.

        The first frame is corrected first, since all others are tracked from it; then the worst one.
        """
        truth = self.truth[:, row]
        for _ in range(CORRECTIONS):
            if _mean_iou(truth, masks) >= self.accept_from:
                break
            ious = [mask_iou(*pair) for pair in zip(truth, masks, strict=True)]
            frame = 0 if ious[0] < self.accept_from else int(np.argmin(ious))
            prompts = {**prompts, frame: self._correct_frame(frame, truth[frame], masks[frame])}
            masks = self._track(prompts)
        is_right = _mean_iou(truth, masks) >= self.accept_from
        if is_right:
            self.accepted[row] = tuple(rle.encode(mask) for mask in masks)
        return is_right

    def _correct_frame(self, frame: int, truth: np.ndarray, mask: np.ndarray) -> Prompt:
        """Up to three clicks; if they do not help, a painted mask."""
        self.seconds += LOCATE + WATCH * len(self.frames)
        session = self._open_session()
        prompt = Prompt()
        for _ in range(CLICKS if truth.any() else 0):
            click = next_click(mask if prompt.positive or prompt.negative else None, truth)
            prompt, mask = prompt | click, session.prompt(frame, 1, click)[1]
            self.seconds += CLICK
            if mask_iou(truth, mask) >= self.accept_from:
                return prompt
        self.seconds += PAINT if truth.any() else 0.0
        return Prompt(mask=truth)

    def _open_session(self) -> VideoSession:
        return VideoSession(self.model, self.frames, features=self._features, zoom=self.zoom)

    def _track(self, prompts: Mapping[int, Prompt]) -> list[np.ndarray]:
        session = self._open_session()
        for frame, prompt in sorted(prompts.items()):
            session.prompt(frame, 1, prompt)
        for _ in session.propagate():
            pass
        if min(prompts):
            for _ in session.propagate(min(prompts), -1, reverse=True):
                pass
        return [session.masks(frame)[1] for frame in range(len(self.frames))]


def find_object(masklet: Masklet, truth: np.ndarray) -> tuple[int | None, float]:
    """The object to which a masklet belongs, by its first frame, and the masklet's mean J on it."""
    first = [mask_iou(mask, masklet.mask(0)) for mask in truth[0]]
    row = int(np.argmax(first))
    if first[row] < SAME_J:
        return None, 0.0
    return row, _mean_iou(truth[:, row], [masklet.mask(frame) for frame in range(len(truth))])


def _mean_iou(truth: np.ndarray, masks: Sequence[np.ndarray]) -> float:
    return float(np.mean([mask_iou(*pair) for pair in zip(truth, masks, strict=True)]))
