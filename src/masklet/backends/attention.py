"""The verb attend in the kernels: `nn.memory_attention`, its layers replaced; the stream between is float32.

Memory is looked at as the narrow tokens that it is: a value is a linear map of a token, so tokens are weighed
first and mapped afterwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from masklet.backends import native as kernels
from masklet.backends.native import Bits
from masklet.nn.memory_attention import MemoryAttention, MemoryAttentionLayer, Places


class Layer:
    """One layer of memory attention."""

    def __init__(self, layer: MemoryAttentionLayer, layers: Bits, attention: Bits) -> None:
        own, memory, self.bits = layer.self_attention, layer.memory_attention, attention
        bits: Bits = 16 if layers == 8 else layers  # of projections, which cost little beside the wide layers
        self.project = kernels.Linear(side_by_side(own.q, own.k, own.v), bits=bits, norm=layer.norm1)
        self.out = kernels.Linear(own.out, bits=bits)
        self.query = kernels.Linear(memory.q, bits=bits, norm=layer.norm2)
        self.key = kernels.Linear(memory.k, bits=bits)
        self.value = kernels.Linear(one_after_the_other(memory.v, memory.out), bits=bits)
        self.wide = kernels.Linear(
            layer.linear1, layer.linear2, bits=layers, between="relu", norm=layer.norm3
        )

    def __call__(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[kernels.Values],
        turn: Float[Tensor, "2 n half"],
        places: Places,
    ) -> Float[Tensor, "b n c"]:
        x = self.out(self._seen_of_self(x, turn), added=x)
        x = self.value(self._seen_of_memory(x, keys, values, turn, places), added=x.expand(len(keys), -1, -1))
        return self.wide(x, added=x)

    def _seen_of_self(
        self, x: Float[Tensor, "b n c"], turn: Float[Tensor, "2 n half"]
    ) -> Float[Tensor, "b n c"]:
        seen = []
        for q, k, v in (each.chunk(3, dim=-1) for each in self.project(x)):
            packed = kernels.pack_rows(k, self.bits, turn, len(k)), kernels.pack_values(v, self.bits)
            seen.append(kernels.attend(q, *packed, turn))
        return torch.stack(seen)

    def _seen_of_memory(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[kernels.Values],
        turn: Float[Tensor, "2 n half"],
        places: Places,
    ) -> Float[Tensor, "b n d"]:
        bias = places.bias(keys)
        queries = self.query(x).expand(len(keys), -1, -1)
        seen = []
        for q, each, v in zip(queries, keys, values, strict=True):
            k = kernels.pack_rows(self.key(each), self.bits, places.turn, places.count)
            seen.append(kernels.attend(q, k, v, turn, bias))
        return torch.stack(seen)


def side_by_side(*layers: nn.Linear) -> nn.Linear:
    """Layers of the same input as one."""
    return _linear(torch.cat([each.weight for each in layers]), torch.cat([each.bias for each in layers]))


def one_after_the_other(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """Two layers as the one that they amount to."""
    return _linear(second.weight @ first.weight, second.weight @ first.bias + second.bias)


def _linear(weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight, made.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return made


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
