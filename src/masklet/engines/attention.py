"""The verb attend on 8-bit integers: `nn.memory_attention`, attention and wide layers in the kernels.

Norms, projections and the stream between layers stay float32. Memory is looked at as the narrow tokens that
it is: a value is a linear map of a token, so tokens are weighed first and mapped afterwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from masklet.engines import kernels
from masklet.nn.memory_attention import MemoryAttention, MemoryAttentionLayer, Places, RotaryAttention


class Layer:
    """One layer of memory attention."""

    def __init__(self, layer: MemoryAttentionLayer) -> None:
        self.layer = layer
        self.linear1 = kernels.Linear(layer.linear1, 8, "relu")
        self.linear2 = kernels.Linear(layer.linear2, 8)

    def __call__(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[kernels.Values],
        turn: Float[Tensor, "2 n half"],
        places: Places,
    ) -> Float[Tensor, "b n c"]:
        layer = self.layer
        x = x + self_attention(layer.self_attention, layer.norm1(x), turn)
        x = x + memory_attention(layer.memory_attention, layer.norm2(x), keys, values, turn, places)
        return x + self.linear2(self.linear1(layer.norm3(x)))


def self_attention(
    attention: RotaryAttention, x: Float[Tensor, "b n c"], turn: Float[Tensor, "2 n half"]
) -> Float[Tensor, "b n c"]:
    queries, keys, values = attention.q(x), attention.k(x), attention.v(x)
    seen = [
        kernels.attend(q, kernels.pack_rows(k, turn, len(k)), kernels.pack_values(v), turn)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return attention.out(torch.stack(seen))


def memory_attention(
    attention: RotaryAttention,
    x: Float[Tensor, "#b n c"],
    keys: Float[Tensor, "b m d"],
    values: list[kernels.Values],
    turn: Float[Tensor, "2 n half"],
    places: Places,
) -> Float[Tensor, "b n c"]:
    bias = places.bias(keys)
    queries = attention.q(x).expand(len(keys), -1, -1)
    seen = [
        kernels.attend(q, kernels.pack_rows(attention.k(each), places.turn, places.count), v, turn, bias)
        for q, each, v in zip(queries, keys, values, strict=True)
    ]
    return attention.out(attention.v(torch.stack(seen)))


class Int8Attention:
    """In the place of a network's memory attention."""

    def __init__(self, net: MemoryAttention) -> None:
        self.net = net
        self.layers = [Layer(layer) for layer in net.layers if isinstance(layer, MemoryAttentionLayer)]

    def __call__(
        self,
        coarse: Float[Tensor, "#b c h w"],
        tokens: Float[Tensor, "b k n d"],
        rows: Int[Tensor, "b k"],
        pointers: Float[Tensor, "b p c"],
        ages: Float[Tensor, "b p"],
        weights: Float[Tensor, "b kp"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        x = self.net.start(coarse)
        keys, values, places = self.net.seen(tokens, rows, pointers, ages, weights)
        packed = [kernels.pack_values(each) for each in values]
        for layer in self.layers:
            x = layer(x, keys, packed, self.net.turn, places)
        return self.net.finish(x)
