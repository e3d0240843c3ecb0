"""Nano on EfficientNet-Lite, a trunk that has seen ImageNet: many small clips first, then larger ones.

masklet train nano_lite FOLDER_OF_IMAGE_SETS --out runs/nano
torchrun --nproc-per-node 2 -m masklet train nano_lite ...      one process for each core trains faster

It begins with ImageNet's trunk and a head that knows nothing; `--model FILE` goes on from a network with such
a trunk, and `--model new-nano-lite2` takes the larger one. `--steps N` shortens or stretches every stage.

Cost: not run to its end yet; 3 GB for each process. Expected score: not measured yet.
"""

from __future__ import annotations

from dataclasses import replace

from masklet.errors import MaskletError
from masklet.synthetic import Composer
from masklet.synthetic.pictures import Picture, split
from masklet.synthetic.stills import plain
from masklet.train.options import NEW, Order
from masklet.train.recipe import Exam, Recipe, Share, Stage
from masklet.train.recipes.nano import SEEN, shortened
from masklet.train.validation import held_back_stills

EXAM_SIZE = 384
SEED = 31  # of the clips


def recipe(order: Order) -> Recipe:
    """Learning rate to nothing over three sizes; clips of one to sixteen frames."""
    config, start = order.beginning(NEW + "nano-lite0")
    if config.trunk == "hiera":
        raise MaskletError(
            "the recipe nano_lite trains networks on EfficientNet-Lite, not on Hiera. "
            "Fine-tune others: finetune."
        )
    pictures, held_back = split(order.pictures)

    def stage(
        name: str,
        size: int,
        steps: int,
        rates: tuple[float, float],
        *shares: tuple[int, int, float],
        pace: float,
        corrections: int,
    ) -> Stage:
        made = tuple(
            Share(
                Composer(pictures, size, frames, 4, seed=SEED + size, smallest=0.01, pace=pace).clip,
                clips,
                weight,
            )
            for frames, clips, weight in shares
        )
        return Stage(name, size, steps, rates, made, loss_size=size // 2, corrections=corrections)

    stages = (
        stage(
            "many", 192, 6000, (4e-4, 3e-4), (1, 6, 0.45), (4, 2, 0.3), (8, 1, 0.25), pace=0.4, corrections=4
        ),
        stage(
            "larger",
            256,
            4000,
            (3e-4, 2e-4),
            (1, 4, 0.45),
            (4, 1, 0.25),
            (8, 1, 0.3),
            pace=0.5,
            corrections=5,
        ),
        stage(
            "full size",
            384,
            4000,
            (2e-4, 0.0),
            (1, 2, 0.45),
            (4, 1, 0.2),
            (8, 1, 0.25),
            (12, 1, 0.1),
            pace=0.5,
            corrections=6,
        ),
    )
    whole = Recipe(
        replace(config, image_size=EXAM_SIZE),
        stages,
        start=start,
        ema=0.995,
        warmup=100,
        trunk_pace=0.25,
        exam=exam(held_back, EXAM_SIZE),
    )
    return whole if order.steps is None else shortened(whole, order.steps)


def exam(held_back: list[Picture], size: int) -> Exam:
    """Some fifty held-back pictures, and clips composed of held-back pictures."""
    large = [
        picture for picture in held_back if any(picture.mask(i).mean() >= SEEN for i in range(len(picture)))
    ]
    some = large[:: max(1, len(large) // 48)]
    stills = held_back_stills([plain(picture, size, SEEN) for picture in some])
    short, long = (
        Composer(held_back, size, frames, objects=2, seed=2, smallest=0.01, pace=0.5) for frames in (8, 16)
    )
    return Exam(stills, (*map(short.clip, range(6)), *map(long.clip, range(3))), every=400)
