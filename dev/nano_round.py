"""A recipe for another round of training nano: larger clips, the full size, then a rate that falls to 0.

    export OMP_NUM_THREADS=1
    STAGE=larger masklet train dev/nano_round.py DATA --model nano --out a
    STAGE=steady masklet train dev/nano_round.py DATA --model a/model.safetensors --out b
    STAGE=falling masklet train dev/nano_round.py DATA --model b/model.safetensors --out c
    python dev/mean_weights.py DATA nano c/model.safetensors

With two cores, each stage can run twice, with SEED=1 and SEED=2 and one process per core; the next stage
starts from the mean of both. Validation decides which weights are shipped. DATA is a folder for the recipe
`nano`; `--steps` changes the length of a stage. Gradients of few clips are mostly noise. A long average of
the weights removes it, while a quickly falling learning rate would also stop progress.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes import nano


@dataclass(frozen=True)
class Part:
    """A stage of the recipe `nano`, by its index, with its own steps, learning rates and average."""

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
    """One part of a round, selected by the environment variables STAGE and SEED."""
    part, seed = PARTS[os.environ.get("STAGE", "larger")], int(os.environ.get("SEED", "0"))
    whole = nano.recipe(replace(options, steps=None))
    stage = replace(
        whole.stages[part.stage], steps=options.steps or part.steps, learning_rates=part.learning_rates
    )
    return replace(whole, stages=(stage,), warmup=30, seed=seed, ema=part.ema)
