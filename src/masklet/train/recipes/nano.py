"""Nano from nothing, on a CPU: first prompts on small stills, then short clips, then longer ones.

masklet train nano FOLDER_OF_IMAGE_SETS --out runs/nano
torchrun --nproc-per-node 2 -m masklet train nano ...      one process for each core trains faster

`--model runs/mae/model.safetensors` begins with a trunk that masked auto-encoding taught (tried for 360
steps, docs/nano.md), and `--steps N` shortens or stretches every stage alike.

Cost: 10,080 steps, about eight hours and a half of two cores that other work shared; 5 GB for each process.
Expected score: held back, from afar, 0.55 from one click (best of three), 0.58 from three, 0.62 from a box.
What is shipped is a mean of the weights of steps 8,280, 9,430 and 10,080: docs/nano.md.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from masklet.config import NANO
from masklet.errors import MaskletError
from masklet.synthetic import Composer, Mix
from masklet.synthetic.pictures import Picture, split
from masklet.synthetic.stills import plain
from masklet.train.options import NEW, TrainingOptions
from masklet.train.recipe import BatchSource, ClipSource, Recipe, Stage, ValidationSet
from masklet.train.rollout import CORRECTIONS
from masklet.train.validation import validation_stills

LONG = ((8, 1, 0.2), (16, 1, 0.1))  # frames, clips, weight
LONGER = ((8, 1, 0.25), (16, 1, 0.15))
OFTEN = ((4, 4, 0.2), (8, 2, 0.2))
OFTENER = ((4, 4, 0.2), (8, 2, 0.3), (16, 1, 0.15))
SEEN = 0.003  # of a picture: what is smaller nano can only see by a closer look
FIRST = Mix(still=0.5, moved=0.0, pasted=0.4, procedural=0.1)


def recipe(options: TrainingOptions) -> Recipe:
    """What nano was made with.

    In the first stage many things lie in each picture and the mask losses weigh the same, so that the decoder
    learns to heed a click before it learns where things usually are.
    """
    config, start = options.resolve_model(NEW + "nano")
    if replace(config, image_size=NANO.image_size) != NANO:  # the auto-encoder's crops are smaller
        raise MaskletError("the recipe nano trains networks of nano's numbers. Fine-tune others: finetune.")
    pictures, held_back = split(options.pictures)

    def composed(size: int, frames: int, objects: int, pace: float) -> ClipSource:
        return Composer(pictures, size, frames, objects, seed=1, smallest=0.01, pace=pace).clip

    def stage(
        name: str,
        size: int,
        steps: int,
        rates: tuple[float, float],
        *shares: tuple[int, int, float],
        objects: int = 2,
        pace: float = 1.0,
        corrections: int = CORRECTIONS,
    ) -> Stage:
        made = tuple(
            BatchSource(composed(size, frames, objects, pace), clips, weight)
            for frames, clips, weight in shares
        )
        return Stage(name, size, steps, rates, made, loss_size=size // 2, corrections=corrections)

    calm = partial(stage, objects=4, corrections=3)

    crowded = Composer(pictures, 128, 1, objects=4, seed=1, mix=FIRST, smallest=0.02).clip
    whole = Recipe(
        NANO,
        (
            Stage(
                "first clicks",
                128,
                1000,
                (1e-3, 1e-3),
                (BatchSource(crowded, 14),),
                64,
                corrections=0,
                focal=1.0,
            ),
            replace(
                stage("small", 128, 400, (1e-3, 8e-4), (1, 12, 0.4), (4, 5, 0.6), corrections=3), focal=5.0
            ),
            stage("clips", 192, 400, (6e-4, 5e-4), (1, 6, 0.3), (4, 3, 0.7), corrections=5),
            stage("long clips", 192, 200, (5e-4, 4e-4), (1, 6, 0.2), (4, 3, 0.2), (8, 2, 0.6)),
            stage("full size", 256, 100, (4e-4, 0.0), (1, 6, 0.2), (4, 3, 0.3), (8, 2, 0.5)),
            stage("on", 192, 500, (6e-4, 6e-4), (1, 8, 0.5), (4, 3, 0.25), (8, 2, 0.25), corrections=3),
            calm("calm", 192, 350, (5e-4, 2e-4), (1, 10, 0.45), (4, 4, 0.3), (8, 2, 0.25), pace=0.4),
            calm("to the end", 256, 150, (2e-4, 0.0), (1, 8, 0.4), (4, 3, 0.3), *LONG, pace=0.6),
            calm("calm again", 192, 1900, (4e-4, 2.5e-4), (1, 10, 0.5), (4, 4, 0.25), (8, 2, 0.25), pace=0.4),
            calm("again to the end", 256, 600, (2.5e-4, 0.0), (1, 8, 0.45), (4, 3, 0.25), *LONG, pace=0.5),
            calm("closer", 192, 2100, (4e-4, 2.5e-4), (1, 10, 0.5), (4, 4, 0.25), (8, 2, 0.25), pace=0.4),
            calm("closer to the end", 256, 580, (2.5e-4, 0.0), (1, 8, 0.5), (4, 3, 0.25), *LONG, pace=0.5),
            calm("look-alikes", 192, 800, (4e-4, 3.4e-4), (1, 10, 0.5), *OFTEN, (16, 1, 0.1), pace=0.4),
            calm("slower", 192, 150, (3.4e-4, 1.2e-4), (1, 10, 0.55), *OFTEN, (16, 1, 0.05), pace=0.4),
            calm("at last", 256, 200, (1.2e-4, 0.0), (1, 8, 0.55), (4, 3, 0.2), *LONG, pace=0.5),
            calm("longer", 192, 450, (4e-4, 1.4e-4), (1, 10, 0.35), *OFTENER, pace=0.4),
            calm("longer to the end", 256, 200, (1.4e-4, 0.0), (1, 8, 0.4), (4, 3, 0.2), *LONGER, pace=0.5),
        ),
        ema=0.995,  # a short run: a longer memory would still hold the beginner
        start=start,
        validation=validation_set(held_back),
    )
    return whole if options.steps is None else shortened(whole, options.steps)


def shortened(whole: Recipe, steps: int) -> Recipe:
    """The same recipe, every stage shorter or longer by the same factor."""
    factor = steps / whole.steps
    stages = (replace(stage, steps=max(1, round(factor * stage.steps))) for stage in whole.stages)
    return replace(whole, stages=tuple(stages))


def validation_set(held_back: list[Picture]) -> ValidationSet:
    """Some fifty held-back pictures, and clips composed of held-back pictures."""
    large = [each for each in held_back if any(each.mask(i).mean() >= SEEN for i in range(len(each)))]
    some = large[:: max(1, len(large) // 48)]
    stills = validation_stills([plain(picture, NANO.image_size, SEEN) for picture in some])
    short, long = (
        Composer(held_back, NANO.image_size, frames, objects=2, seed=2, smallest=0.01) for frames in (8, 24)
    )
    return ValidationSet(stills, clips=(*map(short.clip, range(6)), *map(long.clip, range(4))), every=300)
