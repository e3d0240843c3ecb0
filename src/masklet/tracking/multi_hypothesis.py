"""Tracking objects by several hypotheses at once: each has its own memory, and the best continue.

`track_objects` wraps `track_frame`, which tracks one hypothesis. The policy decides which ones continue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from masklet.model import Sam2
from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import (
    EncodedFrame,
    EncodedPrompt,
    TrackedObject,
    batch_alike,
    make_memories,
    select_memories,
    track_frame,
)
from masklet.types import Candidates, MaskPrediction, Memory


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One of several hypotheses about where an object is.

    Attributes:
        bank: Its own memories.
        total: Its score so far.
        answers: Its answers on the frames on which the hypotheses still differ, in the order of tracking.
    """

    bank: MemoryBank
    total: float
    answers: dict[int, MaskPrediction]

    def __deepcopy__(self, memo: object) -> Hypothesis:
        return self  # it never changes, and is large


@dataclass(frozen=True)
class Offer:
    """The candidates for one hypothesis, with their IoU and object score on the host."""

    candidates: Candidates
    iou: list[float]
    score: float


class MultiHypothesisPolicy(MemoryPolicy):
    """A policy that tracks an object by several hypotheses, and decides later.

    Attributes:
        hypotheses: Empty while there is only one.
    """

    hypotheses: Sequence[Hypothesis] = ()

    def select_hypotheses(self, offers: Sequence[Offer]) -> list[tuple[int, int, float]]:
        """The hypotheses of the next frame: (number of the hypothesis, candidate, total).

        A hypothesis may continue with several candidates, and one pair may occur several times.

        Args:
            offers: One for each of `hypotheses`.
        """
        raise NotImplementedError(f"{type(self).__name__} must override select_hypotheses")

    def keep(self, bank: MemoryBank, memory: Memory) -> None:
        """Keep a memory in a hypothesis' bank."""
        bank.keep(memory)


@torch.inference_mode()
def track_objects(
    model: Sam2,
    frame: EncodedFrame,
    objects: Sequence[TrackedObject],
    prompts: Mapping[int, EncodedPrompt] | None = None,
) -> None:
    """`track_frame` for objects with any policy: objects with several hypotheses are tracked by all of them.

    Afterwards `revised` of each object has the answers to earlier frames that this frame changed, and
    `undecided` the frames that later ones may change.
    """
    prompts = prompts or {}
    several = {
        obj: obj.policy
        for obj in objects
        if isinstance(obj.policy, MultiHypothesisPolicy) and obj.policy.hypotheses and obj.id not in prompts
    }
    single = [obj for obj in objects if obj not in several]
    track_frame(model, frame, single, prompts)
    if several:
        track_hypotheses(model, frame, several)


Branch = tuple[Hypothesis, int]  # a hypothesis, and the candidate with which it continues


def track_hypotheses(
    model: Sam2, frame: EncodedFrame, policies: Mapping[TrackedObject, MultiHypothesisPolicy]
) -> None:
    """Track every hypothesis of every object to a frame. Afterwards each policy has those that continue.

    Hypotheses that are still equal are computed once.

    Args:
        policies: By object.
    """
    offers = _offers(model, frame, policies.values())
    answers: dict[Branch, MaskPrediction] = {}
    selected: list[list[tuple[Branch, float]]] = []
    for policy in policies.values():
        chosen = policy.select_hypotheses([offers[hypothesis] for hypothesis in policy.hypotheses])
        selected.append([((policy.hypotheses[number], choice), total) for number, choice, total in chosen])
        for hypothesis, choice in dict.fromkeys(branch for branch, _ in selected[-1]):
            candidates = offers[hypothesis].candidates
            index = torch.full((1,), choice, dtype=torch.int64, device=candidates.iou.device)
            answers[hypothesis, choice] = candidates.pick(index).hide_absent(policy.present)
    memories: dict[Branch, Memory] = {}
    for batch in batch_alike(((None, branch) for branch in answers), model.backend.objects_per_batch):
        stacked = MaskPrediction.stack([answers[branch] for branch in batch])
        memories |= zip(batch, make_memories(model, frame, stacked, prompted=False, reads=True), strict=True)
    for (obj, policy), branches in zip(policies.items(), selected, strict=True):
        _extend(obj, policy, frame.number, branches, answers, memories)


def _offers(
    model: Sam2, frame: EncodedFrame, policies: Iterable[MultiHypothesisPolicy]
) -> dict[Hypothesis, Offer]:
    """What the network offers for each hypothesis."""
    queries = [
        (policy, hypothesis, select_memories(policy, hypothesis.bank, frame))
        for policy in policies
        for hypothesis in dict.fromkeys(policy.hypotheses)
    ]
    offers: dict[Hypothesis, Offer] = {}
    shaped = (((query[2].shape, query[0].present), query) for query in queries)
    for batch in batch_alike(shaped, model.backend.objects_per_batch):
        context = model.attend(frame.features, [selection for _, _, selection in batch])
        candidates = model.decode(frame.features, context, present=batch[0][0].present)
        numbers = torch.cat([candidates.iou, candidates.score[:, None]], dim=1).tolist()
        for row, ((_, hypothesis, _), (*iou, score)) in enumerate(zip(batch, numbers, strict=True)):
            offers[hypothesis] = Offer(candidates.row(row), iou, score)
    return offers


def _extend(
    obj: TrackedObject,
    policy: MultiHypothesisPolicy,
    frame: int,
    branches: Sequence[tuple[Branch, float]],
    answers: Mapping[Branch, MaskPrediction],
    memories: Mapping[Branch, Memory],
) -> None:
    """Extend an object's hypotheses by a frame, and drop the earlier answers on which they agree."""
    before = _best(policy.hypotheses)
    hypotheses: dict[Branch, Hypothesis] = {}
    for branch, total in branches:
        if branch not in hypotheses:
            bank = branch[0].bank.copy()
            policy.keep(bank, memories[branch])
            hypotheses[branch] = Hypothesis(bank, total, {**branch[0].answers, frame: answers[branch]})
    grown = list(hypotheses.values())
    best = _best(grown)
    obj.bank, obj.last = best.bank, best.answers[frame]
    obj.revised = {
        at: answer
        for at, answer in best.answers.items()
        if at != frame and before.answers.get(at) is not answer
    }
    pruned = _drop_decided(grown)
    policy.hypotheses = [pruned[hypotheses[branch]] for branch, _ in branches]
    obj.undecided = policy.hypotheses[0].answers


def _best(hypotheses: Iterable[Hypothesis]) -> Hypothesis:
    return max(hypotheses, key=lambda hypothesis: hypothesis.total)


def _drop_decided(hypotheses: Sequence[Hypothesis]) -> dict[Hypothesis, Hypothesis]:
    """The hypotheses, without answers on which they agree, or that are older than their memories."""
    first = hypotheses[0]
    undecided = [
        at for at, answer in first.answers.items() if any(one.answers[at] is not answer for one in hypotheses)
    ]
    if first.bank.capacity is not None:
        undecided = undecided[-first.bank.capacity :]
    return {one: replace(one, answers={at: one.answers[at] for at in undecided}) for one in hypotheses}
