"""The verbs encode and memorize: the network's encoders with their wide layers in the kernels.

Norms and convolutions stay in torch, and the maps between blocks in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.backends.native.kernels import (
    LANES,
    Activation,
    Bits,
    HieraBlockArguments,
    LayerArguments,
    Norm,
    attend,
    pack_layer,
    pack_rows,
    pack_values,
    run_depthwise,
    run_hiera_block,
    run_layers,
)
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.memory_encoder import FuserBlock, MemoryEncoder
from masklet.nn.trunks.hiera import Block, Hiera


class NativeLinear:
    """A linear layer, or several with an activation between them.

    Args:
        bits: Of the numbers that are multiplied.
        between: The activation between layers.
        norm: What comes before the first.
    """

    def __init__(
        self, *layers: nn.Linear, bits: Bits, between: Activation = "none", norm: Norm | None = None
    ) -> None:
        last = len(layers) - 1
        self.layers = [
            pack_layer(layer.weight, layer.bias, bits, None if i else norm, between if i < last else "none")
            for i, layer in enumerate(layers)
        ]

    def __call__(
        self, x: Float[Tensor, "*n i"], residual: Float[Tensor, "*n o"] | None = None
    ) -> Float[Tensor, "*n o"]:
        return run_layers(self.layers, x, residual)


class WindowBlock:
    """A block of Hiera whose attention stays within windows."""

    def __init__(self, block: Block, bits: Bits) -> None:
        attention, heads = block.attention, block.attention.heads
        self.bits: Bits = bits
        self.heads, self.window, self.stride = heads, block.window, 2 if block.pooled else 1
        # Heads are padded with zeros to the width that the kernels want.
        width = attention.out.in_features // heads
        padding = -width % LANES
        qkv = F.pad(attention.qkv.weight.unflatten(0, (-1, width)), (0, 0, 0, padding)).flatten(0, 1)
        bias = F.pad(attention.qkv.bias.unflatten(0, (-1, width)), (0, padding)).flatten()
        out = F.pad(attention.out.weight.unflatten(1, (-1, width)), (0, padding)).flatten(1)
        self.logit_scale = width**-0.5
        self.qkv = pack_layer(qkv, bias, bits, block.norm1)
        self.out = pack_layer(out, attention.out.bias, bits)
        first, second = block.mlp.linears
        self.mlp = (
            pack_layer(first.weight, first.bias, bits, block.norm2, "gelu"),
            pack_layer(second.weight, second.bias, bits),
        )
        shortcut = block.shortcut
        self.shortcut = shortcut and pack_layer(shortcut.weight, shortcut.bias, bits, block.norm1)

    def __call__(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 d"]:
        arguments = HieraBlockArguments(
            self.shortcut.arguments() if self.shortcut else LayerArguments(),
            self.qkv.arguments(),
            self.out.arguments(),
            (LayerArguments * 2)(*(layer.arguments() for layer in self.mlp)),
            self.heads,
            self.window,
            self.stride,
            self.logit_scale,
        )
        return run_hiera_block(arguments, self.bits, x)


class GlobalBlock:
    """A block of Hiera that attends over the whole map."""

    def __init__(self, block: Block, bits: Bits, attention_bits: Bits) -> None:
        self.heads = block.attention.heads
        self.attention_bits: Bits = attention_bits
        self.qkv = NativeLinear(block.attention.qkv, bits=bits, norm=block.norm1)
        self.out = NativeLinear(block.attention.out, bits=bits)
        self.mlp = NativeLinear(*block.mlp.linears, bits=bits, between="gelu", norm=block.norm2)

    def __call__(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        attended = torch.stack([self.attend(image) for image in self.qkv(x).flatten(1, 2)])
        x = self.out(attended.unflatten(1, x.shape[1:3]), residual=x)
        return self.mlp(x, residual=x)

    def attend(self, qkv: Float[Tensor, "n three_c"]) -> Float[Tensor, "n c"]:
        bits = self.attention_bits
        heads = zip(*(part.chunk(self.heads, dim=-1) for part in qkv.chunk(3, dim=-1)), strict=True)
        return torch.cat([attend(q, pack_rows(k, bits), pack_values(v, bits)) for q, k, v in heads], dim=-1)


def pack_block(block: Block, bits: Bits, attention_bits: Bits) -> Callable[[Tensor], Tensor]:
    """What runs in place of a block of Hiera."""
    if not block.window:
        return GlobalBlock(block, bits, attention_bits)
    if block.pooled and block.window % 2:  # the squares of four that become one lie across windows
        return block
    return WindowBlock(block, bits)


class NativeImageEncoder:
    """The image encoder of a network whose trunk is Hiera.

    Args:
        bits: Of linear layers.
        attention_bits: Of attention over the whole map.
    """

    def __init__(self, encoder: ImageEncoder, bits: Bits, attention_bits: Bits) -> None:
        assert isinstance(encoder.trunk, Hiera)
        self.encoder, self.trunk = encoder, encoder.trunk
        # Blocks want channels side by side; a convolution whose weights lie so returns them so.
        self.patch_weight = self.trunk.patch.weight.detach().contiguous(memory_format=torch.channels_last)
        self.blocks = [
            pack_block(block, bits, attention_bits) for block in self.trunk.blocks if isinstance(block, Block)
        ]

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        patch = self.trunk.patch
        x = F.conv2d(image, self.patch_weight, patch.bias, stride=4, padding=3)
        return self.encoder.join_maps(self.trunk.run_blocks(x, self.blocks))


class NativeMemoryEncoder:
    """The memory encoder, its wide layers in the kernels."""

    def __init__(self, encoder: MemoryEncoder, bits: Bits) -> None:
        self.encoder = encoder
        self.fuser = [block for block in encoder.fuser if isinstance(block, FuserBlock)]
        self.mlps = [NativeLinear(*block.mlp.linears, bits=bits, between="gelu") for block in self.fuser]
        self.kernels = [
            block.depthwise.weight.detach()[:, 0].permute(1, 2, 0).contiguous() for block in self.fuser
        ]

    def __call__(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        x = self.encoder.features(coarse) + self.encoder.mask(mask[:, None])
        for block, mlp, kernel in zip(self.fuser, self.mlps, self.kernels, strict=True):
            bias, norm = block.depthwise.bias, block.norm
            assert bias is not None
            mixed = run_depthwise(kernel, bias, x.permute(0, 2, 3, 1))
            mixed = F.layer_norm(mixed, norm.weight.shape, norm.weight, norm.bias, norm.eps)
            x = block.add_scaled(x, mlp(mixed))
        return self.encoder.to_tokens(x, score)
