"""The image encoder: trunk and feature pyramid (SAM 2, app. D.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.trunks import make_trunk


class ImageEncoder(nn.Module):
    """Encodes an image as the three maps that the rest of the network reads, at strides 16, 8 and 4.

    Only the mask decoder uses the two finer maps, so they are projected for it here, once per frame.
    """

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        c = config.channels
        self.trunk = make_trunk(config)
        self.lateral = nn.ModuleList(nn.Conv2d(width, c, kernel_size=1) for width in self.trunk.widths)
        self.to_middle = nn.Conv2d(c, c // 4, kernel_size=1)
        self.to_fine = nn.Conv2d(c, c // 8, kernel_size=1)

    def forward(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c2 h2 w2"], Float[Tensor, "b c4 h4 w4"]]:
        return self.build_pyramid(self.trunk(image))

    def build_pyramid(
        self, maps: Sequence[Float[Tensor, "_ _ _ _"]]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c2 h2 w2"], Float[Tensor, "b c4 h4 w4"]]:
        """The feature pyramid over the trunk's four maps."""
        fine, middle, coarse, top = maps
        # Only stride 16 gets top-down features; strides 8 and 4 are passed unchanged.
        coarse = self.lateral[2](coarse) + F.interpolate(
            self.lateral[3](top), scale_factor=2.0, mode="nearest"
        )
        return (
            coarse,
            convolve_twice(self.lateral[1], self.to_middle, middle),
            convolve_twice(self.lateral[0], self.to_fine, fine),
        )


def convolve_twice(
    first: nn.Module, second: nn.Module, x: Float[Tensor, "b i h w"]
) -> Float[Tensor, "b o h w"]:
    """Two 1x1 convolutions fused into one: on a fine map, the wide layer between them costs most."""
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
    assert first.bias is not None and second.bias is not None
    last = second.weight.flatten(1)
    weight = last @ first.weight.flatten(1)
    return F.conv2d(x, weight[..., None, None], last @ first.bias + second.bias)
