"""Masked auto-encoding: Hiera sees some units of an image, and a decoder reconstructs the others.

A unit is a square of pixels that is one token of the trunk's last stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.trunks.hiera import Block, Hiera, from_windows, to_windows

UNIT = 32
TOKENS = 8  # cells of the first stage along a unit's side
HIDDEN = 0.6  # fraction of the units


@dataclass(frozen=True)
class UnitGrid:
    """The units of a square image, counted window by window and, within a window, row by row.

    Attributes:
        size: Side of the image, in pixels.
        reach: Units along the side of a window in the last two stages.
    """

    size: int
    reach: int

    @classmethod
    def of(cls, config: Sam2Config) -> UnitGrid:
        if config.trunk != "hiera":
            raise ValueError(
                f"masked auto-encoding needs the windows of Hiera, and {config.trunk} has none. Skip "
                "pre-training: it starts from ImageNet weights."
            )
        first, second, third, fourth = config.windows
        if (first, second) != (TOKENS, TOKENS // 2) or third != 2 * fourth:
            raise ValueError(
                f"windows must be (8, 4, 2 n, n) for masked auto-encoding. Got {config.windows}."
            )
        if config.image_size % (UNIT * fourth):
            raise ValueError(
                f"image_size must be a multiple of {UNIT * fourth}, the side of a window in the last stage. "
                f"Got {config.image_size}."
            )
        return cls(config.image_size, fourth)

    @property
    def units(self) -> int:
        return (self.size // UNIT) ** 2

    @property
    def visible(self) -> int:
        """Units of each window that stay visible."""
        return self.reach**2 - round(HIDDEN * self.reach**2)

    def hide(self, b: int, rng: torch.Generator) -> Bool[Tensor, "b units"]:
        """Choose hidden units at random, the same number in each window."""
        noise = torch.rand(b, self.units // self.reach**2, self.reach**2, generator=rng, device=rng.device)
        return (noise.argsort(dim=2).argsort(dim=2) >= self.visible).flatten(1)

    def cut(self, x: Float[Tensor, "b H W c"]) -> Float[Tensor, "b units h w c"]:
        """A map of any stride, unit by unit."""
        side = x.shape[1] * UNIT // self.size
        return to_windows(to_windows(x, side * self.reach), side).unflatten(0, (len(x), -1))

    def join(self, units: Float[Tensor, "b units h w c"]) -> Float[Tensor, "b H W c"]:
        """The map that was cut."""
        side = units.shape[2]
        windows = from_windows(units.flatten(0, 1), side * self.reach, side * self.reach)
        return from_windows(windows, self.size * side // UNIT, self.size * side // UNIT)


class MaskedAutoencoder(nn.Module):
    """Hiera, the fusion of its four maps into one token for each visible unit, and the decoder.

    Args:
        width, depth: The decoder's width and depth.
    """

    def __init__(self, config: Sam2Config, width: int, depth: int) -> None:
        super().__init__()
        self.grid = UnitGrid.of(config)
        self.trunk = Hiera(config)
        self.blocks, self.spans = _open_windows(self.trunk)
        self.fuse = nn.ModuleList(
            nn.Linear((config.embed_dim << stage) * (TOKENS >> stage) ** 2, width) for stage in range(4)
        )
        self.fused = nn.LayerNorm(width)
        self.placeholder = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(torch.zeros(1, self.grid.units, width))
        layer = nn.TransformerEncoderLayer(
            width, width // 32, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.paint = nn.Linear(width, UNIT * UNIT * 3)
        for table in (self.trunk.position, self.trunk.window_position, self.placeholder, self.position):
            nn.init.trunc_normal_(table, std=0.02)

    def encode_visible(
        self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]
    ) -> list[Float[Tensor, "visible h w c"]]:
        """The trunk's four maps on the visible units, one image after the other."""
        visible = ~hidden
        pixels = self.grid.join(visible[:, :, None, None, None].float()).repeat_interleave(UNIT, 1)
        # The first convolution reaches three pixels beyond a unit, so hidden pixels are set to zero before
        # it.
        x = self.trunk.patch(image * pixels.repeat_interleave(UNIT, 2).permute(0, 3, 1, 2))
        x = (x + self.trunk.positions(*x.shape[2:])).permute(0, 2, 3, 1)
        x = self.grid.cut(x)[visible]
        in_image = len(x) // len(image)
        in_window = in_image * self.grid.reach**2 // self.grid.units
        maps = []
        for i, (block, span) in enumerate(zip(self.blocks, self.spans, strict=True)):
            n = {0: in_image, 1: 1, self.grid.reach: in_window}[span]
            x = block(x.unflatten(0, (-1, n)).flatten(1, 2))  # units that attend to each other, as a strip
            x = x.unflatten(1, (n, -1)).flatten(0, 1)
            if i in self.trunk.ends:
                maps.append(x)
        return maps

    def forward(
        self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]
    ) -> Float[Tensor, "b units pixels"]:
        """Predict every unit's pixels, in the form of `targets`, from the visible units."""
        parts = [
            fuse(x.flatten(1)) for fuse, x in zip(self.fuse, self.encode_visible(image, hidden), strict=True)
        ]
        tokens = self.fused(torch.stack(parts).sum(dim=0))
        tokens = self.placeholder.expand(*hidden.shape, -1).masked_scatter(~hidden[:, :, None], tokens)
        return self.paint(self.decoder(tokens + self.position))

    def targets(
        self, image: Float[Tensor, "b 3 S S"]
    ) -> tuple[Float[Tensor, "b units pixels"], Tensor, Tensor]:
        """Every unit's pixels, standardized; and their means and standard deviations."""
        pixels = self.grid.cut(image.permute(0, 2, 3, 1)).flatten(2)
        mean, deviation = pixels.mean(dim=2, keepdim=True), (pixels.var(dim=2, keepdim=True) + 1e-6).sqrt()
        return (pixels - mean) / deviation, mean, deviation

    def loss(self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]) -> Float[Tensor, ""]:
        """Mean squared error of the hidden units."""
        return (self(image, hidden).float() - self.targets(image)[0]).square().mean(dim=2)[hidden].mean()

    def reconstruct(
        self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]
    ) -> Float[Tensor, "b 3 S S"]:
        """The image with its hidden units reconstructed, each with its true mean and standard deviation."""
        pixels, mean, deviation = self.targets(image)
        units = torch.where(hidden[:, :, None], self(image, hidden), pixels) * deviation + mean
        return self.grid.join(units.unflatten(2, (UNIT, UNIT, 3))).permute(0, 3, 1, 2)


def _open_windows(trunk: Hiera) -> tuple[list[Block], list[int]]:
    """A trunk's blocks, and the number of units that each spans along a side; 0 means all.

    The blocks are changed to attend over their whole input, since the units of a window are gathered before.
    """
    blocks, spans, tokens = [], [], TOKENS
    for block in trunk.blocks:
        assert isinstance(block, Block)
        blocks.append(block)
        spans.append(block.window // tokens)
        block.window = 0
        tokens = tokens // 2 if block.pooled else tokens
    return blocks, spans
