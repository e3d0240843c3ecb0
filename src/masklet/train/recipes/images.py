r"""Train all parameters on pictures alone, as in the first half of SAM 2's own training.

torchrun --nproc-per-node 8 -m masklet train images SA-1B --model sam2.1-hiera-tiny \
    --precision bf16 --workers 8 --steps 90000 --rate 4e-4 --out runs/images

Memory encoder and memory attention do not train here: run `eight_gpus` on videos afterwards.

Cost: not run. SAM 2's authors used 256 pictures a step for 90,000 steps, with 64 masks each and a learning
rate that falls with the root of the step; here it falls as a cosine. Expected score: not measured.
"""

from __future__ import annotations

from masklet.train.options import TrainingOptions
from masklet.train.recipe import Recipe
from masklet.train.recipes.finetune import FineTuning

SETTINGS = FineTuning(preset="everything", steps=20000, stills=2, objects=16, accumulate=4, layer_decay=0.8)


def recipe(options: TrainingOptions) -> Recipe:
    """Stills, with up to sixteen objects each."""
    return SETTINGS.recipe(options)
