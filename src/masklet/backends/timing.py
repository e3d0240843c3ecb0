"""How long a network's two most expensive verbs take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from masklet.config import Sam2Config
from masklet.types import FrameFeatures, Memory, MemorySelection


class Verbs(Protocol):
    """What is timed of a `Sam2`."""

    config: Sam2Config

    def encode(self, image: Tensor) -> FrameFeatures: ...

    def attend(self, features: FrameFeatures, selections: Sequence[MemorySelection]) -> Tensor: ...


def full_selection(config: Sam2Config) -> MemorySelection:
    """As many memories as an object has after a long time, with random numbers."""
    number, n = random_tensor().abs(), config.grid**2
    pointer = random_tensor(config.channels)
    memories = [
        (
            row,
            Memory(row, random_tensor(n, config.memory_channels).bfloat16(), pointer, number, number, False),
        )
        for row in range(config.memories)
    ]
    pointers = [(age, random_tensor(config.channels)) for age in range(config.pointers)]
    return MemorySelection(tuple(memories), tuple(pointers))


def random_tensor(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float32, device="cpu")


@torch.inference_mode()
def time_verbs(model: Verbs) -> tuple[float, float]:
    """Milliseconds for encoding a frame, and for one object to attend to a full memory: the best of three."""
    side = model.config.image_size
    image, selection = random_tensor(1, 3, side, side), full_selection(model.config)
    features = model.encode(image)
    return best_time(lambda: model.encode(image)), best_time(lambda: model.attend(features, [selection]))


def best_time(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)
