"""The verb memorize: the memory encoder in the kernels. Channels of a cell lie side by side throughout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.backends.native.encoders import pack_pointwise
from masklet.backends.native.kernels import (
    Bits,
    DownsamplingArguments,
    address,
    pack_layer,
    run_depthwise,
    run_downsampling,
    run_layers,
)
from masklet.nn.layers import LayerNorm2d
from masklet.nn.memory_encoder import FuserBlock, MemoryEncoder


class Downsampling:
    """A convolution that halves a map, with the layer norm and the GELU after it."""

    def __init__(self, conv: nn.Conv2d, norm: LayerNorm2d, bits: Bits) -> None:
        self.bits, self.norm, self.channels = bits, norm, conv.in_channels
        assert conv.bias is not None
        patches = conv.weight.permute(0, 2, 3, 1).flatten(1)  # (o, row column channel)
        self.layer = pack_layer(patches, conv.bias, bits)

    def __call__(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 o"]:
        arguments = DownsamplingArguments(
            self.layer.arguments(),
            address(self.norm.weight),
            address(self.norm.bias),
            self.norm.eps,
            self.channels,
        )
        return run_downsampling(arguments, self.bits, x)


def halve_mask(
    conv: nn.Conv2d, norm: LayerNorm2d, mask: Float[Tensor, "b H W"]
) -> Float[Tensor, "b h2 w2 c"]:
    """The first downsampling. Its four channels are too few for the kernels, and for torch's layer norm."""
    x = conv(mask[:, None])
    off = x - x.mean(dim=1, keepdim=True)
    x = off * (off.square().mean(dim=1, keepdim=True) + norm.eps).rsqrt()
    x = F.gelu(torch.addcmul(norm.bias[:, None, None], x, norm.weight[:, None, None]))
    return x.permute(0, 2, 3, 1)


class NativeMemoryEncoder:
    """The memory encoder. Channels of a cell lie side by side throughout.

    Args:
        bits: Of the layers between the convolutions that look at neighbours. What the mask becomes has at
            least 16, since there is no tracking without it.
    """

    def __init__(self, encoder: MemoryEncoder, bits: Bits) -> None:
        self.encoder = encoder
        fine: Bits = 32 if bits == 32 else 16
        convolutions = [layer for layer in encoder.mask if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in encoder.mask if isinstance(layer, LayerNorm2d)]
        *halving, to_features = convolutions
        self.first, *others = zip(halving, norms, strict=True)
        self.downsamplings = [Downsampling(conv, norm, fine) for conv, norm in others]
        self.to_features, self.features = (
            pack_pointwise(conv, fine) for conv in (to_features, encoder.features)
        )
        self.out, self.width = pack_pointwise(encoder.out, fine), encoder.out.out_channels
        self.fuser = [Fuser(block, bits) for block in encoder.fuser if isinstance(block, FuserBlock)]

    def __call__(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        x = halve_mask(*self.first, mask)
        for downsampling in self.downsamplings:
            x = downsampling(x)
        features = run_layers([self.features], coarse.permute(0, 2, 3, 1))
        x = run_layers([self.to_features], x, features.expand(len(x), -1, -1, -1))
        for fuser in self.fuser:
            x = fuser(x)
        tokens = run_layers([self.out], x)[..., : self.width].flatten(1, 2)
        return self.encoder.mark_absent(tokens, score)


class Fuser:
    """A ConvNeXt block, its layer scale within the weights of its last layer."""

    def __init__(self, block: FuserBlock, bits: Bits) -> None:
        kernel, bias = (
            block.depthwise.weight.detach()[:, 0].permute(1, 2, 0).contiguous(),
            block.depthwise.bias,
        )
        assert bias is not None
        self.kernel, self.bias = kernel, bias.detach()
        first, second = block.mlp.linears
        scale = block.scale.detach()
        self.layers = [
            pack_layer(first.weight, first.bias, bits, block.norm, "gelu"),
            pack_layer(second.weight * scale[:, None], second.bias * scale, bits),
        ]

    def __call__(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        return run_layers(self.layers, run_depthwise(self.kernel, self.bias, x), x)
