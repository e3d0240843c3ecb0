"""Look only at memories that are worth it: predicted IoU times presence, as SAM 3's tracker weighs them."""

from __future__ import annotations

import math
from collections.abc import Callable

from masklet.tracking.bank import POINTERS, WINDOW, MemoryBank
from masklet.tracking.policies.recency import Recency, pointer_reach, prompted_pointers
from masklet.types import Candidates, Memory, MemorySelection

ENOUGH = 0.01


class Gated(Recency):
    """As Recency, but frames on which the object was hidden or hardly recognised are passed over.

    So the last good look at an object that is gone is still remembered when it comes back.
    """

    reads = True

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        bank.keep(memory, spare=worthy)

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        kept = latest(bank, frame, worthy, reverse=reverse)
        return by_rank(bank, frame, kept, pointer_reach(clip_length), reverse=reverse)


def worthy(memory: Memory) -> bool:
    return float(memory.iou) * presence(float(memory.score)) > ENOUGH


def presence(score: float) -> float:
    """An object score as 0 (doubtful, or absent) to 1 (certain)."""
    return max(0.0, math.tanh(score / 2))  # 2 sigmoid(score) - 1


def latest(bank: MemoryBank, frame: int, wanted: Callable[[Memory], bool], *, reverse: bool) -> list[Memory]:
    """The newest fifteen of the wanted memories, and that of the frame before in any case, newest first."""
    before = frame + 1 if reverse else frame - 1
    kept: list[Memory] = []
    found = 0
    for memory in bank.behind(frame, reverse=reverse):
        good = wanted(memory)
        found += good
        if good or memory.frame == before:
            kept.append(memory)
        if found == POINTERS - 1:
            break
    return kept


def by_rank(
    bank: MemoryBank,
    frame: int,
    kept: list[Memory],
    reach: int,
    *,
    reverse: bool,
    weights: tuple[float, ...] = (),
) -> MemorySelection:
    """The prompted memories, and the kept ones, aged by their rank: the newest is one frame old."""
    spatial = [(WINDOW, memory) for memory in bank.prompted.values()]
    spatial += [(rank, memory) for rank, memory in enumerate(kept[:WINDOW])]
    pointers = prompted_pointers(bank, frame, reverse=reverse)
    pointers += tuple((rank, memory.pointer) for rank, memory in enumerate(kept[: reach - 1], start=1))
    return MemorySelection(tuple(spatial), pointers, reach - 1, weights)
