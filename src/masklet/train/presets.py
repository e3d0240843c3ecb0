"""Which parts of a network learn, and at what pace."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal, get_args

from torch import nn

from masklet.config import Sam2Config
from masklet.nn.trunks import block_count
from masklet.train.lora import adapt

Preset = Literal["decoder", "memory", "everything", "lora"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

# By its modules' names, what learns; "lora" instead adds an adapter to every linear layer.
LEARNS: dict[Preset, tuple[str, ...]] = {
    "decoder": ("mask_decoder", "prompt_encoder"),
    "memory": ("mask_decoder", "prompt_encoder", "memory_attention", "memory_encoder"),
    "everything": ("",),
}
TABLES = {"position", "window_position", "age"}  # learned positions: they have no weight decay


def prepare(model: nn.Module, preset: Preset) -> None:
    """Freeze what a preset does not let learn; for LoRA, add the adapters."""
    if preset == "lora":
        adapt(model)
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(LEARNS[preset]))


def trunk_learns(preset: Preset) -> bool:
    """Whether features of the same image change during a run."""
    return preset in ("everything", "lora")


def groups(
    model: nn.Module, config: Sam2Config, *, weight_decay: float, trunk_pace: float, layer_decay: float
) -> list[dict[str, Any]]:
    """The parameters that learn, as groups for an optimiser.

    Weight decay goes to matrices and kernels, not to biases, norms, tables and single vectors. `pace` is what
    the learning rate is to be multiplied by: the image encoder may learn more slowly than the rest, and the
    trunk's early blocks more slowly than its last.
    """
    blocks = block_count(config)
    found: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 and name.split(".")[-1] not in TABLES else 0.0
            pace = trunk_pace if name.startswith("image_encoder") else 1.0
            found[decay, pace * layer_decay ** _height(name, blocks)].append(parameter)
    return [{"params": each, "weight_decay": decay, "pace": pace} for (decay, pace), each in found.items()]


def _height(name: str, blocks: int) -> int:
    """How many blocks of the trunk lie above a parameter; the tables are exempt, as in the published code."""
    if not name.startswith("image_encoder.trunk") or name.split(".")[-1] in TABLES:
        return 0
    return blocks - int(name.split(".")[3]) if ".blocks." in name else blocks + 1
