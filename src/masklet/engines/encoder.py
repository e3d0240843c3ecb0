"""The verb encode with products of 8 or 16 bits: `nn.image_encoder`, linear layers and attention replaced.

What is not replaced is shared with the network: norms, windows, convolutions, and the stream between blocks,
which stays float32.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.engines import kernels
from masklet.nn.hiera import Block, PooledAttention
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.layers import MLP


class KernelMLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, mlp: MLP, bits: Literal[8, 16]) -> None:
        super().__init__()
        first, second = (layer for layer in mlp.layers if isinstance(layer, nn.Linear))
        self.first, self.second = kernels.Linear(first, bits, "gelu"), kernels.Linear(second, bits)

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        y: Tensor = self.second(self.first(x))
        return y


class GlobalAttention(nn.Module):
    """Attention over the whole map, on 8-bit integers."""

    def __init__(self, attention: PooledAttention) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = attention.heads, attention.qkv, attention.out

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        seen = [self.seen(each) for each in self.qkv(x).flatten(1, 2)]
        y: Tensor = self.out(torch.stack(seen).unflatten(1, x.shape[1:3]))
        return y

    def seen(self, qkv: Float[Tensor, "n three_c"]) -> Float[Tensor, "n c"]:
        parts = [part.chunk(self.heads, dim=-1) for part in qkv.chunk(3, dim=-1)]
        heads = zip(*parts, strict=True)
        return torch.cat(
            [kernels.attend(q, kernels.pack_rows(k), kernels.pack_values(v)) for q, k, v in heads], dim=-1
        )


def kernel_encoder(net: ImageEncoder, bits: Literal[8, 16, 32]) -> ImageEncoder:
    """The same encoder, sharing the network's weights; with 32 bits its linear layers stay as they are."""
    made = copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})
    for block in made.trunk.blocks:
        assert isinstance(block, Block)
        attention = block.attention
        if bits != 32:
            attention.register_module("qkv", kernels.Linear(attention.qkv, bits))
            attention.register_module("out", kernels.Linear(attention.out, bits))
            block.register_module("mlp", KernelMLP(block.mlp, bits))
            if block.shortcut is not None:
                block.register_module("shortcut", kernels.Linear(block.shortcut, bits))
        if not block.window:
            block.register_module("attention", GlobalAttention(attention))
    return made
