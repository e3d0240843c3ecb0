"""Select only good memories, by predicted IoU times presence, like SAM 3's tracker."""

from __future__ import annotations

import math
from collections.abc import Callable

from masklet.tracking.bank import POINTERS, WINDOW, MemoryBank
from masklet.tracking.policies.recency import Recency, make_selection
from masklet.types import Candidates, Memory, MemorySelection

GOOD_QUALITY = 0.01


class Gated(Recency):
    """Like Recency, without frames on which the object was hidden or hardly recognised.

    The last good memories of an object that has left are still used when it returns.
    """

    reads = True

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        bank.keep(memory, spare=is_good_memory)

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        memories = latest(bank, frame, is_good_memory, reverse=reverse)
        return select_by_rank(bank, frame, memories, reverse=reverse, clip_length=clip_length)


def is_good_memory(memory: Memory) -> bool:
    return float(memory.iou) * presence(float(memory.score)) > GOOD_QUALITY


def presence(score: float) -> float:
    """Map an object score to 0 (doubtful or absent) to 1 (certain)."""
    return max(0.0, math.tanh(score / 2))  # 2 sigmoid(score) - 1


def latest(bank: MemoryBank, frame: int, is_good: Callable[[Memory], bool], *, reverse: bool) -> list[Memory]:
    """The newest fifteen good memories and always that of the previous frame, newest first."""
    before = frame + 1 if reverse else frame - 1
    memories: list[Memory] = []
    count = 0
    for memory in bank.behind(frame, reverse=reverse):
        good = is_good(memory)
        count += good
        if good or memory.frame == before:
            memories.append(memory)
        if count == POINTERS - 1:
            break
    return memories


def select_by_rank(
    bank: MemoryBank,
    frame: int,
    memories: list[Memory],
    *,
    reverse: bool,
    clip_length: int | None,
) -> MemorySelection:
    """Select prompted memories and others, whose age is their rank: the newest is one frame old."""
    newest, ranked = list(enumerate(memories[:WINDOW])), list(enumerate(memories, start=1))
    prompted = bank.prompted.values()
    return make_selection(prompted, frame, newest, ranked, reverse=reverse, clip_length=clip_length)
