"""Teach a trained model one's own pictures or videos, on one GPU of 8 to 16 GB.

masklet train finetune DATA --model sam2.1-hiera-tiny --out runs/mine
masklet train finetune DATA --model sam2.1-hiera-base-plus --preset memory --out runs/mine
masklet train finetune DATA --model sam2.1-hiera-large --out runs/mine

DATA is a COCO, YOLO-seg, SA-1B, DAVIS, MOSE, YouTube-VOS or SA-V folder, or images/ with masks/. The decoder
learns from stills, and the trunk, which does not learn, encodes each of 600 once: the features take 5 GB
of disk at 1024 pixels. With few pictures that are alike, 300 steps may do (--steps).

Cost: not run, but for toy networks in the tests.
Expected score: depends on the data; the report compares the end with the start.
"""

from __future__ import annotations

from masklet.train.finetune import FineTuning
from masklet.train.options import Order
from masklet.train.recipe import Recipe


def recipe(order: Order) -> Recipe:
    """The decoder learns from stills; with `--preset memory` the memory does too, from stills and clips."""
    frames = 4 if order.preset == "memory" else 1
    return FineTuning(frames=frames, repeat=600).recipe(order)
