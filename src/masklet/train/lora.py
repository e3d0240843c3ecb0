"""LoRA: what a linear layer learns besides is a product of two thin matrices (arXiv 2106.09685).

The layers keep their place, so every verb of the network runs as before; `merged` gives weights of the plain
form, with what was learned added to them.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK = 8


class LowRank(nn.Module):
    """A weight and what is added to it: nothing at the start."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Float[Tensor, "o i *one"]) -> Float[Tensor, "o i *one"]:
        return weight + (self.up @ self.down).view_as(weight)


def adapt(model: nn.Module, rank: int = RANK) -> None:
    """Give every linear layer of a network an adapter, and let nothing but the adapters learn."""
    model.requires_grad_(False)
    for layer in [module for name, module in model.named_modules() if _is_linear(name, module)]:
        rows, columns = layer.weight.shape[:2]
        adapter = LowRank(rows, columns, rank).to(layer.weight)
        parametrize.register_parametrization(layer, "weight", adapter)


def _is_linear(name: str, module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Linear layers, and in a trunk of convolutions those that see one cell at a time."""
    if isinstance(module, nn.Conv2d):
        return ".trunk." in name and module.kernel_size == (1, 1)
    return isinstance(module, nn.Linear)


def merged(model: nn.Module) -> dict[str, Tensor]:
    """A network's weights in the plain form, what the adapters have learned added to them."""
    weights = {name: each for name, each in model.state_dict().items() if ".parametrizations." not in name}
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer):
            weights[f"{name}.weight"] = layer.weight.detach()
    return weights
