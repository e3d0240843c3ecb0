"""Train small adapters on all linear layers, merged into the weights at the end, on one GPU.

masklet train lora DATA --model sam2.1-hiera-base-plus --precision bf16 --out runs/mine

For data that looks unlike photographs (X-rays, microscopes, radar), where a decoder alone is not enough, and
where there is too little of it to train all parameters. Rank 8 on every linear layer.

Cost: not run, except for toy networks in the tests. Expected score: depends on the data; the report compares
the end with the start.
"""

from __future__ import annotations

from masklet.train.options import TrainingOptions
from masklet.train.recipe import Recipe
from masklet.train.recipes.finetune import FineTuning


def recipe(options: TrainingOptions) -> Recipe:
    """Adapters train on stills, four batches of one per step, with activation checkpointing."""
    return FineTuning(preset="lora", stills=1, accumulate=4, checkpoint_activations=True).recipe(options)
