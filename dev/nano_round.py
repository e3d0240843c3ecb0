"""One more round of training nano, as a recipe: larger clips, then the full size, to a learning rate of 0.

torchrun --nproc-per-node 2 -m masklet train dev/nano_round.py DATA --out runs/round \
    --model dev/nano-round5.safetensors

A round begins with the mean that ended the one before, which ships where validation says so:
`python dev/mean_weights.py`. DATA is what the recipe `nano` reads; `--steps` stretches both stages.
"""

from __future__ import annotations

from dataclasses import replace

from masklet.train.recipe import Recipe, Stage, TrainingOptions
from masklet.train.recipes import nano

LARGER, FULL = 820, 430  # steps
RATES = (3e-4, 2.4e-4)


def recipe(options: TrainingOptions) -> Recipe:
    """The last two stages of the recipe `nano`, shorter, from weights that have learned."""
    whole = nano.recipe(replace(options, steps=None))
    _, larger, full = whole.stages
    stages: tuple[Stage, ...] = (
        replace(larger, steps=LARGER, learning_rates=RATES),
        replace(full, steps=FULL, learning_rates=(RATES[1], 0.0)),
    )
    one_round = replace(whole, stages=stages, warmup=30)
    return one_round if options.steps is None else nano.shortened(one_round, options.steps)
