"""The verb attend: memory attention with all layers in the kernels; the features between layers are float32.

Attention runs directly over the narrow memory tokens: a value is a linear map of its token, so tokens are
weighted first and mapped afterwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.backends.native.encoders import NativeLinear
from masklet.backends.native.kernels import Bits, PackedValues, attend, pack_rows, pack_values
from masklet.nn.memory_attention import KeyPositions, MemoryAttention, MemoryAttentionLayer, MemoryTensors


class NativeAttentionLayer:
    """One layer of memory attention."""

    def __init__(self, layer: MemoryAttentionLayer, bits: Bits, attention_bits: Bits) -> None:
        own, memory = layer.self_attention, layer.memory_attention
        self.attention_bits: Bits = attention_bits
        # Projections cost little compared to the wide layers, so they are not rounded to 8 bits.
        projection_bits: Bits = 16 if bits == 8 else bits
        self.project = NativeLinear(stack_layers(own.q, own.k, own.v), bits=projection_bits, norm=layer.norm1)
        self.out = NativeLinear(own.out, bits=projection_bits)
        self.query = NativeLinear(memory.q, bits=projection_bits, norm=layer.norm2)
        self.key = NativeLinear(memory.k, bits=projection_bits)
        self.value = NativeLinear(chain_layers(memory.v, memory.out), bits=projection_bits)
        self.mlp = NativeLinear(layer.linear1, layer.linear2, bits=bits, between="relu", norm=layer.norm3)

    def __call__(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[PackedValues],
        rope: Float[Tensor, "2 n half"],
        positions: KeyPositions,
    ) -> Float[Tensor, "b n c"]:
        x = self.out(self.attend_to_self(x, rope), residual=x)
        memory = self.attend_to_memory(x, keys, values, rope, positions)
        x = self.value(memory, residual=x.expand(len(keys), -1, -1))
        return self.mlp(x, residual=x)

    def attend_to_self(
        self, x: Float[Tensor, "b n c"], rope: Float[Tensor, "2 n half"]
    ) -> Float[Tensor, "b n c"]:
        bits, rows = self.attention_bits, []
        for q, k, v in (projected.chunk(3, dim=-1) for projected in self.project(x)):
            rows.append(attend(q, pack_rows(k, bits, rope, len(k)), pack_values(v, bits), rope))
        return torch.stack(rows)

    def attend_to_memory(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: list[PackedValues],
        rope: Float[Tensor, "2 n half"],
        positions: KeyPositions,
    ) -> Float[Tensor, "b n d"]:
        bias, rows = positions.bias(keys), []
        queries = self.query(x).expand(len(keys), -1, -1)
        for q, tokens, v in zip(queries, keys, values, strict=True):
            k = pack_rows(self.key(tokens), self.attention_bits, positions.rope, positions.count)
            rows.append(attend(q, k, v, rope, bias))
        return torch.stack(rows)


def stack_layers(*layers: nn.Linear) -> nn.Linear:
    """Layers with the same input as one layer."""
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    return make_linear(weight, bias)


def chain_layers(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """Two consecutive layers fused into one."""
    return make_linear(second.weight @ first.weight, second.weight @ first.bias + second.bias)


def make_linear(weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return layer


class NativeMemoryAttention:
    """Memory attention in numbers with this many bits."""

    def __init__(self, attention: MemoryAttention, bits: Bits, attention_bits: Bits) -> None:
        self.attention = attention
        self.attention_bits: Bits = attention_bits
        self.layers = [
            NativeAttentionLayer(layer, bits, attention_bits)
            for layer in attention.layers
            if isinstance(layer, MemoryAttentionLayer)
        ]

    def __call__(
        self, coarse: Float[Tensor, "#b c h w"], memories: MemoryTensors
    ) -> Float[Tensor, "b c h w"]:
        x = self.attention.start(coarse)
        keys, values, positions = self.attention.keys_and_values(memories)
        packed = [pack_values(tokens, self.attention_bits) for tokens in values]
        for layer in self.layers:
            x = layer(x, keys, packed, self.attention.rope, positions)
        return self.attention.finish(x)
