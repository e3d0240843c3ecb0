"""The image encoder: trunk and feature pyramid (SAM 2, app. D.1)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.hiera import Hiera


class ImageEncoder(nn.Module):
    """Image to the three maps that the rest of the network reads, at strides 16, 8 and 4.

    The two finer maps are used by the mask decoder alone, so they are projected for it here, once a frame.
    """

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        c = config.channels
        self.trunk = Hiera(config)
        self.lateral = nn.ModuleList(
            nn.Conv2d(config.embed_dim << stage, c, kernel_size=1) for stage in range(4)
        )
        self.to_middle = nn.Conv2d(c, c // 4, kernel_size=1)
        self.to_fine = nn.Conv2d(c, c // 8, kernel_size=1)

    def forward(
        self, image: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c2 h2 w2"], Float[Tensor, "b c4 h4 w4"]]:
        fine, middle, coarse, top = (conv(x) for conv, x in zip(self.lateral, self.trunk(image), strict=True))
        # Only stride 16 is enriched from above; strides 8 and 4 carry edges, and pass as they are.
        coarse = coarse + F.interpolate(top, scale_factor=2.0, mode="nearest")
        return coarse, self.to_middle(middle), self.to_fine(fine)
