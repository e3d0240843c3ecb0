"""DAM4SAM (arXiv 2411.17576): remember frames on which a distractor was near the object."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import cv2
import numpy as np
import torch
from torch import Tensor

from masklet.boxes import Box, box_iou, tight_box
from masklet.tracking.bank import POINTERS, WINDOW, MemoryBank
from masklet.tracking.policies.recency import Recency, make_selection
from masklet.types import Candidates, Memory, MemorySelection

ANCHORS = 3  # maximum number of selected anchors, besides the first prompted frame
STRIDE = 5  # distance between recent memories, in frames
ANCHOR_IOU = 0.8  # predicted IoU above which a frame can become an anchor
ANCHOR_AREA = (0.8, 1.2)  # bounds of an anchor's area, divided by the median of earlier areas
AREAS, AREAS_REACH = 10, 300  # number of earlier areas, and their maximum age in frames
ANCHOR_GAP = 5  # two anchors are more than so many frames apart
DISTRACTOR_IOU = 0.7  # IoU of boxes up to which another candidate is a distractor


class Dam4Sam(Recency):
    """Two kinds of memories: anchors, which are frames with a rejected distractor, and recent frames.

    Anchors have no age, like prompted frames.
    """

    capacity = 41  # six recent frames reach back at most 26 visible ones, and three anchors among them
    reads = True

    def __init__(self) -> None:
        self._areas: dict[int, int] = {}  # area of the mask by frame, in tracking order

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        bank.keep(memory, spare=self._is_visible)
        if memory.prompted:
            return
        selected = self.select_mask(candidates)  # again, since `store` is not given the selection
        area = self._area(memory, candidates, selected)
        if self._may_be_anchor(bank, memory, area) and has_distractor(candidates.logits[0], int(selected)):
            bank.anchors[memory.frame] = memory
            if bank.capacity is not None and len(bank.anchors) > ANCHORS:
                del bank.anchors[next(iter(bank.anchors))]
        self._areas[memory.frame] = area
        oldest = next(iter(self._areas))
        if abs(memory.frame - oldest) >= AREAS_REACH:
            del self._areas[oldest]

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        direction = -1 if reverse else 1
        fixed = select_anchors(bank, frame, direction)
        fixed_frames = {memory.frame for memory in fixed}
        recent = self._recent(bank, frame, fixed_frames, direction)
        before = [(age, bank.tracked.get(frame - age * direction)) for age in range(1, POINTERS)]
        tracked = [
            (age, memory)
            for age, memory in before
            if memory and memory.frame not in fixed_frames and self._is_visible(memory)
        ]
        ranked = list(enumerate(recent))
        return make_selection(fixed, frame, ranked, tracked, reverse=reverse, clip_length=clip_length)

    def state(self, bank: MemoryBank) -> dict[str, Tensor]:
        frames, areas = list(self._areas), list(self._areas.values())
        return {
            "frames": torch.tensor(frames, dtype=torch.int64, device="cpu"),
            "areas": torch.tensor(areas, dtype=torch.int64, device="cpu"),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._areas = dict(zip(state["frames"].tolist(), state["areas"].tolist(), strict=True))

    def _recent(self, bank: MemoryBank, frame: int, fixed: set[int], direction: int) -> list[Memory]:
        """The previous frame and every fifth, newest first; older ones replace frames without the object."""
        recent: list[Memory] = []
        target = frame - direction
        for memory in bank.behind(frame, reverse=direction < 0):
            if len(recent) + len(fixed) > WINDOW:
                break
            is_reached = (target - memory.frame) * direction >= 0
            if is_reached and memory.frame not in fixed and self._is_visible(memory):
                recent.append(memory)
                target = _multiple_before(target, direction)
        return recent

    def _is_visible(self, memory: Memory) -> bool:
        return float(memory.score) > self.present and self._areas.get(memory.frame, 1) > 0

    def _area(self, memory: Memory, candidates: Candidates, selected: Tensor) -> int:
        if float(memory.score) <= self.present:
            return 0
        return int((candidates.logits[0, selected] > 0).sum())

    def _may_be_anchor(self, bank: MemoryBank, memory: Memory, area: int) -> bool:
        frame = memory.frame
        near = any(abs(frame - at) <= ANCHOR_GAP for at in (*bank.prompted, *bank.anchors))
        if not area or float(memory.iou) <= ANCHOR_IOU or near:
            return False
        before = [area for area in self._areas.values() if area][-AREAS:]
        low, high = ANCHOR_AREA
        return not before or low <= area / median(before) <= high


def select_anchors(bank: MemoryBank, frame: int, direction: int) -> list[Memory]:
    """The first prompted frame, and the nearest other prompted frames and earlier anchors."""
    first, *others = bank.prompted.values() or [None]
    behind = [anchor for anchor in bank.anchors.values() if (frame - anchor.frame) * direction > 0]
    near = sorted([*others, *behind], key=lambda memory: abs(frame - memory.frame))[:ANCHORS]
    return near if first is None else [first, *near]


def _multiple_before(frame: int, direction: int) -> int:
    """The nearest earlier frame, in tracking order, whose number is a multiple of the stride."""
    return (frame - 1) // STRIDE * STRIDE if direction > 0 else -(-(frame + 1) // STRIDE) * STRIDE


def has_distractor(logits: Tensor, selected: int) -> bool:
    """Whether another candidate shows an object beside the selected one.

    Args:
        logits: Float32 (m, h, w).
        selected: The index of the selected candidate.
    """
    inside = (logits > 0).cpu().numpy()
    mask = inside[selected]
    own = _box(mask)
    return any(
        box_iou(own, _box(mask | _largest(other & ~mask))) <= DISTRACTOR_IOU
        for index, other in enumerate(inside)
        if index != selected
    )


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest 8-connected component."""
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    return np.asarray(components == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())


def _box(mask: np.ndarray) -> Box:
    return tight_box(mask) or (0, 0, 0, 0)
