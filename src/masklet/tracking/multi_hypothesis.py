"""Tracking objects along several paths at once: each path has a memory of its own, and the best continue.

`track_objects` wraps `track_frame`, which knows only one path. Which paths continue is the policy's decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch

from masklet.model import Sam2
from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import Choice, EncodedFrame, EncodedPrompt, TrackedObject, track_frame
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Memory, MemorySelection


@dataclass(frozen=True, eq=False)
class Path:
    """One of several paths that an object may have taken.

    Attributes:
        bank: The memories along it.
        total: How good it has been.
        answers: Its answers on the frames on which the paths still differ, in the order of travel.
    """

    bank: MemoryBank
    total: float
    answers: dict[int, MaskPrediction]

    def __deepcopy__(self, memo: object) -> Path:
        return self  # it never changes, and holds much


@dataclass(frozen=True)
class Offer:
    """The candidates along one path, with their numbers on the host."""

    candidates: Candidates
    iou: list[float]
    score: float


class MultiHypothesisPolicy(MemoryPolicy, Protocol):
    """A policy that tracks an object along several paths, and decides later.

    Attributes:
        paths: Empty while there is only one.
    """

    paths: Sequence[Path]

    def select_paths(self, offers: Sequence[Offer]) -> list[tuple[int, int, float]]:
        """The paths of the next frame: (path, candidate, total), in which pairs may occur twice.

        Args:
            offers: One for each of `paths`.
        """

    def keep(self, bank: MemoryBank, memory: Memory) -> None:
        """Keep a memory in a path's bank."""


@torch.inference_mode()
def track_objects(
    model: Sam2,
    frame: EncodedFrame,
    objects: Sequence[TrackedObject],
    prompts: Mapping[int, EncodedPrompt] | None = None,
) -> dict[int, Choice]:
    """`track_frame` for objects with any policy: those with several paths are taken along all of them.

    Afterwards `revised` of each object has the answers to earlier frames that this frame changed, and
    `undecided` the frames that later ones may change.
    """
    prompts = prompts or {}
    several = [
        obj
        for obj in objects
        if obj.policy.latency and obj.id not in prompts and cast(MultiHypothesisPolicy, obj.policy).paths
    ]
    single = [obj for obj in objects if obj not in several] if several else objects
    choices = track_frame(model, frame, single, prompts)
    if several:
        policies = [cast(MultiHypothesisPolicy, obj.policy) for obj in several]
        branched = branch(model, frame, policies)
        for obj, result in zip(several, branched, strict=True):
            obj.bank, obj.revised = result.best.bank, result.revised
            obj.last = result.best.answers[frame.number]
            obj.undecided = cast(MultiHypothesisPolicy, obj.policy).paths[0].answers
    return choices


Step = tuple[Path, int]  # a path, and the candidate with which it continues


@dataclass(frozen=True)
class Branched:
    """One object after a frame.

    Attributes:
        best: The path with the highest total now.
        revised: Answers to earlier frames that differ from those of the path that was best before.
    """

    best: Path
    revised: dict[int, MaskPrediction]


def branch(model: Sam2, frame: EncodedFrame, policies: Sequence[MultiHypothesisPolicy]) -> list[Branched]:
    """Track every path of every object to a frame. Afterwards `paths` of each policy are those that continue.

    Paths that have not parted yet are computed once.
    """
    at, reverse, length = frame.number, frame.reverse, frame.clip_length
    queries = [
        (path, policy.select_memories(path.bank.scene(at), at, reverse=reverse, clip_length=length))
        for policy in policies
        for path in dict.fromkeys(policy.paths)
    ]
    offers = {
        path: offer
        for batch in _batch_by_shape(queries, model.backend.objects_per_batch)
        for path, offer in _offers(model, frame.features, batch)
    }
    answers: dict[Step, MaskPrediction] = {}
    grown = []
    for policy in policies:
        before = list(policy.paths)
        steps = [
            ((before[path], choice), total)
            for path, choice, total in policy.select_paths([offers[path] for path in before])
        ]
        for path, choice in dict.fromkeys(step for step, _ in steps):
            candidates = offers[path].candidates
            index = torch.full((1,), choice, dtype=torch.int64, device=candidates.iou.device)
            picked = candidates.pick(index)
            answers[path, choice] = picked.hide_absent(policy.present)
        grown.append(steps)
    memories = _memories(model, frame, answers)
    return [
        _extend_paths(policy, frame.number, steps, answers, memories)
        for policy, steps in zip(policies, grown, strict=True)
    ]


def _batch_by_shape(
    queries: Sequence[tuple[Path, MemorySelection]], batch_size: int
) -> Iterator[list[tuple[Path, MemorySelection]]]:
    """Paths in batches whose memories have the same shape."""
    by_shape = defaultdict(list)
    for path, selection in queries:
        by_shape[selection.shape].append((path, selection))
    for group in by_shape.values():
        yield from (group[at : at + batch_size] for at in range(0, len(group), batch_size))


def _offers(
    model: Sam2, features: FrameFeatures, batch: Sequence[tuple[Path, MemorySelection]]
) -> Iterator[tuple[Path, Offer]]:
    candidates = model.decode(features, model.attend(features, [selection for _, selection in batch]))
    numbers = torch.cat([candidates.iou, candidates.score[:, None]], dim=1).tolist()
    for row, ((path, _), (*iou, score)) in enumerate(zip(batch, numbers, strict=True)):
        yield path, Offer(candidates.row(row), iou, score)


def _memories(model: Sam2, frame: EncodedFrame, answers: Mapping[Step, MaskPrediction]) -> dict[Step, Memory]:
    memories, steps, batch_size = {}, list(answers), model.backend.objects_per_batch
    for at in range(0, len(steps), batch_size):
        part = steps[at : at + batch_size]
        stacked = MaskPrediction.stack([answers[step] for step in part])
        tokens = model.memorize(frame.features, stacked)
        numbers = stacked.numbers_on_host()
        for row, step in enumerate(part):
            memories[step] = Memory(
                frame.number,
                tokens[row].to(model.memory_dtype),
                numbers.pointer[row],
                numbers.iou[row],
                numbers.score[row],
                prompted=False,
            )
    return memories


def _extend_paths(
    policy: MultiHypothesisPolicy,
    frame: int,
    steps: Sequence[tuple[Step, float]],
    answers: Mapping[Step, MaskPrediction],
    memories: Mapping[Step, Memory],
) -> Branched:
    """Extend a policy's paths by a frame, and drop the earlier answers on which they agree."""
    before = _best(policy.paths)
    paths: dict[Step, Path] = {}
    for step, total in steps:
        if step not in paths:
            bank = step[0].bank.copy()
            policy.keep(bank, memories[step])
            paths[step] = Path(bank, total, {**step[0].answers, frame: answers[step]})
    grown = [paths[step] for step, _ in steps]
    best = _best(grown)
    earlier = {at: answer for at, answer in best.answers.items() if at != frame}
    revised = {at: answer for at, answer in earlier.items() if before.answers.get(at) is not answer}
    pruned = _drop_decided(list(paths.values()))
    policy.paths = [pruned[path] for path in grown]
    return Branched(best, revised)


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
