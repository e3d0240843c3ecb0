r"""Fine-tune everything on videos with eight GPUs, with the settings of SAM 2's own fine-tune.

torchrun --nproc-per-node 8 -m masklet train eight_gpus MOSE/train --model sam2.1-hiera-tiny \
    --precision bf16 --workers 4 --out runs/mose
The same with --model sam2.1-hiera-base-plus, and with --model sam2.1-hiera-large.

Clips of eight frames, up to three objects, one clip a GPU and step; the trunk's activations are computed
twice. On one GPU a recipe of your own with `accumulate=8` trains the same, eight times as slowly.

Cost: not run. Expected score: not measured here; SAM 2's authors give J&F 79.4 on MOSE's validation videos
for base-plus, after 40 epochs.
"""

from __future__ import annotations

from masklet.train.options import TrainingOptions
from masklet.train.recipe import Recipe
from masklet.train.recipes.finetune import FineTuning

SETTINGS = FineTuning(
    preset="everything",
    model="sam2.1-hiera-base-plus",
    steps=7500,  # 40 epochs of MOSE's 1507 videos
    frames=8,
    stills=1,
    stills_weight=0.0,
    checkpoint_activations=True,
)


def recipe(options: TrainingOptions) -> Recipe:
    """All parameters train, on videos alone."""
    return SETTINGS.recipe(options)
