"""The memory bank: what is kept of one object, and the rule that says what to keep and what to look at.

It knows nothing of the network: memories are opaque here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.types import Candidates, MaskPrediction, Memory, Recall

WINDOW = 6  # tracked frames that are looked at
POINTERS = 16  # object pointers that are looked at, the prompted frames' among them


@dataclass
class MemoryBank:
    """One object's memories by frame.

    capacity : tracked memories to keep, the newest; prompted ones are kept to the same number, the first
               always among them. None keeps everything, for sessions in which a person goes back.
    """

    capacity: int | None = POINTERS
    prompted: dict[int, Memory] = field(default_factory=dict)
    tracked: dict[int, Memory] = field(default_factory=dict)

    def keep(self, memory: Memory) -> None:
        """Keep a memory in place of what was kept of its frame, and let go of the oldest where it is full."""
        self.forget(memory.frame)
        kept = self.prompted if memory.prompted else self.tracked
        kept[memory.frame] = memory
        if self.capacity is not None and len(self.tracked) > self.capacity:
            del self.tracked[next(iter(self.tracked))]
        if self.capacity is not None and len(self.prompted) > self.capacity:
            del self.prompted[list(self.prompted)[1]]

    def forget(self, frame: int) -> None:
        """Let go of a frame's memory, if there is one."""
        self.prompted.pop(frame, None)
        self.tracked.pop(frame, None)

    def copy(self) -> MemoryBank:
        """A bank of its own with the same memories."""
        return MemoryBank(self.capacity, dict(self.prompted), dict(self.tracked))


class MemoryPolicy(Protocol):
    """Three decisions about one object; an instance serves one object and may keep state of its own."""

    def choose(self, candidates: Candidates) -> Tensor:
        """Which candidate to believe: int64 (1,), on the candidates' device."""

    def admit(self, bank: MemoryBank, memory: Memory, candidates: Candidates | None) -> None:
        """Keep a memory, or do not. candidates is None where a person's mask was the answer."""

    def recall(self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None) -> Recall:
        """What to look at on a frame.

        clip_length : frames in the clip, which the published code lets scale the pointers' ages; None stands
                      for 16 or more
        """


class Recency:
    """SAM 2's own rule (sec. 4): all prompted frames, the six frames before, and the sixteen newest pointers.

    It reads no number back to the host, so the hot loop never waits for a GPU.
    """

    def choose(self, candidates: Candidates) -> Tensor:
        return candidates.iou.argmax(dim=1)

    def admit(self, bank: MemoryBank, memory: Memory, candidates: Candidates | None) -> None:
        bank.keep(memory)

    def recall(self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None) -> Recall:
        step = -1 if reverse else 1
        reach = POINTERS if clip_length is None else min(clip_length, POINTERS)
        before = [(age, bank.tracked.get(frame - age * step)) for age in range(1, max(reach, WINDOW + 1))]
        tracked = [(age, memory) for age, memory in before if memory is not None]

        spatial = [(WINDOW, memory) for memory in bank.prompted.values()]
        spatial += [(age - 1, memory) for age, memory in tracked if age <= WINDOW]
        # A prompt may lie ahead. Its map is looked at, its pointer is not: SAM 2 was trained so.
        pointers = [
            ((frame - memory.frame) * step, memory.pointer)
            for memory in bank.prompted.values()
            if (frame - memory.frame) * step >= 0
        ]
        pointers += [(age, memory.pointer) for age, memory in tracked if age < reach]
        return Recall(tuple(spatial), tuple(pointers), span=reach - 1)


def remembered(
    frame: int, tokens: Float[Tensor, "n d"], prediction: MaskPrediction, *, prompted: bool
) -> Memory:
    """A memory in the form in which it is kept: tokens in bfloat16, as the published predictor stores them.

    prediction : of this one object
    """
    pointer, iou, score = prediction.pointer[0], prediction.iou[0], prediction.score[0]
    return Memory(frame, tokens.to(torch.bfloat16), pointer, iou, score, prompted)
