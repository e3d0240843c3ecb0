"""What a step of training consists of, as a function of the step: clips, plan and chance.

So a run that was killed goes on to the same losses without any random state being kept, and other processes
may draw what comes next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from masklet.errors import MediaError
from masklet.synthetic.clip import Clip
from masklet.train.prefetch import ahead
from masklet.train.recipe import Recipe, Source, Stage
from masklet.train.rollout import Batch, Plan

log = logging.getLogger(__name__)

ATTEMPTS = 5


@dataclass(frozen=True)
class Lesson:
    """One batch, and what the simulated user does with it.

    seed : of the chance in the user's clicks
    names : of the batch's clips, the same whenever they come again
    origins : what the clips are from, to be named when something goes wrong with them
    """

    plan: Plan
    batch: Batch
    seed: int
    names: tuple[str, ...]
    origins: tuple[str, ...]


def draw(recipe: Recipe, stage: Stage, step: int, part: int) -> Lesson:
    """One of the batches of a step. All parts share the plan; clips and clicks are each part's own."""
    shared = np.random.default_rng([recipe.seed, step])
    weights = np.array([share.weight for share in stage.shares])
    kind = int(shared.choice(len(weights), p=weights / weights.sum()))
    share = stage.shares[kind]
    numbers = np.random.default_rng([recipe.seed, step, part]).integers(2**40, size=share.clips).tolist()
    if recipe.repeat is not None:
        numbers = [number % recipe.repeat for number in numbers]
    clips = [_readable(share.source, number) for number in numbers]
    batch = Batch.collate(clips)
    plan = Plan.draw(batch.images.shape[1], shared)
    names = tuple(f"{stage.name}-{kind}-{number}".replace(" ", "-") for number in numbers)
    origins = tuple(clip.name or name for clip, name in zip(clips, names, strict=True))
    return Lesson(plan, batch, int(shared.integers(2**40)) + part, names, origins)


def _readable(source: Source, number: int) -> Clip:
    """The clip of a number; where it cannot be read, another."""
    for attempt in range(ATTEMPTS):
        try:
            return source(number + attempt * 2**40)
        except MediaError as error:
            log.warning("clip %d is passed over: %s", number, error)
            last = error
    raise last


def lessons(recipe: Recipe, stage: Stage, steps: range, parts: range, workers: int) -> Iterable[list[Lesson]]:
    """What one process does in a range of steps.

    workers : processes that draw ahead; 0 draws when asked
    """
    return ahead(lambda step: [draw(recipe, stage, step, part) for part in parts], steps, workers)
