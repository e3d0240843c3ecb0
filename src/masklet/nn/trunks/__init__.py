"""Trunks: modules that turn an image into four maps, at strides 4, 8, 16 and 32. A config names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.trunks.efficientnet_lite import EfficientNetLite
from masklet.nn.trunks.hiera import Hiera

__all__ = ["EfficientNetLite", "Hiera", "Trunk", "block_count", "make_trunk"]


class Trunk(Protocol):
    """A trunk, which is an `nn.Module`.

    Attributes:
        widths: Channels of its four maps.
        blocks: Its blocks in the order in which they run; the layers before them count as one more.
    """

    widths: tuple[int, ...]
    blocks: nn.ModuleList

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b c h w"]]:
        """The four maps, from the finest to the coarsest."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


def make_trunk(config: Sam2Config) -> Trunk:
    """The trunk of a config, with random weights."""
    if config.trunk == "hiera":
        return Hiera(config)
    return EfficientNetLite(config.trunk)


def block_count(config: Sam2Config) -> int:
    """The number of blocks of a config's trunk."""
    if config.trunk == "hiera":
        return sum(config.stages)
    with torch.device("meta"):
        return len(EfficientNetLite(config.trunk).blocks)
