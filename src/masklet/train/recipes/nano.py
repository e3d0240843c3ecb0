"""Nano from nothing, on a CPU: stills first, then clips, then longer clips.

    python -m masklet.train.recipes.nano FOLDER_OF_IMAGE_SETS --out runs/nano
    torchrun --nproc-per-node 2 -m masklet.train.recipes.nano ...      one process for each core trains faster

The folder holds image sets, each a folder with an `instances.json` (COCO) beside its pictures.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch

from masklet.config import NANO
from masklet.train.composer import Composer
from masklet.train.images import Picture, held_back, load_pictures
from masklet.train.loop import Run, append, train
from masklet.train.recipe import Recipe, Share, Stage


def recipe(pictures: list[Picture]) -> Recipe:
    """What nano was made with: in three stages, the last of which lets the learning rate fall to nothing."""

    def composed(size: int, frames: int) -> Composer:
        return Composer(pictures, size, frames, objects=2, seed=1)

    def stage(name: str, size: int, steps: int, rates: tuple[float, float], *shares: tuple[int, int, float]) -> Stage:
        made = tuple(Share(composed(size, frames).clip, clips, weight) for frames, clips, weight in shares)
        return Stage(name, size, steps, rates, made, loss_size=size // 2)

    return Recipe(
        NANO,
        (
            stage("stills", 128, 1200, (1e-3, 1e-3), (1, 10, 1.0)),
            stage("clips", 192, 1000, (1e-3, 8e-4), (1, 8, 0.3), (4, 4, 0.7)),
            stage("fine clips", 256, 700, (6e-4, 4e-4), (1, 6, 0.3), (4, 3, 0.7)),
            stage("long clips", 256, 300, (4e-4, 0.0), (1, 6, 0.2), (4, 3, 0.4), (8, 2, 0.4)),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    args = parser.parse_args()

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("WORLD_SIZE", "1"))))
    folders = sorted(path.parent for path in args.sets.glob("*/instances.json"))
    pictures = [each for each in load_pictures(folders, Path(".cache")) if not held_back(each.name)]
    run = Run.begin(recipe(pictures))
    if (args.out / "state.pt").exists():
        run.resume(args.out / "state.pt")
    main_process = os.environ.get("RANK", "0") == "0"
    for row in train(run, args.out):
        if main_process:
            append(args.out / "log.jsonl", row | {"time": round(time.time(), 1)})


if __name__ == "__main__":
    main()
