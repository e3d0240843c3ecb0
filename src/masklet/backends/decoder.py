"""The verb decode, in float32 whatever the setting: `nn.mask_decoder`, computed in another order.

A click is few tokens beside thousands of cells. What the published order does to each cell, projecting it to
be compared and mixed, is done to the tokens instead; and the map is enlarged and weighed in one go. The
numbers are the same but for the order of sums.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.backends import native as kernels
from masklet.nn.layers import Attention
from masklet.nn.mask_decoder import MaskDecoder, TwoWayBlock

FEW = 1024  # cells, below which more and smaller products take longer


class ToImage(nn.Module):
    """Tokens look at the map: asked in the map's own channels, and answered in them.

    A key's bias shifts all logits of a query alike, so it falls out of the softmax.
    """

    def __init__(self, net: Attention) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, q: Float[Tensor, "b n c"], k: Float[Tensor, "b m c"], v: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        net, n = self.net, q.shape[1]
        if many(net, n, k.shape[1]):
            return net(q, k, v)
        queries = net.split(net.q(q))
        asked = (queries * queries.shape[-1] ** -0.5) @ net.k.weight.unflatten(0, (net.heads, -1))
        weights = (asked.flatten(1, 2) @ k.transpose(1, 2)).softmax(dim=-1)
        seen = (weights @ v).unflatten(1, (net.heads, n))  # (b, heads, n, c)
        x = seen @ net.v.weight.unflatten(0, (net.heads, -1)).transpose(1, 2)
        return net.out(x.transpose(1, 2).flatten(2) + net.v.bias)


class ToTokens(nn.Module):
    """The map looks at the tokens: they say in its channels what they ask for and what they answer."""

    def __init__(self, net: Attention) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, q: Float[Tensor, "b m c"], k: Float[Tensor, "b n c"], v: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b m c"]:
        net, n = self.net, k.shape[1]
        if many(net, n, q.shape[1]):
            return net(q, k, v)
        keys = net.split(net.k(k))
        keys = keys * keys.shape[-1] ** -0.5
        asked = (keys @ net.q.weight.unflatten(0, (net.heads, -1))).flatten(1, 2)
        bias = (keys * net.q.bias.view(net.heads, 1, -1)).sum(dim=-1).flatten(1)
        logits = torch.baddbmm(bias[:, None], q, asked.transpose(1, 2))
        weights = logits.unflatten(2, (net.heads, n)).softmax(dim=-1).flatten(2)
        told = net.split(net.v(v)) @ net.out.weight.unflatten(1, (net.heads, -1)).permute(1, 2, 0)
        return torch.baddbmm(net.out.bias.view(1, 1, -1), weights, told.flatten(1, 2))


def many(net: Attention, tokens: int, cells: int) -> bool:
    """Whether it pays to project the cells: each head's tokens outnumber the channels, or cells are few."""
    return tokens * net.heads > net.q.out_features or cells < FEW


def kernel_decoder(net: MaskDecoder) -> MaskDecoder:
    """The same decoder, whose weights are the network's."""
    made = copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})
    for block in made.blocks:
        assert isinstance(block, TwoWayBlock)
        block.register_module("to_image", ToImage(block.to_image))
        block.register_module("to_tokens", ToTokens(block.to_tokens))
    made.register_module("to_image", ToImage(made.to_image))
    if net.up2.out_channels % kernels.WIDTH == 0:
        object.__setattr__(made, "upscale", _Upscale(net))
    return made


class _Upscale:
    """`MaskDecoder.upscale` in the kernels, one object after the other."""

    def __init__(self, net: MaskDecoder) -> None:
        self.one = kernels.Upscale(net.up1, net.up_norm, net.up2)

    def __call__(
        self,
        image: Float[Tensor, "b h w c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
        weights: Float[Tensor, "b m c4"],
    ) -> Float[Tensor, "b m h4 w4"]:
        b = len(image)
        finer = (each.permute(0, 2, 3, 1).contiguous().expand(b, -1, -1, -1) for each in (middle, fine))
        return torch.stack([self.one(*row) for row in zip(image, *finer, weights, strict=True)])
