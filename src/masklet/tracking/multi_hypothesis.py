"""Tracking objects along several paths at once: each path has its own memory, and the best continue.

`track_objects` wraps `track_frame`, which tracks one path. The policy decides which paths continue.
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
class Path:
    """One hypothesis of an object's path.

    Attributes:
        bank: The memories along it.
        total: Its score so far.
        answers: Its answers on the frames on which the paths still differ, in the order of tracking.
    """

    bank: MemoryBank
    total: float
    answers: dict[int, MaskPrediction]

    def __deepcopy__(self, memo: object) -> Path:
        return self  # it never changes, and is large


@dataclass(frozen=True)
class Offer:
    """The candidates along one path, with their numbers on the host."""

    candidates: Candidates
    iou: list[float]
    score: float


class MultiHypothesisPolicy(MemoryPolicy):
    """A policy that tracks an object along several paths, and decides later.

    Attributes:
        paths: Empty while there is only one.
    """

    paths: Sequence[Path] = ()

    def select_paths(self, offers: Sequence[Offer]) -> list[tuple[int, int, float]]:
        """The paths of the next frame: (path, candidate, total), in which pairs may occur twice.

        Args:
            offers: One for each of `paths`.
        """
        raise NotImplementedError(f"{type(self).__name__} must override select_paths")

    def keep(self, bank: MemoryBank, memory: Memory) -> None:
        """Keep a memory in a path's bank."""
        bank.keep(memory)


@torch.inference_mode()
def track_objects(
    model: Sam2,
    frame: EncodedFrame,
    objects: Sequence[TrackedObject],
    prompts: Mapping[int, EncodedPrompt] | None = None,
) -> None:
    """`track_frame` for objects with any policy: objects with several paths are tracked along all of them.

    Afterwards `revised` of each object has the answers to earlier frames that this frame changed, and
    `undecided` the frames that later ones may change.
    """
    prompts = prompts or {}
    several = {
        obj: obj.policy
        for obj in objects
        if isinstance(obj.policy, MultiHypothesisPolicy) and obj.policy.paths and obj.id not in prompts
    }
    single = [obj for obj in objects if obj not in several]
    track_frame(model, frame, single, prompts)
    if several:
        branch(model, frame, several)


Step = tuple[Path, int]  # a path, and the candidate with which it continues


def branch(model: Sam2, frame: EncodedFrame, policies: Mapping[TrackedObject, MultiHypothesisPolicy]) -> None:
    """Track every path of every object to a frame. Afterwards `paths` of each policy are those that continue.

    Paths that are still equal are computed once.

    Args:
        policies: By object.
    """
    offers = _offers(model, frame, policies.values())
    answers: dict[Step, MaskPrediction] = {}
    selected: list[list[tuple[Step, float]]] = []
    for policy in policies.values():
        chosen = policy.select_paths([offers[path] for path in policy.paths])
        selected.append([((policy.paths[path], choice), total) for path, choice, total in chosen])
        for path, choice in dict.fromkeys(step for step, _ in selected[-1]):
            candidates = offers[path].candidates
            index = torch.full((1,), choice, dtype=torch.int64, device=candidates.iou.device)
            answers[path, choice] = candidates.pick(index).hide_absent(policy.present)
    memories: dict[Step, Memory] = {}
    for batch in batch_alike(((None, step) for step in answers), model.backend.objects_per_batch):
        stacked = MaskPrediction.stack([answers[step] for step in batch])
        memories |= zip(batch, make_memories(model, frame, stacked, prompted=False, reads=True), strict=True)
    for (obj, policy), steps in zip(policies.items(), selected, strict=True):
        _extend_paths(obj, policy, frame.number, steps, answers, memories)


def _offers(model: Sam2, frame: EncodedFrame, policies: Iterable[MultiHypothesisPolicy]) -> dict[Path, Offer]:
    """What the network offers along each path."""
    queries = [
        (policy, path, select_memories(policy, path.bank, frame))
        for policy in policies
        for path in dict.fromkeys(policy.paths)
    ]
    offers: dict[Path, Offer] = {}
    shaped = (((query[2].shape, query[0].present), query) for query in queries)
    for batch in batch_alike(shaped, model.backend.objects_per_batch):
        context = model.attend(frame.features, [selection for _, _, selection in batch])
        candidates = model.decode(frame.features, context, present=batch[0][0].present)
        numbers = torch.cat([candidates.iou, candidates.score[:, None]], dim=1).tolist()
        for row, ((_, path, _), (*iou, score)) in enumerate(zip(batch, numbers, strict=True)):
            offers[path] = Offer(candidates.row(row), iou, score)
    return offers


def _extend_paths(
    obj: TrackedObject,
    policy: MultiHypothesisPolicy,
    frame: int,
    steps: Sequence[tuple[Step, float]],
    answers: Mapping[Step, MaskPrediction],
    memories: Mapping[Step, Memory],
) -> None:
    """Extend an object's paths by a frame, and drop the earlier answers on which they agree."""
    before = _best(policy.paths)
    paths: dict[Step, Path] = {}
    for step, total in steps:
        if step not in paths:
            bank = step[0].bank.copy()
            policy.keep(bank, memories[step])
            paths[step] = Path(bank, total, {**step[0].answers, frame: answers[step]})
    grown = list(paths.values())
    best = _best(grown)
    obj.bank, obj.last = best.bank, best.answers[frame]
    obj.revised = {
        at: answer
        for at, answer in best.answers.items()
        if at != frame and before.answers.get(at) is not answer
    }
    pruned = _drop_decided(grown)
    policy.paths = [pruned[paths[step]] for step, _ in steps]
    obj.undecided = policy.paths[0].answers


def _best(paths: Sequence[Path]) -> Path:
    return max(paths, key=lambda path: path.total)


def _drop_decided(paths: Sequence[Path]) -> dict[Path, Path]:
    """The paths, without answers on which they agree, or that are older than their memories."""
    first = paths[0]
    open_ = [
        at for at, answer in first.answers.items() if any(path.answers[at] is not answer for path in paths)
    ]
    if first.bank.capacity is not None:
        open_ = open_[-first.bank.capacity :]
    return {path: replace(path, answers={at: path.answers[at] for at in open_}) for path in paths}
