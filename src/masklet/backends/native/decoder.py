"""The verb decode, in float32 in every setting: the mask decoder, computed in another order.

A click has few tokens compared to thousands of cells. The published order projects every cell; here the
tokens are projected instead, and the map is enlarged and weighted in one pass. Only the order of sums
differs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from masklet.backends.native.kernels import LANES, pack_layer, run_upscaling
from masklet.nn.layers import Attention
from masklet.nn.mask_decoder import MaskDecoder, as_linear

NEGLIGIBLE = 1e-30  # a weight beside others that add up to 1


def attend_to_image(
    attention: Attention, q: Float[Tensor, "b n c"], k: Float[Tensor, "b m c"], v: Float[Tensor, "b m c"]
) -> Float[Tensor, "b n c"]:
    """Tokens attend to the map: queries and answers are projected into the map's own channels.

    A key's bias shifts all logits of a query equally, so it does not change the softmax.
    """
    heads, n = attention.heads, q.shape[1]
    if is_cheaper_to_project_cells(attention, n):
        return attention(q, k, v)
    queries = attention.split(attention.q(q))
    queries = (queries * queries.shape[-1] ** -0.5) @ attention.k.weight.unflatten(0, (heads, -1))
    weights = softmax(queries.flatten(1, 2) @ k.transpose(1, 2), dim=-1)
    cells = (weights @ v).unflatten(1, (heads, n))  # (b, heads, n, c)
    x = cells @ attention.v.weight.unflatten(0, (heads, -1)).transpose(1, 2)
    return attention.out(x.transpose(1, 2).flatten(2) + attention.v.bias)


def attend_to_tokens(
    attention: Attention, q: Float[Tensor, "b m c"], k: Float[Tensor, "b n c"], v: Float[Tensor, "b n c"]
) -> Float[Tensor, "b m c"]:
    """The map attends to the tokens: keys and values are projected into the map's own channels.

    The weights of a token are contiguous for all cells, since a softmax over so few keys is slow otherwise.
    """
    heads, n = attention.heads, k.shape[1]
    keys, values = attention.split(attention.k(k)), attention.split(attention.v(v))
    keys = keys * keys.shape[-1] ** -0.5
    if is_cheaper_to_project_cells(attention, n):
        weights = (keys @ attention.split(attention.q(q)).transpose(-2, -1)).softmax(dim=-2)
        return attention.out((values.transpose(-2, -1) @ weights).flatten(1, 2).transpose(1, 2))
    wide_keys = (keys @ attention.q.weight.unflatten(0, (heads, -1))).flatten(1, 2)
    bias = (keys * attention.q.bias.view(heads, 1, -1)).sum(dim=-1).flatten(1)
    logits = torch.baddbmm(bias[..., None], wide_keys, q.transpose(1, 2))
    weights = softmax(logits.unflatten(1, (heads, n)), dim=-2).flatten(1, 2)
    out_weight = attention.out.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)
    wide_values = (values @ out_weight).flatten(1, 2)
    return torch.baddbmm(attention.out.bias.view(1, 1, -1), weights.transpose(1, 2), wide_values)


def softmax(logits: Float[Tensor, "*n"], dim: int) -> Float[Tensor, "*n"]:
    """Softmax, with weights that are too small to change any sum set to 0.

    CPUs multiply by denormal numbers some hundred times slower. Without memories logits differ by 150, and
    the products took six times as long.
    """
    return F.hardshrink(logits.softmax(dim=dim), NEGLIGIBLE)


def is_cheaper_to_project_cells(attention: Attention, tokens: int) -> bool:
    """Whether the published order is faster: if the tokens of all heads outnumber the channels."""
    return tokens * attention.heads > attention.q.out_features


class NativeMaskDecoder:
    """The mask decoder in the other order, with its upscaling in the kernels if the channels allow it."""

    def __init__(self, decoder: MaskDecoder) -> None:
        self.decoder = decoder
        self.layers = None
        if decoder.up2.out_channels % LANES == 0:
            up1, up2 = as_linear(decoder.up1), as_linear(decoder.up2)
            self.layers = pack_layer(*up1, 32), pack_layer(*up2, 32, decoder.up_norm)

    def __call__(
        self,
        context: Float[Tensor, "b c h w"],
        tokens: Float[Tensor, "b q c"],
        dense: Float[Tensor, "#b c #h #w"],
        position: Float[Tensor, "hw c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, image = self.decoder.compare(context + dense, tokens, position, attend_to_image, attend_to_tokens)
        weights, iou, pointers, score = self.decoder.read_tokens(x)
        return self.upscale(image, middle, fine, weights), iou, pointers, score

    def upscale(
        self,
        image: Float[Tensor, "b h w c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
        weights: Float[Tensor, "b m c4"],
    ) -> Float[Tensor, "b m h4 w4"]:
        """`MaskDecoder.upscale` in the kernels, one object after the other."""
        if self.layers is None:
            return self.decoder.upscale(image, middle, fine, weights)
        b = len(image)
        finer = (x.permute(0, 2, 3, 1).contiguous().expand(b, -1, -1, -1) for x in (middle, fine))
        rows = zip(image, *finer, weights, strict=True)
        return torch.stack([run_upscaling(*self.layers, *row) for row in rows])
