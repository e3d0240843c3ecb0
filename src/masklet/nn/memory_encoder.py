"""The memory encoder: a frame's features and an object's mask become memory tokens (SAM 2, app. D.1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.layers import MLP, LayerNorm2d


class FuserBlock(nn.Module):
    """A ConvNeXt block with layer scale (arXiv 2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.mlp = MLP((channels, 4 * channels, channels), nn.GELU)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = self.mlp(self.norm(self.depthwise(x)).permute(0, 2, 3, 1))
        return x + (self.scale * y).permute(0, 3, 1, 2)


class MemoryEncoder(nn.Module):
    """Encodes features and mask as memory tokens: the mask is downsampled to the features' size and added to
    them."""

    position: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        c = config.channels
        # Four steps that halve the size and multiply the channels by four; then the features' channels.
        widths = [1, 4, 16, 64, 256]
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Conv2d(i, o, kernel_size=3, stride=2, padding=1), LayerNorm2d(o), nn.GELU()]
        self.mask = nn.Sequential(*layers, nn.Conv2d(256, c, kernel_size=1))
        self.features = nn.Conv2d(c, c, kernel_size=1)
        self.fuser = nn.ModuleList(FuserBlock(c) for _ in range(2))
        self.out = nn.Conv2d(c, config.memory_channels, kernel_size=1)
        if config.revision == "2.1":
            self.absent = nn.Parameter(torch.zeros(1, config.memory_channels))

    def forward(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        """Encode masks.

        Args:
            mask: Already scaled, at the network's full size.
            score: Object score logits.
        """
        x = self.features(coarse) + self.mask(mask[:, None])
        for block in self.fuser:
            x = block(x)
        return self.mark_absent(self.out(x).flatten(2).transpose(1, 2), score)

    def mark_absent(
        self, tokens: Float[Tensor, "b n d"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        """Memory tokens; if the object is absent, a learned vector is added."""
        if hasattr(self, "absent"):
            tokens = tokens + self.absent * (score <= 0)[:, None, None]
        return tokens
