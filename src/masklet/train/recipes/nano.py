"""Nano from nothing, on a CPU: first prompts on small stills, then short clips, then longer ones.

masklet train nano FOLDER_OF_IMAGE_SETS --out runs/nano
torchrun --nproc-per-node 2 -m masklet train nano ...      one process for each core trains faster
"""

from __future__ import annotations

from dataclasses import replace

from masklet.config import NANO
from masklet.train.composer import Composer
from masklet.train.images import Picture
from masklet.train.recipe import Recipe, Share, Stage


def recipe(pictures: list[Picture]) -> Recipe:
    """What nano was made with: in three stages, the last of which lets the learning rate fall to nothing."""

    def composed(size: int, frames: int) -> Composer:
        return Composer(pictures, size, frames, objects=2, seed=1)

    def stage(
        name: str, size: int, steps: int, rates: tuple[float, float], *shares: tuple[int, int, float]
    ) -> Stage:
        made = tuple(Share(composed(size, frames).clip, clips, weight) for frames, clips, weight in shares)
        return Stage(name, size, steps, rates, made, loss_size=size // 2)

    return Recipe(
        NANO,
        (
            replace(stage("first prompts", 128, 600, (1e-3, 1e-3), (1, 24, 1.0)), corrections=0, focal=5.0),
            replace(
                stage("small", 128, 900, (1e-3, 8e-4), (1, 14, 0.4), (4, 6, 0.6)), corrections=3, focal=10.0
            ),
            stage("clips", 256, 800, (6e-4, 4e-4), (1, 6, 0.3), (4, 3, 0.7)),
            stage("long clips", 256, 250, (4e-4, 0.0), (1, 6, 0.2), (4, 3, 0.4), (8, 2, 0.4)),
        ),
    )
