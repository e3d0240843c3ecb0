"""The trained parameters and their learning rates: presets, LoRA adapters, and the optimizer's parameter
groups."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal, TypeGuard, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from masklet.config import Sam2Config
from masklet.nn.trunks import block_count

Preset = Literal["decoder", "memory", "everything", "lora"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

# The prefixes of the modules that a preset trains; "lora" adds an adapter to every linear layer instead.
TRAINED_MODULES: dict[Preset, tuple[str, ...]] = {
    "decoder": ("mask_decoder", "prompt_encoder"),
    "memory": ("mask_decoder", "prompt_encoder", "memory_attention", "memory_encoder"),
    "everything": ("",),
}
TABLES = {"position", "window_position", "age"}  # learned positions: they have no weight decay
LORA_RANK = 8


def freeze_parameters(model: nn.Module, preset: Preset) -> None:
    """Freeze the parameters that a preset does not train; for LoRA, add the adapters."""
    if preset == "lora":
        add_adapters(model)
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED_MODULES[preset]))


def trains_trunk(preset: Preset) -> bool:
    """Whether the features of an image change during a run."""
    return preset in ("everything", "lora")


def optimizer_groups(
    model: nn.Module, config: Sam2Config, *, weight_decay: float, trunk_lr_scale: float, layer_decay: float
) -> list[dict[str, Any]]:
    """The trainable parameters as groups for an optimizer.

    Weight decay applies to matrices and kernels, not to biases, norms, tables and single vectors. `lr_scale`
    is the factor on the learning rate: lower for the image encoder than for the rest, and lower for the
    trunk's early blocks than for its last.
    """
    blocks = block_count(config)
    by_setting: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 and name.split(".")[-1] not in TABLES else 0.0
            scale = trunk_lr_scale if name.startswith("image_encoder") else 1.0
            by_setting[decay, scale * layer_decay ** _blocks_above(name, blocks)].append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), parameters in by_setting.items()
    ]


def _blocks_above(name: str, blocks: int) -> int:
    """The number of trunk blocks after a parameter; the tables are exempt, as in the published code."""
    if not name.startswith("image_encoder.trunk") or name.split(".")[-1] in TABLES:
        return 0
    return blocks - int(name.split(".")[3]) if ".blocks." in name else blocks + 1


class LowRank(nn.Module):
    """A LoRA adapter (arXiv 2106.09685): adds a product of two thin matrices, zero at the start, to a weight.

    As a parametrization it keeps the layer, so that the network's verbs run unchanged.
    """

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Float[Tensor, "o i *one"]) -> Float[Tensor, "o i *one"]:
        return weight + (self.up @ self.down).view_as(weight)


def add_adapters(model: nn.Module, rank: int = LORA_RANK) -> None:
    """Add an adapter to every linear layer, and freeze everything else."""
    model.requires_grad_(False)
    for layer in [module for name, module in model.named_modules() if _is_linear(name, module)]:
        rows, columns = layer.weight.shape[:2]
        adapter = LowRank(rows, columns, rank).to(layer.weight)
        parametrize.register_parametrization(layer, "weight", adapter)


def _is_linear(name: str, module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Linear layers, and in a convolutional trunk the 1 x 1 convolutions."""
    if isinstance(module, nn.Conv2d):
        return ".trunk." in name and module.kernel_size == (1, 1)
    return isinstance(module, nn.Linear)


def merge_adapters(model: nn.Module) -> dict[str, Tensor]:
    """The weights with the adapters added, under the names of a network without adapters."""
    weights = {
        name: tensor for name, tensor in model.state_dict().items() if ".parametrizations." not in name
    }
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer):
            weights[f"{name}.weight"] = layer.weight.detach()
    return weights
