"""The verb encode in the kernels: `nn.image_encoder`, the blocks of its trunk replaced.

What is not replaced is shared with the network: norms and convolutions. The stream between blocks is float32.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.backends import native as kernels
from masklet.backends.native import Bits
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.trunks.hiera import Block, Hiera


class GlobalBlock(nn.Module):
    """A block of Hiera that attends over the whole map."""

    def __init__(self, block: Block, bits: Bits, attention_bits: Bits) -> None:
        super().__init__()
        self.heads, self.bits = block.attention.heads, attention_bits
        self.qkv = kernels.Linear(block.attention.qkv, bits=bits, norm=block.norm1)
        self.out = kernels.Linear(block.attention.out, bits=bits)
        self.mlp = kernels.Linear(*block.mlp.linears, bits=bits, between="gelu", norm=block.norm2)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        seen = torch.stack([self.seen(each) for each in self.qkv(x).flatten(1, 2)])
        x = self.out(seen.unflatten(1, x.shape[1:3]), added=x)
        y: Tensor = self.mlp(x, added=x)
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

    net : its trunk is a Hiera
    bits : of linear layers
    """
    made = copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})
    # Blocks want channels side by side; a convolution whose weights lie so gives them so.
    assert isinstance(made.trunk, Hiera) and isinstance(net.trunk, Hiera)
    patch = made.trunk.patch = copy.deepcopy(net.trunk.patch)
    patch.weight.data = patch.weight.detach().contiguous(memory_format=torch.channels_last)
    for i, block in enumerate(made.trunk.blocks):
        assert isinstance(block, Block)
        if not block.window:
            made.trunk.blocks[i] = GlobalBlock(block, bits, attention_bits)
        elif not (block.pooled and block.window % 2):  # else squares of four lie across windows
            made.trunk.blocks[i] = kernels.WindowBlock(block, bits)
    return made
