"""Following objects along several paths at once: each looks with a memory of its own, and the best go on.

The rule that says which go on is the policy's; here is what is alike for all such rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from masklet.model import Sam2
from masklet.tracking.bank import Branching, Offer, Path, remembered
from masklet.types import FrameFeatures, MaskPrediction, Memory, MemorySelection

Step = tuple[Path, int]  # a path, and the candidate with which it goes on


@dataclass(frozen=True)
class Branched:
    """What a frame made of one object.

    best : the path that looks best now
    revised : answers to earlier frames that differ from those of the path that looked best before
    """

    best: Path
    revised: dict[int, MaskPrediction]


def branch(
    model: Sam2,
    features: FrameFeatures,
    frame: int,
    policies: Sequence[Branching],
    *,
    together: int,
    reverse: bool,
    clip_length: int | None,
) -> list[Branched]:
    """Take every path of every object to a frame; afterwards each policy's `paths` are those that go on.

    Paths that are one so far are looked at once.

    together : paths in one pass
    """
    looks = [
        (
            path,
            policy.select_memories(path.bank.scene(frame), frame, reverse=reverse, clip_length=clip_length),
        )
        for policy in policies
        for path in dict.fromkeys(policy.paths)
    ]
    offers = {
        path: offer for batch in _alike(looks, together) for path, offer in _offers(model, features, batch)
    }
    answers: dict[Step, MaskPrediction] = {}
    grown = []
    for policy in policies:
        before = list(policy.paths)
        steps = [
            ((before[path], choice), total)
            for path, choice, total in policy.grow([offers[path] for path in before])
        ]
        for path, choice in dict.fromkeys(step for step, _ in steps):
            offered = offers[path].candidates
            picked = offered.pick(torch.full((1,), choice, dtype=torch.int64, device=offered.iou.device))
            answers[path, choice] = picked.hidden(policy.present)
        grown.append(steps)
    memories = _memories(model, features, frame, answers, together)
    return [
        _moved_on(policy, frame, steps, answers, memories)
        for policy, steps in zip(policies, grown, strict=True)
    ]


def _alike(
    looks: Sequence[tuple[Path, MemorySelection]], together: int
) -> Iterator[list[tuple[Path, MemorySelection]]]:
    """Paths in batches that recall as much."""
    alike = defaultdict(list)
    for path, selection in looks:
        alike[selection.shape].append((path, selection))
    for group in alike.values():
        yield from (group[at : at + together] for at in range(0, len(group), together))


def _offers(
    model: Sam2, features: FrameFeatures, batch: Sequence[tuple[Path, MemorySelection]]
) -> Iterator[tuple[Path, Offer]]:
    candidates = model.decode(features, model.attend(features, [selection for _, selection in batch]))
    numbers = torch.cat([candidates.iou, candidates.score[:, None]], dim=1).tolist()
    for row, ((path, _), (*iou, score)) in enumerate(zip(batch, numbers, strict=True)):
        yield path, Offer(candidates.row(row), iou, score)


def _memories(
    model: Sam2,
    features: FrameFeatures,
    frame: int,
    answers: Mapping[Step, MaskPrediction],
    together: int,
) -> dict[Step, Memory]:
    memories, steps = {}, list(answers)
    for at in range(0, len(steps), together):
        some = steps[at : at + together]
        stacked = MaskPrediction.stack([answers[step] for step in some])
        tokens = model.memorize(features, stacked)
        told = stacked.counted()
        for row, step in enumerate(some):
            memories[step] = remembered(frame, tokens[row], told.row(row), prompted=False)
    return memories


def _moved_on(
    policy: Branching,
    frame: int,
    steps: Sequence[tuple[Step, float]],
    answers: Mapping[Step, MaskPrediction],
    memories: Mapping[Step, Memory],
) -> Branched:
    """Lengthen a policy's paths by a frame, and forget of their past what they agree on."""
    before = _best(policy.paths)
    paths: dict[Step, Path] = {}
    for step, total in steps:
        if step not in paths:
            bank = step[0].bank.copy()
            policy.keep(bank, memories[step])
            paths[step] = Path(bank, total, {**step[0].answers, frame: answers[step]})
    grown = [paths[step] for step, _ in steps]
    best = _best(grown)
    differing = {at: each for at, each in best.answers.items() if at != frame}
    revised = {at: each for at, each in differing.items() if before.answers.get(at) is not each}
    pruned = _pruned(list(paths.values()))
    policy.paths = [pruned[path] for path in grown]
    return Branched(best, revised)


def _best(paths: Sequence[Path]) -> Path:
    return max(paths, key=lambda path: path.total)


def _pruned(paths: Sequence[Path]) -> dict[Path, Path]:
    """The paths, without answers on which they agree, or that are older than their banks remember."""
    first = paths[0]
    open_ = [at for at, each in first.answers.items() if any(path.answers[at] is not each for path in paths)]
    if first.bank.capacity is not None:
        open_ = open_[-first.bank.capacity :]
    return {path: replace(path, answers={at: path.answers[at] for at in open_}) for path in paths}
