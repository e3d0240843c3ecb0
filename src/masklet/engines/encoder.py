"""The verb encode in the kernels: `nn.image_encoder`, its linear layers and global attention replaced.

What is not replaced is shared with the network: norms, windows, convolutions, and the stream between blocks,
which stays float32.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.engines import kernels
from masklet.engines.kernels import Bits
from masklet.nn.hiera import Block, PooledAttention
from masklet.nn.image_encoder import ImageEncoder


class GlobalAttention(nn.Module):
    """Attention over the whole map."""

    def __init__(self, attention: PooledAttention, bits: Bits) -> None:
        super().__init__()
        self.heads, self.qkv, self.out, self.bits = attention.heads, attention.qkv, attention.out, bits

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        seen = [self.seen(each) for each in self.qkv(x).flatten(1, 2)]
        y: Tensor = self.out(torch.stack(seen).unflatten(1, x.shape[1:3]))
        return y

    def seen(self, qkv: Float[Tensor, "n three_c"]) -> Float[Tensor, "n c"]:
        parts = [part.chunk(self.heads, dim=-1) for part in qkv.chunk(3, dim=-1)]
        heads = zip(*parts, strict=True)
        return torch.cat(
            [
                kernels.attend(q, kernels.pack_rows(k, self.bits), kernels.pack_values(v, self.bits))
                for q, k, v in heads
            ],
            dim=-1,
        )


def kernel_encoder(net: ImageEncoder, bits: Bits, attention_bits: Bits) -> ImageEncoder:
    """The same encoder in numbers of so many bits; what the kernels do not know shares the network's weights.

    bits : of linear layers
    """
    made = copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})
    for block in made.trunk.blocks:
        assert isinstance(block, Block)
        attention = block.attention
        attention.register_module("qkv", kernels.Linear(attention.qkv, bits=bits))
        attention.register_module("out", kernels.Linear(attention.out, bits=bits))
        block.register_module("mlp", kernels.Linear(*block.mlp.linears, bits=bits, between="gelu"))
        if block.shortcut is not None:
            block.register_module("shortcut", kernels.Linear(block.shortcut, bits=bits))
        if not block.window:
            block.register_module("attention", GlobalAttention(attention, attention_bits))
    return made
