"""Memory attention: a frame's features attend to the memories of an object (SAM 2, app. D.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.layers import attend, rotate, rotation, sine_age, sine_map


@dataclass(frozen=True)
class MemoryTensors:
    """The memories that b objects attend to: k maps of tokens, and p pointers.

    Attributes:
        rows: The row of the age table for each map.
        ages: The signed age of each pointer, relative to the span.
        weights: A factor of the keys for each map, then each pointer.
        padding: Which maps, then which pointers, are padding and get no attention.
    """

    tokens: Float[Tensor, "b k n d"]
    rows: Int[Tensor, "b k"]
    pointers: Float[Tensor, "b p c"]
    ages: Float[Tensor, "b p"]
    weights: Float[Tensor, "b kp"] | None = None
    padding: Bool[Tensor, " kp"] | None = None


@dataclass(frozen=True)
class KeyPositions:
    """Positions of keys: the first `count` of them are in maps, one after the other; the rest, pointers, have
    none.

    Attributes:
        rope: The rotary embedding of one map.
        tokens_per_key: The number of tokens that each key in a map represents.
        padding: Which keys are padding.
    """

    rope: Float[Tensor, "2 n half"]
    count: int
    tokens_per_key: int = 1
    padding: Bool[Tensor, " m"] | None = None

    def bias(self, keys: Float[Tensor, "b m c"]) -> Float[Tensor, " m"] | None:
        """The bias added to logits: a key has the weight of all tokens that it represents, and padding
        none."""
        if self.tokens_per_key == 1 and self.padding is None:
            return None
        bias = keys.new_zeros(keys.shape[1])
        bias[: self.count] = math.log(self.tokens_per_key)
        return bias if self.padding is None else bias.masked_fill(self.padding, -math.inf)


class RotaryAttention(nn.Module):
    """Single-head attention with rotary position encoding of queries and keys.

    Keys can be several maps, one after the other, each encoded in the same way; then pointers, which have no
    position.
    """

    def __init__(self, width: int, memory: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(memory, width)
        self.v = nn.Linear(memory, width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        q: Float[Tensor, "#b n c"],
        k: Float[Tensor, "b m d"],
        v: Float[Tensor, "b m d"],
        rope: Float[Tensor, "2 n half"],
        positions: KeyPositions,
    ) -> Float[Tensor, "b n c"]:
        q, k, v = rotate(self.q(q), rope).expand(k.shape[0], -1, -1), self.k(k), self.v(v)
        maps = k[:, : positions.count].unflatten(1, (-1, positions.rope.shape[1]))
        k = torch.cat([rotate(maps, positions.rope).flatten(1, 2), k[:, positions.count :]], dim=1)
        return self.out(attend(q[:, None], k[:, None], v[:, None], positions.bias(k))[:, 0])


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memory, and an MLP, each with layer norm first."""

    def __init__(self, width: int, memory: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = RotaryAttention(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.memory_attention = RotaryAttention(width, memory)
        self.norm3 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(
        self,
        x: Float[Tensor, "#b n c"],
        keys: Float[Tensor, "b m d"],
        values: Float[Tensor, "b m d"],
        rope: Float[Tensor, "2 n half"],
        positions: KeyPositions,
    ) -> Float[Tensor, "b n c"]:
        y = self.norm1(x)
        x = x + self.self_attention(y, y, y, rope, KeyPositions(rope, y.shape[1]))
        x = x + self.memory_attention(self.norm2(x), keys, values, rope, positions)
        return x + self.linear2(F.relu(self.linear1(self.norm3(x))))


class MemoryAttention(nn.Module):
    """Computes the context for the mask decoder from features, memory tokens and object pointers.

    Attributes:
        pooled: Attend to means of 2x2 memory tokens, which the published network does not do.
    """

    rope: Tensor
    pooled_rope: Tensor
    position: Tensor
    memory_position: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        c, d, side = config.channels, config.memory_channels, config.grid
        self.pooled = False
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(c, d, config.feedforward) for _ in range(config.memory_layers)
        )
        self.norm = nn.LayerNorm(c)
        self.age = nn.Parameter(torch.zeros(config.memories, d))
        self.no_memory = nn.Parameter(torch.zeros(c))
        if config.revision == "2.1":
            self.pointer_age = nn.Linear(c, d)
        # Published checkpoints contain this tensor without using it; it is kept so that they load and save
        # completely.
        self.no_memory_position = nn.Parameter(torch.zeros(c))
        self.register_buffer("rope", rotation(c, side, side), persistent=False)
        self.register_buffer("pooled_rope", rotation(c, side // 2, side // 2, stride=2), persistent=False)
        self.register_buffer("position", sine_map(c, side, side).flatten(1).T, persistent=False)
        self.register_buffer("memory_position", sine_map(d, side, side).flatten(1).T, persistent=False)

    def without_memory(self, coarse: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The context of an object without memories."""
        return coarse + self.no_memory[:, None, None]

    def forward(self, coarse: Float[Tensor, "#b c h w"], memories: MemoryTensors) -> Float[Tensor, "b c h w"]:
        x = self.start(coarse)  # shared by all objects until the first layer attends to their memories
        keys, values, positions = self.keys_and_values(memories)
        for layer in self.layers:
            x = layer(x, keys, values, self.rope, positions)
        return self.finish(x)

    def start(self, coarse: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c"]:
        """The features as input of the first layer."""
        return coarse.flatten(2).transpose(1, 2) + 0.1 * self.position

    def finish(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b c h w"]:
        """The output of the last layer as a map."""
        side = math.isqrt(x.shape[1])
        return self.norm(x).transpose(1, 2).unflatten(-1, (side, side))

    def keys_and_values(
        self, memories: MemoryTensors
    ) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b m d"], KeyPositions]:
        """Memories and pointers as keys and values (b, m, d), and the positions of the keys."""
        tokens = memories.tokens
        placed = self.memory_position + F.embedding(memories.rows, self.age)[:, :, None]  # (b, k, n, d)
        if self.pooled:
            tokens, placed = pool(tokens), pool(placed)
        # A pointer is as wide as several memory tokens, and is split into them; the parts share its age.
        cut = memories.pointers.unflatten(-1, (-1, tokens.shape[-1]))  # (b, p, parts, d)
        values = torch.cat([tokens.flatten(1, 2), cut.flatten(1, 2)], dim=1)
        keys = values + torch.cat([placed.flatten(1, 2), self._encode_ages(memories.ages, cut)], dim=1)
        k, n, parts = tokens.shape[1], tokens.shape[2], cut.shape[2]
        if memories.weights is not None:
            keys = keys * spread(memories.weights, k, n, parts)[..., None]
        hidden = None if memories.padding is None else spread(memories.padding, k, n, parts)
        rope, tokens_per_key = (self.pooled_rope, 4) if self.pooled else (self.rope, 1)
        return keys, values, KeyPositions(rope, k * n, tokens_per_key, hidden)

    def _encode_ages(
        self, ages: Float[Tensor, "b p"], cut: Float[Tensor, "b p parts d"]
    ) -> Float[Tensor, "b q d"]:
        if not hasattr(self, "pointer_age"):
            return torch.zeros_like(cut).flatten(1, 2)
        age = self.pointer_age(sine_age(ages, self.no_memory.shape[0]).to(cut.dtype))
        return age[:, :, None].expand_as(cut).flatten(1, 2)


def spread(values: Shaped[Tensor, "*b kp"], memories: int, tokens: int, parts: int) -> Shaped[Tensor, "*b m"]:
    """Repeat the values of memories, then of pointers, for each of their keys (tokens and parts)."""
    ends = (values[..., :memories, None], tokens), (values[..., memories:, None], parts)
    return torch.cat([end.expand(*end.shape[:-1], times).flatten(-2) for end, times in ends], dim=-1)


def pool(tokens: Float[Tensor, "b k n d"]) -> Float[Tensor, "b k n4 d"]:
    """Means of squares of four tokens."""
    side = math.isqrt(tokens.shape[2])
    squares = tokens.unflatten(2, (side // 2, 2, side // 2, 2))  # (b, k, rows, 2, columns, 2, d)
    return squares.mean(dim=(3, 5)).flatten(2, 3)
