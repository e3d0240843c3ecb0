"""The verb encode: the image encoders with their wide layers in the kernels.

With Hiera, norms and convolutions stay in torch, and the maps between blocks in float32. EfficientNet-Lite is
in the kernels as a whole: between its blocks maps are (b, h, w, c), their channels padded with zeros to a
multiple of LANES.
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
    InvertedResidualArguments,
    LayerArguments,
    Norm,
    PackedLayer,
    StemArguments,
    address,
    attend,
    pack_layer,
    pack_rows,
    pack_values,
    round_up,
    run_hiera_block,
    run_inverted_residual,
    run_layers,
    run_stem,
)
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.trunks.efficientnet_lite import ChannelAffine, Conv, EfficientNetLite, InvertedResidual
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
        return self.encoder.build_pyramid(self.trunk.run_blocks(x, self.blocks))


class LiteStem:
    """The first convolution, with the trunk's own normalisation before it."""

    def __init__(self, trunk: EfficientNetLite) -> None:
        weight, bias = trunk.stem.weight.detach(), trunk.stem.bias
        assert bias is not None
        patches = weight.permute(0, 2, 3, 1).flatten(1)  # (o, row column colour)
        self.layer = pack_layer(*pad_outputs(patches, bias.detach()), 32, activation="relu6")
        self.scale = trunk.input_scale.flatten().contiguous()
        self.shift = trunk.input_shift.flatten().contiguous()

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w c"]:
        arguments = StemArguments(self.layer.arguments(), address(self.scale), address(self.shift))
        return run_stem(arguments, image)


class LiteBlock:
    """An inverted residual block: widen, convolve each channel alone, narrow."""

    def __init__(self, block: InvertedResidual, bits: Bits) -> None:
        self.bits: Bits = bits
        self.expand = None
        if block.expand is not None:
            self.expand = pack_pointwise(block.expand, bits, clipped=True)
        self.project = pack_pointwise(block.project, bits, clipped=False)
        conv = block.depthwise
        self.side, self.stride, self.residual = conv.kernel_size[0], conv.stride[0], block.residual
        self.kernel, self.bias = pack_depthwise(conv)

    def __call__(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 d"]:
        arguments = InvertedResidualArguments(
            self.expand.arguments() if self.expand else LayerArguments(),
            self.project.arguments(),
            address(self.kernel),
            address(self.bias),
            self.side,
            self.stride,
            len(self.bias),
            self.residual,
        )
        return run_inverted_residual(arguments, self.bits, x)


class NativeLiteEncoder:
    """The image encoder of a network whose trunk is EfficientNet-Lite.

    Args:
        bits: Of pointwise convolutions. Stem and depthwise convolutions are float32.
    """

    def __init__(self, encoder: ImageEncoder, bits: Bits) -> None:
        assert isinstance(encoder.trunk, EfficientNetLite)
        trunk = encoder.trunk
        self.stem, self.ends = LiteStem(trunk), trunk.ends
        self.blocks = [
            LiteBlock(block, bits) for block in trunk.blocks if isinstance(block, InvertedResidual)
        ]
        fine, middle, coarse, top = (
            fold_affine(lateral, affine)
            for lateral, affine in zip(encoder.lateral, trunk.outputs, strict=True)
            if isinstance(lateral, nn.Conv2d) and isinstance(affine, ChannelAffine)
        )
        self.fine = pack_layer(*fold_layers(fine, encoder.to_fine), bits)
        self.middle = pack_layer(*fold_layers(middle, encoder.to_middle), bits)
        self.coarse, self.top = pack_layer(*coarse, bits), pack_layer(*top, bits)

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        x, maps = self.stem(image), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                maps.append(x)
        fine, middle, coarse, top = maps
        above = run_pointwise(self.top, top).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        features = (
            run_pointwise(self.coarse, coarse, residual=above),
            run_pointwise(self.middle, middle),
            run_pointwise(self.fine, fine),
        )
        coarse, middle, fine = (x.permute(0, 3, 1, 2) for x in features)
        return coarse, middle, fine


def run_pointwise(
    layer: PackedLayer, x: Float[Tensor, "b h w i"], residual: Float[Tensor, "b h w o"] | None = None
) -> Float[Tensor, "b h w o"]:
    return run_layers([layer], x, residual)


def pack_pointwise(conv: nn.Conv2d, bits: Bits, *, clipped: bool = False) -> PackedLayer:
    """A 1 x 1 convolution as a linear layer, its channels padded with zeros."""
    assert conv.bias is not None
    weight, bias = pad_outputs(conv.weight.detach().flatten(1), conv.bias.detach())
    return pack_layer(weight, bias, bits, activation="relu6" if clipped else "none")


def pack_depthwise(conv: Conv) -> tuple[Float[Tensor, "side side c"], Float[Tensor, " c"]]:
    """The weights of a depthwise convolution, the channels of a cell side by side and padded with zeros."""
    assert conv.bias is not None
    weight = pad_last(conv.weight.detach()[:, 0].permute(1, 2, 0))
    return weight.contiguous(), pad_last(conv.bias.detach()).contiguous()


def pad_outputs(
    weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]
) -> tuple[Float[Tensor, "padded i"], Float[Tensor, " padded"]]:
    """A layer with outputs that are zero, so that there is a multiple of LANES."""
    extra = round_up(len(bias), LANES) - len(bias)
    return F.pad(weight, (0, 0, 0, extra)), F.pad(bias, (0, extra))


def pad_last(x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n padded"]:
    return F.pad(x, (0, -x.shape[-1] % LANES))


Layer = tuple[Float[Tensor, "_ _"], Float[Tensor, " _"]]  # weight (o, i) and bias (o)


def fold_affine(lateral: nn.Conv2d, affine: ChannelAffine) -> Layer:
    """A 1 x 1 convolution with the scale and the shift that come before it."""
    assert lateral.bias is not None
    weight = lateral.weight.detach().flatten(1)
    return weight * affine.scale, lateral.bias.detach() + weight @ affine.shift


def fold_layers(first: Layer, second: nn.Conv2d) -> Layer:
    """A layer and the 1 x 1 convolution after it, as the one that they amount to."""
    assert second.bias is not None
    last = second.weight.detach().flatten(1)
    return last @ first[0], last @ first[1] + second.bias.detach()
