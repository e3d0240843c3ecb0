"""DAM4SAM (arXiv 2411.17576): remember the frames on which something was nearly taken for the object."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import cv2
import numpy as np
import torch
from torch import Tensor

from masklet.boxes import Box, box_iou, tight_box
from masklet.tracking.bank import WINDOW, MemoryBank
from masklet.tracking.policies.recency import Recency, pointer_reach
from masklet.types import Candidates, Memory, MemorySelection

ANCHORS = 3  # that are looked at, beside the first prompted frame
STRIDE = 5  # between recent frames that are looked at
SURE = 0.8  # predicted IoU of a frame that may become an anchor
LIKE_BEFORE = (0.8, 1.2)  # its area, in terms of the median of the areas before
AREAS, AREAS_REACH = 10, 300  # how many of them, and how far back
APART = 5  # frames between anchors, at least one more
RIVAL = 0.7  # IoU of boxes at which another candidate is a distractor


class Dam4Sam(Recency):
    """Two memories: anchors, on which a distractor was near and not believed, and spread recent frames.

    Anchors are looked at as prompted frames are, without an age.
    """

    capacity = 41  # enough for six recent frames at any strides, the object being hidden or an anchor or not
    reads = True

    def __init__(self) -> None:
        self._areas: dict[int, int] = {}  # of the mask by frame, in the order of travel

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        bank.keep(memory, spare=self._visible)
        if memory.prompted:
            return
        chosen = self.select_mask(candidates)
        area = self._area(memory, candidates, chosen)
        if self._may_anchor(bank, memory, area) and has_rival(candidates.logits[0], int(chosen)):
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
        reach, step = pointer_reach(clip_length), -1 if reverse else 1
        fixed = anchors(bank, frame, step)
        recent = self._recent(bank, frame, {each.frame for each in fixed}, WINDOW + 1 - len(fixed), step)
        spatial = [(WINDOW, memory) for memory in fixed]
        spatial += [(rank, memory) for rank, memory in enumerate(recent)]
        ages = [((frame - memory.frame) * step, memory.pointer) for memory in fixed]
        pointers = [(age, pointer) for age, pointer in ages if age >= 0]
        seen = {each.frame for each in fixed}
        for age in range(1, reach):
            memory = bank.tracked.get(frame - age * step)
            if memory is not None and memory.frame not in seen and self._visible(memory):
                pointers.append((age, memory.pointer))
        return MemorySelection(tuple(spatial), tuple(pointers), reach - 1)

    def state(self, bank: MemoryBank) -> dict[str, Tensor]:
        frames, areas = list(self._areas), list(self._areas.values())
        return {
            "frames": torch.tensor(frames, dtype=torch.int64, device="cpu"),
            "areas": torch.tensor(areas, dtype=torch.int64, device="cpu"),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._areas = dict(zip(state["frames"].tolist(), state["areas"].tolist(), strict=True))

    def _recent(self, bank: MemoryBank, frame: int, fixed: set[int], slots: int, step: int) -> list[Memory]:
        """The frame before and every fifth, newest first; in place of one without the object, one older."""
        found: list[Memory] = []
        wanted = frame - step
        for each in bank.behind(frame, reverse=step < 0):
            if len(found) == slots:
                break
            reached = (wanted - each.frame) * step >= 0
            if reached and each.frame not in fixed and self._visible(each):
                found.append(each)
                wanted = _multiple_before(wanted, step)
        return found

    def _visible(self, memory: Memory) -> bool:
        return float(memory.score) > self.present and self._areas.get(memory.frame, 1) > 0

    def _area(self, memory: Memory, candidates: Candidates, chosen: Tensor) -> int:
        if float(memory.score) <= self.present:
            return 0
        return int((candidates.logits[0, chosen] > 0).sum())

    def _may_anchor(self, bank: MemoryBank, memory: Memory, area: int) -> bool:
        frame = memory.frame
        near = any(abs(frame - at) <= APART for at in (*bank.prompted, *bank.anchors))
        if not area or float(memory.iou) <= SURE or near:
            return False
        before = [each for each in self._areas.values() if each][-AREAS:]
        low, high = LIKE_BEFORE
        return not before or low <= area / median(before) <= high


def anchors(bank: MemoryBank, frame: int, step: int) -> list[Memory]:
    """The first prompted frame, and the nearest of the other prompted ones and of the anchors behind."""
    first, *others = bank.prompted.values() or [None]
    behind = [each for each in bank.anchors.values() if (frame - each.frame) * step > 0]
    near = sorted([*others, *behind], key=lambda each: abs(frame - each.frame))[:ANCHORS]
    return near if first is None else [first, *near]


def _multiple_before(frame: int, step: int) -> int:
    """The next frame back against the direction of travel whose number is a multiple of the stride."""
    return (frame - 1) // STRIDE * STRIDE if step > 0 else -(-(frame + 1) // STRIDE) * STRIDE


def has_rival(logits: Tensor, chosen: int) -> bool:
    """Whether a candidate that is not believed shows something beside the one that is.

    logits : float32 (m, h, w)
    """
    inside = (logits > 0).cpu().numpy()
    mask = inside[chosen]
    own = _box(mask)
    return any(
        box_iou(own, _box(mask | _largest(other & ~mask))) <= RIVAL
        for index, other in enumerate(inside)
        if index != chosen
    )


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest 8-connected piece."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    return np.asarray(pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())


def _box(mask: np.ndarray) -> Box:
    return tight_box(mask) or (0, 0, 0, 0)
