"""How long a network's two dear verbs take on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from masklet.model import Sam2
from masklet.types import Memory, MemorySelection


def full_recall(model: Sam2) -> MemorySelection:
    """As much as an object that was followed for long looks at, made up."""
    config = model.config
    number, n = torch.tensor(1.0, dtype=torch.float32, device="cpu"), config.grid**2
    tokens = torch.randn(
        config.memories, n, config.memory_channels, dtype=torch.float32, device="cpu"
    ).bfloat16()
    pointer = torch.randn(config.channels, dtype=torch.float32, device="cpu")
    memories = [(row, Memory(row, each, pointer, number, number, False)) for row, each in enumerate(tokens)]
    pointers = [
        (age, torch.randn(config.channels, dtype=torch.float32, device="cpu"))
        for age in range(config.pointers)
    ]
    return MemorySelection(tuple(memories), tuple(pointers))


@torch.inference_mode()
def measured(model: Sam2) -> tuple[float, float]:
    """Milliseconds for encoding a frame, and for one object's looking at a full bank: the best of three."""
    image, selection = (
        torch.randn(
            1, 3, model.config.image_size, model.config.image_size, dtype=torch.float32, device="cpu"
        ),
        full_recall(model),
    )
    features = model.encode(image)
    return _best(lambda: model.encode(image)), _best(lambda: model.attend(features, [selection]))


def _best(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)
