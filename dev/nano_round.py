"""One more round of training nano, as a recipe: larger clips, then the full size, then to a rate of 0.

    export OMP_NUM_THREADS=1
    STAGE=larger masklet train dev/nano_round.py DATA --model nano --out a
    STAGE=steady masklet train dev/nano_round.py DATA --model a/model.safetensors --out b
    STAGE=falling masklet train dev/nano_round.py DATA --model b/model.safetensors --out c
    python dev/mean_weights.py DATA nano c/model.safetensors

Where there are two cores, each stage may be run twice, with SEED=1 and SEED=2, one process a core, and
the mean of both goes on. What ships in the end is what validation says. DATA is what the recipe `nano`
reads; `--steps` stretches a stage. The gradient of so few clips is mostly noise: a long average takes it out,
where a rate that falls soon ends the progress too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes import nano


@dataclass(frozen=True)
class Part:
    """A stage of the recipe `nano`, by its place, with steps, rates and average of its own."""

    stage: int
    steps: int
    learning_rates: tuple[float, float]
    ema: float


PARTS = {
    "larger": Part(1, 800, (2e-4, 2e-4), 0.998),
    "steady": Part(2, 700, (1.5e-4, 1.5e-4), 0.995),
    "falling": Part(2, 800, (1.5e-4, 0.0), 0.995),
}


def recipe(options: TrainingOptions) -> Recipe:
    """One part of a round; STAGE and SEED in the environment say which."""
    part, seed = PARTS[os.environ.get("STAGE", "larger")], int(os.environ.get("SEED", "0"))
    whole = nano.recipe(replace(options, steps=None))
    stage = replace(
        whole.stages[part.stage], steps=options.steps or part.steps, learning_rates=part.learning_rates
    )
    return replace(whole, stages=(stage,), warmup=30, seed=seed, ema=part.ema)
