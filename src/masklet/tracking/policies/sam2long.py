"""SAM2Long (arXiv 2410.16268): track an object by three hypotheses, and select one later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.multi_hypothesis import Hypothesis, MultiHypothesisPolicy, Offer
from masklet.tracking.policies.gated import latest, select_by_rank
from masklet.types import Candidates, Memory, MemorySelection

HYPOTHESES = 3  # maximum number of different ones
GOOD_IOU, GOOD_SCORE = 0.1, 0.0
SURE_SCORE = 2.0  # object score of a surely present object; its negative: surely absent
PROMPTED = 10.0  # object score of prompted frames
WEIGHTS = (0.95, 1.05)  # weights of the memories with the lowest and the highest object score


class Option(NamedTuple):
    """A hypothesis, by its number, and a candidate with which it may continue.

    Attributes:
        total: The score of the hypothesis if it does.
    """

    hypothesis: int
    candidate: int
    total: float
    iou: float
    is_present: bool


class Sam2Long(MultiHypothesisPolicy):
    """Three hypotheses, each with its own memory. The best has the largest sum of log IoU.

    After the first tracked frame they are equal. They separate when it is uncertain whether the object is in
    the frame.
    """

    reads = True
    latency = POINTERS
    resumable = False

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        self.keep(bank, memory)
        if not memory.prompted:
            self.hypotheses = [Hypothesis(bank.copy(), 0.0, {})] * HYPOTHESES

    def keep(self, bank: MemoryBank, memory: Memory) -> None:
        bank.keep(memory, spare=is_good_memory)

    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        memories = latest(bank, frame, is_good_memory, reverse=reverse)
        selection = select_by_rank(bank, frame, memories, reverse=reverse, clip_length=clip_length)
        if not memories:
            return selection
        scores = [PROMPTED if memory.prompted else float(memory.score) for _, memory in selection.spatial]
        tracked = [float(memory.score) for memory in memories[: selection.span]]
        prompted = [PROMPTED] * (len(selection.pointers) - len(tracked))
        return replace(selection, weights=(*weights(scores), *weights([*prompted, *tracked])))

    def select_hypotheses(self, offers: Sequence[Offer]) -> list[tuple[int, int, float]]:
        options = [
            Option(number, candidate, before.total + math.log(iou + 1e-5), iou, offer.score > 0)
            for number, (before, offer) in enumerate(zip(self.hypotheses, offers, strict=True))
            for candidate, iou in enumerate(offer.iou)
        ]
        options.sort(key=lambda option: -option.total)
        if max(abs(offer.score) for offer in offers) > SURE_SCORE:
            chosen = options[:HYPOTHESES]
        else:
            different: dict[tuple[float, bool], Option] = {}
            for option in options:
                different.setdefault((round(option.iou, 2), option.is_present), option)
            chosen = list(different.values())[:HYPOTHESES]
            for number in range(len(offers)):
                if len(chosen) < HYPOTHESES and all(option.hypothesis != number for option in chosen):
                    chosen.append(next(option for option in options if option.hypothesis == number))
        return [(option.hypothesis, option.candidate, option.total) for option in chosen]


def is_good_memory(memory: Memory) -> bool:
    return float(memory.iou) > GOOD_IOU and float(memory.score) > GOOD_SCORE


def weights(scores: Sequence[float]) -> list[float]:
    """Weights from 0.95 for the lowest score to 1.05 for the highest in even steps; 1 for a single memory."""
    if len(scores) < 2:
        return [1.0] * len(scores)
    low, high = WEIGHTS
    ranked = sorted(range(len(scores)), key=scores.__getitem__)
    gap = (high - low) / (len(scores) - 1)
    return [low + gap * ranked.index(index) for index in range(len(scores))]
