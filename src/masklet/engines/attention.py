"""The verb attend in the kernels: `nn.memory_attention`, its attention and wide layers replaced.

Norms, projections and the stream between layers stay as they are. Memory is looked at as the narrow tokens
that it is: a value is a linear map of a token, so tokens are weighed first and mapped afterwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from masklet.engines import kernels
from masklet.engines.kernels import Bits
from masklet.nn.memory_attention import MemoryAttention, MemoryAttentionLayer, Places, RotaryAttention


class Layer:
    """One layer of memory attention."""

    def __init__(self, layer: MemoryAttentionLayer, layers: Bits, attention: Bits) -> None:
        self.layer, self.bits = layer, attention
        self.wide = kernels.Linear(layer.linear1, layer.linear2, bits=layers, between="relu")

    def __call__(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[kernels.Values],
        turn: Float[Tensor, "2 n half"],
        places: Places,
    ) -> Float[Tensor, "b n c"]:
        layer = self.layer
        x = x + self._look_at_self(layer.self_attention, layer.norm1(x), turn)
        x = x + self._look_at_memory(layer.memory_attention, layer.norm2(x), keys, values, turn, places)
        return x + self.wide(layer.norm3(x))

    def _look_at_self(
        self, attention: RotaryAttention, x: Float[Tensor, "b n c"], turn: Float[Tensor, "2 n half"]
    ) -> Float[Tensor, "b n c"]:
        queries, keys, values = attention.q(x), attention.k(x), attention.v(x)
        seen = [
            kernels.attend(
                q, kernels.pack_rows(k, self.bits, turn, len(k)), kernels.pack_values(v, self.bits), turn
            )
            for q, k, v in zip(queries, keys, values, strict=True)
        ]
        return attention.out(torch.stack(seen))

    def _look_at_memory(
        self,
        attention: RotaryAttention,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[kernels.Values],
        turn: Float[Tensor, "2 n half"],
        places: Places,
    ) -> Float[Tensor, "b n c"]:
        bias = places.bias(keys)
        queries = attention.q(x).expand(len(keys), -1, -1)
        seen = []
        for q, each, v in zip(queries, keys, values, strict=True):
            k = kernels.pack_rows(attention.k(each), self.bits, places.turn, places.count)
            seen.append(kernels.attend(q, k, v, turn, bias))
        return attention.out(attention.v(torch.stack(seen)))


class KernelAttention:
    """In the place of a network's memory attention, in numbers of so many bits."""

    def __init__(self, net: MemoryAttention, layers: Bits, attention: Bits) -> None:
        self.net, self.bits = net, attention
        self.layers = [
            Layer(layer, layers, attention) for layer in net.layers if isinstance(layer, MemoryAttentionLayer)
        ]

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
        packed = [kernels.pack_values(each, self.bits) for each in values]
        for layer in self.layers:
            x = layer(x, keys, packed, self.net.turn, places)
        return self.net.finish(x)
