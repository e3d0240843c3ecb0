"""Pre-training of a trunk by masked auto-encoding."""

from __future__ import annotations

from dataclasses import replace

from masklet.train.pretraining import Crops, PretrainingRecipe, read_square, split_pictures
from masklet.train.recipe import TrainingOptions

VALIDATION_PICTURES = 16


def recipe(options: TrainingOptions) -> PretrainingRecipe:
    r"""Pre-train a trunk on unlabelled pictures; interactive training then starts from it.

    masklet train mae PICTURES --model new-tiny --size 224 --out runs/mae --precision bf16 --workers 8
    masklet train mae PICTURES --out runs/mae                               for nano-hiera, on a CPU
    masklet train finetune LABELLED --model runs/mae/model.safetensors --preset everything --rate 1e-3 \
        --out runs/mine

    PICTURES is a folder; every picture in it or below is taken. `--size` is the side of the crops, a
    multiple of a window of the trunk's last stage: 128 pixels for nano-hiera, 224 for tiny, small and
    base-plus, 256 for large. With a trained model as `--model` its trunk is trained further. On eight
    GPUs: torchrun --nproc-per-node 8 -m masklet train mae ...

    Cost: for nano-hiera at 128 pixels 2 to 3 s a step of 64 pictures on one core of a server CPU; run for 280
    steps of 128, not to its end, nor at other sizes. Expected score: none of its own; the report shows the
    reconstructions (validation loss 0.93 after those steps; predicting each unit's mean gives 1). Hiera's
    authors took 400 epochs of ImageNet, in batches of 4096.

    Crops of at least a fifth of a picture, half of them flipped; six units in ten are hidden.
    """
    config, start = options.resolve_model("new-nano-hiera")
    size = options.image_size or 32 * config.windows[3]
    pictures, validation = split_pictures(options.data)
    steps = options.steps or 20_000
    return PretrainingRecipe(
        replace(config, image_size=size),
        Crops(pictures, size, seed=1).crop,
        pictures=64,
        validation=[read_square(path, size) for path in validation[:VALIDATION_PICTURES]],
        steps=steps,
        learning_rate=options.learning_rate or 4e-4,
        start=start,
        warmup=max(1, min(500, steps // 20)),
        every=max(1, min(500, steps // 10)),
    )
