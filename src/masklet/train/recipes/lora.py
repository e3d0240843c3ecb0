"""Teach the whole network with small adapters, merged into its weights in the end, on one GPU.

masklet train lora DATA --model sam2.1-hiera-base-plus --precision bf16 --out runs/mine

For data that looks unlike photographs (X-rays, microscopes, radar), where a decoder alone is not enough, and
too little of it to let everything learn. Rank 8 on every linear layer.

Cost: not run, but for toy networks in the tests. Expected score: depends on the data; the report compares
the end with the start.
"""

from __future__ import annotations

from masklet.train.finetune import FineTuning
from masklet.train.options import Order
from masklet.train.recipe import Recipe


def recipe(order: Order) -> Recipe:
    """Adapters learn from stills, four batches of one to a step, activations computed twice."""
    return FineTuning(preset="lora", stills=1, accumulate=4, checkpointed=True).recipe(order)
