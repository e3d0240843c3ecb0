"""One more round of training nano, as a recipe: larger clips at one rate, then the full size, to a rate of 0.

Each stage is run twice, one process a core that does not wait for the other, and the mean of both goes on:

    export OMP_NUM_THREADS=1 STAGE=larger
    SEED=1 masklet train dev/nano_round.py DATA --model nano --out a &
    SEED=2 masklet train dev/nano_round.py DATA --model nano --out b; wait
    python dev/mean_weights.py DATA a/model.safetensors b/model.safetensors --shares 0.5

and so with STAGE=full, from that mean. What ships in the end is what validation says. DATA is what the recipe
`nano` reads; `--steps` stretches a stage. The gradient of so few clips is mostly noise: a long average takes
it out, where a rate that falls soon ends the progress too.
"""

from __future__ import annotations

import os
from dataclasses import replace

from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes import nano

SIZES = {"larger": 1, "full": 2}  # the stage of the recipe `nano`
STEPS = {"larger": 1300, "full": 640}
RATES = {"larger": (2e-4, 2e-4), "full": (1.2e-4, 0.0)}
EMA = {"larger": 0.998, "full": 0.99}


def recipe(options: TrainingOptions) -> Recipe:
    """One stage of a round; STAGE and SEED in the environment say which."""
    stage, seed = os.environ.get("STAGE", "larger"), int(os.environ.get("SEED", "0"))
    whole = nano.recipe(replace(options, steps=None))
    one = replace(
        whole.stages[SIZES[stage]], steps=options.steps or STEPS[stage], learning_rates=RATES[stage]
    )
    return replace(whole, stages=(one,), warmup=30, seed=seed, ema=EMA[stage])
