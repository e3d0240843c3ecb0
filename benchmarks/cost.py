"""What a frame costs on paper: floating-point operations and bytes, stage by stage, for every size.

Counted by running the plain network on torch's `meta` device, where tensors have shapes and no numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from masklet.config import Sam2Config
from masklet.model import Sam2
from masklet.types import MaskPrediction, Memory, MemorySelection

MEMORIES, POINTERS = 7, 16  # of a full bank
HALF = 2  # bytes of a number in half precision


@dataclass(frozen=True)
class Cost:
    """One stage for one frame, and for one object where it runs for each.

    flops : a multiplication and an addition are two
    least : bytes that must move, in half precision: weights, what comes in, what goes out
    unfused : bytes that every operation reads and writes when none is fused with another
    """

    flops: float
    least: float
    unfused: float


class Traffic(TorchDispatchMode):
    """Adds up the bytes of tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(
                each.nbytes for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)
            )
        return result


def costs(config: Sam2Config) -> dict[str, Cost]:
    """The four stages: a frame is encoded once, the others run for each object."""
    with torch.device("meta"):
        model = Sam2(config).eval().requires_grad_(False)
        image = torch.zeros(1, 3, config.image_size, config.image_size)
        c, n, d, side = config.channels, config.grid**2, config.memory_channels, config.mask_size
        one = torch.zeros(1)
        logits = torch.zeros(1, side, side)
    with torch.no_grad(), torch.device("meta"):
        features = model.encode(image)
        memories = [
            Memory(frame, torch.zeros(n, d), torch.zeros(c), one[0], one[0], prompted=frame == 0)
            for frame in range(MEMORIES)
        ]
        selection = MemorySelection(
            tuple(enumerate(memories)), tuple((age, memories[0].pointer) for age in range(1, POINTERS + 1))
        )
        answer = MaskPrediction(logits, one, torch.zeros(1, c), one)
        context = torch.zeros_like(features.coarse)
        given = sum(each.nbytes for each in features)
        return {
            "encode": _cost(model.image_encoder, lambda: model.encode(image), image.nbytes + given),
            "attend": _cost(
                model.memory_attention,
                lambda: model.attend(features, [selection]),
                2 * context.nbytes + MEMORIES * n * d * 4,
            ),
            "decode": _cost(
                model.mask_decoder, lambda: model.decode(features, context), given + 4 * logits.nbytes
            ),
            "memorize": _cost(
                model.memory_encoder,
                lambda: model.memorize(features, answer),
                features.coarse.nbytes + logits.nbytes + n * d * 4,
            ),
        }


def _cost(module: torch.nn.Module, run: Callable[[], object], moved: float) -> Cost:
    weights = sum(each.nbytes for each in module.parameters())
    with FlopCounterMode(display=False) as counter:
        run()
    with Traffic() as traffic:
        run()
    return Cost(counter.get_total_flops(), (weights + moved) * HALF / 4, traffic.bytes)
