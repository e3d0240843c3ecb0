"""SAMURAI (arXiv 2411.11922): select the candidate that agrees with the object's motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from masklet.boxes import Box, box_area, box_iou
from masklet.tracking.bank import POINTERS, WINDOW, MemoryBank
from masklet.tracking.policies.gated import latest
from masklet.tracking.policies.recency import Recency, make_selection
from masklet.types import Candidates, Memory, MemorySelection, tight_boxes

STEADY = 15  # frames of steady motion after which the motion is used
RESTART_IOU = 0.3  # predicted IoU up to which the motion is estimated anew
GOOD_IOU, GOOD_SCORE, GOOD_MOTION_IOU = 0.5, 0.0, 0.0

POSITION = 1 / 20  # standard deviations, relative to the box's height
VELOCITY = 1 / 160
ASPECT, ASPECT_VELOCITY = 1e-2, 1e-5
STEP = np.eye(8) + np.eye(8, k=4)  # each frame adds the velocity
OBSERVATION = np.eye(4, 8)  # the part of the state that is observed: the box


@dataclass(frozen=True)
class MotionChoice:
    """The selected candidate of a frame.

    Attributes:
        motion_iou: Its IoU with the box that the motion predicts; None while the motion is not used yet.
    """

    index: int
    iou: float
    box: Box
    motion_iou: float | None


class Samurai(Recency):
    """Select masks by predicted IoU and motion, and memories with high values of both.

    A Kalman filter tracks the box of the mask. Boxes are those of the low-res logits.

    Args:
        share: The weight of the motion, 0 to 1; 0.15 in the publication, for the large size.
    """

    capacity = Recency.capacity + WINDOW
    present = -1.0
    reads = True

    def __init__(self, share: float = 0.25) -> None:
        self._share = share
        self._kalman: KalmanBox | None = None
        self._steady = 0
        self._motion_ious: dict[int, float] = {}  # by frame

    def select_mask(self, candidates: Candidates) -> Tensor:
        if not self._uses_motion:
            return super().select_mask(candidates)
        return torch.tensor([self._choice(candidates).index], dtype=torch.int64, device=candidates.iou.device)

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        if not memory.prompted:
            choice = self._choice(candidates)  # again, since `store` is not given the selection
            if choice.motion_iou is not None:
                self._motion_ious[memory.frame] = choice.motion_iou
            self._update_kalman(choice)
        if bank.capacity is None:
            bank.keep(memory)
            return
        newest = [tracked.frame for tracked in reversed(bank.tracked.values()) if self._is_good(tracked)]
        bank.keep(memory, spare=lambda tracked: tracked.frame in newest[:WINDOW])
        self._motion_ious = self._motion_ious_in(bank)

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        direction, ages = -1 if reverse else 1, range(1, POINTERS)
        good = list(enumerate(latest(bank, frame, self._is_good, reverse=reverse)[:WINDOW]))
        tracked = [(age, memory) for age in ages if (memory := bank.tracked.get(frame - age * direction))]
        prompted = bank.prompted.values()
        return make_selection(prompted, frame, good, tracked, reverse=reverse, clip_length=clip_length)

    def state(self, bank: MemoryBank) -> dict[str, Tensor]:
        motion_ious = self._motion_ious_in(bank)
        state = {
            "steady": torch.tensor(self._steady, dtype=torch.int64, device="cpu"),
            "frames": torch.tensor(list(motion_ious), dtype=torch.int64, device="cpu"),
            "motions": torch.tensor(list(motion_ious.values()), dtype=torch.float64, device="cpu"),
        }
        if self._kalman is not None:
            state |= {name: torch.from_numpy(array) for name, array in vars(self._kalman).items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._steady = int(state["steady"])
        self._motion_ious = dict(zip(state["frames"].tolist(), state["motions"].tolist(), strict=True))
        if "mean" in state:
            self._kalman = KalmanBox(state["mean"].numpy(), state["covariance"].numpy())

    @property
    def _uses_motion(self) -> bool:
        """Whether the motion has been steady for enough frames."""
        return self._steady >= STEADY

    def _choice(self, candidates: Candidates) -> MotionChoice:
        rows = torch.cat([tight_boxes(candidates.logits[0] > 0), candidates.iou[0, :, None]], dim=1).tolist()
        boxes, ious = [(x0, y0, x1, y1) for x0, y0, x1, y1, _ in rows], [row[4] for row in rows]
        if self._kalman is None or not self._uses_motion:
            best = ious.index(max(ious))
            return MotionChoice(best, ious[best], boxes[best], None)
        expected = self._kalman.predict().box
        motion_ious, share = [box_iou(expected, box) for box in boxes], self._share
        scores = [share * motion + (1 - share) * iou for motion, iou in zip(motion_ious, ious, strict=True)]
        best = scores.index(max(scores))
        return MotionChoice(best, ious[best], boxes[best], motion_ious[best])

    def _motion_ious_in(self, bank: MemoryBank) -> dict[int, float]:
        return {frame: iou for frame, iou in self._motion_ious.items() if frame in bank.tracked}

    def _update_kalman(self, choice: MotionChoice) -> None:
        if not box_area(choice.box):  # an empty mask has no motion
            self._steady = 0
        elif self._kalman is None or self._steady == 0:
            self._kalman, self._steady = KalmanBox.at(choice.box), 1
        elif choice.iou > RESTART_IOU:
            self._kalman = self._kalman.predict().update(choice.box)
            self._steady += 1
        else:
            self._kalman, self._steady = self._kalman.predict(), 0

    def _is_good(self, memory: Memory) -> bool:
        motion_iou = self._motion_ious.get(memory.frame)
        moved_well = motion_iou is None or motion_iou > GOOD_MOTION_IOU
        return float(memory.iou) > GOOD_IOU and float(memory.score) > GOOD_SCORE and moved_well


@dataclass(frozen=True)
class KalmanBox:
    """The estimated state of a box: centre, aspect (width by height) and height, and their velocities."""

    mean: Float[np.ndarray, " 8"]
    covariance: Float[np.ndarray, "8 8"]

    @classmethod
    def at(cls, box: Box) -> KalmanBox:
        """The state after the first box."""
        measured = _measure(box)
        position, velocity = 2 * POSITION * measured[3], 10 * VELOCITY * measured[3]
        deviation = [position, position, ASPECT, position, velocity, velocity, ASPECT_VELOCITY, velocity]
        return cls(np.concatenate([measured, np.zeros(4)]), np.diag(np.square(deviation)))

    def predict(self) -> KalmanBox:
        """The state one frame later."""
        position, velocity = POSITION * self.mean[3], VELOCITY * self.mean[3]
        deviation = [position, position, ASPECT, position, velocity, velocity, ASPECT_VELOCITY, velocity]
        return KalmanBox(STEP @ self.mean, STEP @ self.covariance @ STEP.T + np.diag(np.square(deviation)))

    def update(self, box: Box) -> KalmanBox:
        """The state, corrected by the observed box."""
        position = POSITION * self.mean[3]
        noise = np.diag(np.square([position, position, ASPECT, position]))
        spread = OBSERVATION @ self.covariance @ OBSERVATION.T + noise
        gain = np.linalg.solve(spread, OBSERVATION @ self.covariance).T
        mean = self.mean + gain @ (_measure(box) - OBSERVATION @ self.mean)
        return KalmanBox(mean, self.covariance - gain @ spread @ gain.T)

    @property
    def box(self) -> Box:
        x, y, aspect, height = self.mean[:4].tolist()
        width = aspect * height
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _measure(box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / (y1 - y0), y1 - y0])
