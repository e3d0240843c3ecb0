"""An engine is made of weights, and lasts as long as they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from masklet.model import Engine
from masklet.nn.layers import Kept


class Current:
    """Runs a module's engine, made when it is first wanted and again when the module's weights have changed.

    Where the weights have gone where engines are not at home, to a GPU or to half precision, the module runs.
    """

    def __init__(self, module: nn.Module, make: Callable[[], Engine]) -> None:
        self.module, self.make = module, make
        self._kept = Kept[Engine]()

    def __call__(self, *args: Any) -> Any:
        weights = list(self.module.parameters())
        if any(weight.dtype != torch.float32 or weight.device.type != "cpu" for weight in weights):
            return self.module(*args)
        return self._kept.get(weights, self.make)(*args)
