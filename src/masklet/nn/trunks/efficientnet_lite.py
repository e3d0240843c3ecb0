"""EfficientNet-Lite as a trunk: a convolutional network trained on ImageNet, its batch norms folded.

arXiv 1905.11946; the Lite networks have no squeeze-and-excitation and use ReLU6, for speed on CPUs.
`checkpoint.imagenet` loads the published weights.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD

LiteName = Literal["efficientnet-lite0", "efficientnet-lite2"]  # as in config.TrunkName

# Repeats, kernel, stride, expansion and output channels of the seven groups of blocks of Lite0.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
OUTPUT_GROUPS = (1, 2, 4, 6)  # the last groups at strides 4, 8, 16 and 32
SCALING: dict[LiteName, tuple[float, float]] = {  # factors of channels and repeats
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite2": (1.1, 1.2),
}
STEM = 32  # channels in every size; the first and last group also have the same repeats

# The network's input is normalised by ImageNet's mean and deviation; this trunk was trained with (x - 127) /
# 128.
INPUT_SCALE = tuple(255 * std / 128 for std in IMAGENET_STD)
INPUT_SHIFT = tuple((255 * mean - 127) / 128 for mean in IMAGENET_MEAN)


def scale_channels(channels: int, factor: float) -> int:
    """Channels of a larger network: a multiple of 8, and not much less than the exact number.

    >>> [scale_channels(channels, 1.1) for channels in (16, 24, 40, 320)]
    [16, 24, 48, 352]
    """
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's padding: at stride 2, one pixel more at the right and the bottom."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels, out, kernel, stride, padding, groups=groups)
        before = (kernel - 2) // 2
        self.border = (before, kernel - 2 - before) * 2 if stride == 2 else None

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        return super().forward(x if self.border is None else F.pad(x, self.border))


def clip(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """ReLU6; in place if no gradients are needed, which saves a sixth of the trunk's time."""
    return F.relu6(x, inplace=not torch.is_grad_enabled())


class InvertedResidual(nn.Module):
    """An inverted residual block: expand, depthwise convolution, project; added to the input if the shape is
    the same."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.expand = nn.Conv2d(channels, hidden, kernel_size=1) if expansion > 1 else None
        self.depthwise = Conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, out, kernel_size=1)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        y = x if self.expand is None else clip(self.expand(x))
        y = self.project(clip(self.depthwise(y)))
        return x + y if self.residual else y


class ChannelAffine(nn.Module):
    """A scale and a shift for each channel, which are measured or computed once and not trained."""

    scale: Tensor
    shift: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("shift", torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return torch.addcmul(self.shift[:, None, None], x, self.scale[:, None, None])


class EfficientNetLite(nn.Module):
    """Encodes an image as four maps, at strides 4, 8, 16 and 32.

    Attributes:
        outputs: Scale each map's channels to a mean of about 0 and a deviation of about 1.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, name: LiteName) -> None:
        super().__init__()
        self.name: LiteName = name
        wider, deeper = SCALING[name]
        self.stem = Conv(3, STEM, kernel=3, stride=2)
        blocks: list[nn.Module] = []
        ends, widths, channels = [], [], STEM
        for group, (repeats, kernel, stride, expansion, width) in enumerate(GROUPS):
            out = scale_channels(width, wider)
            times = repeats if group in (0, len(GROUPS) - 1) else math.ceil(repeats * deeper)
            for repeat in range(times):
                blocks.append(InvertedResidual(channels, out, kernel, 1 if repeat else stride, expansion))
                channels = out
            if group in OUTPUT_GROUPS:
                ends.append(len(blocks) - 1)
                widths.append(out)
        self.blocks = nn.ModuleList(blocks)
        self.ends, self.widths = tuple(ends), tuple(widths)
        self.outputs = nn.ModuleList(ChannelAffine(width) for width in self.widths)
        for buffer, values in (("input_scale", INPUT_SCALE), ("input_shift", INPUT_SHIFT)):
            self.register_buffer(
                buffer, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False
            )

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b c h w"]]:
        x = torch.addcmul(self.input_shift, image, self.input_scale)
        x = clip(self.stem(x.contiguous(memory_format=torch.channels_last)))
        maps: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                maps.append(self.outputs[len(maps)](x))
        return maps
