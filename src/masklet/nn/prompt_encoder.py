"""The prompt encoder: points, boxes and masks become tokens and a map.

Segment Anything, app. A; SAM 2, app. D.1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.layers import LayerNorm2d, WeightCache, on_meta_device
from masklet.prompts import PADDING


def cell_centres(side: int) -> Float[Tensor, "n 2"]:
    """The centre (x, y) of each cell of a map, row by row, in the unit square."""
    if on_meta_device():
        return torch.empty(side * side, 2)
    centres = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    return torch.stack([centres.repeat(side), centres.repeat_interleave(side)], dim=-1)


class PromptEncoder(nn.Module):
    """Encodes prompts in model pixels as tokens, and a hint as a map that is added to the image."""

    frequencies: Tensor
    grid: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        c = config.channels
        self.image_size = config.image_size
        self.register_buffer("frequencies", nn.init.normal_(torch.empty(2, c // 2)))
        self.labels = nn.Embedding(4, c)
        self.padding = nn.Embedding(1, c)
        self.no_hint = nn.Embedding(1, c)
        self.hint = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, c, kernel_size=1),
        )
        # A user's mask, at the model's full size, is converted to a hint.
        self.mask_to_hint = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.register_buffer("grid", cell_centres(config.grid), persistent=False)
        self._position_cache = WeightCache[Tensor]()

    def position(self, xy: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n c"]:
        """Random Fourier features of positions in the unit square."""
        # Always in float32: half precision would round a position to whole pixels.
        angles = 2 * math.pi * ((2 * xy.float() - 1) @ self.frequencies.float())
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.labels.weight.dtype)

    def image_position(self) -> Float[Tensor, "n c"]:
        """The position of every cell of the coarse map, row by row."""
        dtype = self.labels.weight.dtype
        return self._position_cache.get([self.frequencies], lambda: self.position(self.grid), dtype)

    def points(self, points: Float[Tensor, "b p 2"], labels: Int[Tensor, "b p"]) -> Float[Tensor, "b q c"]:
        """Encode points and labels as tokens, followed by a padding token as in the published predictors."""
        points = torch.cat([points, points.new_zeros(points.shape[0], 1, 2)], dim=1)
        labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), PADDING)], dim=1)
        # Half a pixel: a click is at the centre of its pixel.
        position = self.position((points + 0.5) / self.image_size)
        labelled = position + self.labels(labels.clamp(min=0))
        return torch.where((labels == PADDING)[..., None], self.padding.weight, labelled)

    def forward(
        self,
        points: Float[Tensor, "b p 2"],
        labels: Int[Tensor, "b p"],
        hint: Float[Tensor, "b h4 w4"] | None,
    ) -> tuple[Float[Tensor, "b q c"], Float[Tensor, "#b c #h #w"]]:
        dense = self.no_hint.weight[:, :, None, None] if hint is None else self.hint(hint[:, None])
        return self.points(points, labels), dense
