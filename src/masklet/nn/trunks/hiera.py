"""Hiera, the trunk: a vision transformer in four stages, mostly of windowed attention.

arXiv 2306.00989; SAM 2, app. D.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.layers import MLP, WeightCache, attend


def pool(x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 c"]:
    """Halve a map by max pooling."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def to_windows(x: Float[Tensor, "b h w c"], side: int) -> Float[Tensor, "windows side side c"]:
    """Cut a map into square windows, padded with zeros at the right and the bottom."""
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (b, rows, side, columns, side, c)
    return x.transpose(2, 3).reshape(-1, side, side, x.shape[-1])


def from_windows(x: Float[Tensor, "windows side side c"], h: int, w: int) -> Float[Tensor, "b h w c"]:
    """Join windows and remove the padding."""
    side = x.shape[1]
    rows, columns = -(-h // side), -(-w // side)
    x = x.unflatten(0, (-1, rows, columns)).transpose(2, 3)  # (b, rows, side, columns, side, c)
    return x.flatten(3, 4).flatten(1, 2)[:, :h, :w]


class PooledAttention(nn.Module):
    """Self-attention within windows whose queries may be pooled, which halves the map."""

    def __init__(self, width: int, out: int, heads: int, *, pooled: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pooled = pooled
        self.qkv = nn.Linear(width, 3 * out)
        self.out = nn.Linear(out, out)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 d"]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pooled:
            q = pool(q)
        h, w = q.shape[1:3]
        x = attend(
            *(part.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        )
        return self.out(x.transpose(1, 2).flatten(-2).unflatten(1, (h, w)))


class Block(nn.Module):
    """One transformer block. The first block of a stage after the first doubles the channels and halves the
    map.

    Args:
        window: Side of the attention windows; 0 attends over the whole map.
    """

    def __init__(self, width: int, out: int, heads: int, window: int, *, pooled: bool) -> None:
        super().__init__()
        self.window = window
        self.pooled = pooled
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = PooledAttention(width, out, heads, pooled=pooled)
        self.norm2 = nn.LayerNorm(out, eps=1e-6)
        self.mlp = MLP((out, 4 * out, out), nn.GELU)
        self.shortcut = nn.Linear(width, out) if width != out else None

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 d"]:
        y = self.norm1(x)
        if self.shortcut is not None:
            x = self.shortcut(y)
            x = pool(x) if self.pooled else x
        if self.window:
            y = from_windows(self.attention(to_windows(y, self.window)), *x.shape[1:3])
        else:
            y = self.attention(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class Hiera(nn.Module):
    """Encodes an image as four maps, at strides 4, 8, 16 and 32."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.widths = tuple(config.embed_dim << stage for stage in range(4))
        self.patch = nn.Conv2d(3, config.embed_dim, kernel_size=7, stride=4, padding=3)
        self.position = nn.Parameter(torch.zeros(1, config.embed_dim, *config.background))
        self.window_position = nn.Parameter(
            torch.zeros(1, config.embed_dim, config.windows[0], config.windows[0])
        )
        self._position_cache = WeightCache[Tensor]()

        blocks: list[Block] = []
        width, heads, window = config.embed_dim, config.heads, config.windows[0]
        for stage, depth in enumerate(config.stages):
            for i in range(depth):
                opens = stage > 0 and i == 0
                out = width * 2 if opens else width
                heads = heads * 2 if opens else heads
                side = 0 if len(blocks) in config.global_blocks else window
                blocks.append(Block(width, out, heads, side, pooled=opens))
                # The first block of a stage still uses the windows of the stage before: it pools them.
                width, window = out, config.windows[stage]
        self.blocks = nn.ModuleList(blocks)
        self.ends = {sum(config.stages[: stage + 1]) - 1 for stage in range(4)}

    def positions(self, h: int, w: int) -> Float[Tensor, "1 c h w"]:
        """The background table resized to the map, plus the tiled window table."""
        tables = [self.position, self.window_position]
        return self._position_cache.get(tables, lambda: self._lay_out_positions(h, w), h, w)

    def _lay_out_positions(self, h: int, w: int) -> Float[Tensor, "1 c h w"]:
        side = self.window_position.shape[-1]
        tiles = self.window_position.tile(1, 1, -(-h // side), -(-w // side))[..., :h, :w]
        positions = F.interpolate(self.position, (h, w), mode="bicubic") + tiles
        return positions.contiguous(memory_format=torch.channels_last)  # in the layout of the blocks

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b c h w"]]:
        return self.run_blocks(self.patch(image), self.blocks)

    def run_blocks(
        self, patches: Float[Tensor, "b c h w"], blocks: Iterable[Callable[[Tensor], Tensor]]
    ) -> list[Float[Tensor, "_ _ _ _"]]:
        """The maps after each stage. A backend passes its own blocks."""
        x = (patches + self.positions(*patches.shape[2:])).permute(0, 2, 3, 1)
        maps = []
        for i, block in enumerate(blocks):
            x = block(x)
            if i in self.ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps
