"""Which network a file's tensors make: their layout, the config, and whether all of them are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from masklet.checkpoint.layouts import LAYOUTS, Layout, Weights, to_ours
from masklet.checkpoint.reading import list_names
from masklet.config import NANO, NANO_LITE2, TRAINABLE, Sam2Config
from masklet.errors import CheckpointError, first_line
from masklet.model import Sam2
from masklet.nn.trunks import block_count

CONFIG = "masklet"  # the key of the config in the metadata of masklet's files


def find_layout(tensors: Weights, file: str) -> Layout:
    for layout in LAYOUTS.values():
        if any(key.startswith(layout.sign) for key in tensors):
            return layout
    raise CheckpointError(f"{file} is not a SAM 2 checkpoint: no key starts with 'image_encoder.trunk'.")


def rename(tensors: Weights, layout: Layout, file: str) -> Weights:
    """Tensors with masklet's names and shapes."""
    try:
        return to_ours(tensors, layout)
    except (IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{file} is not a SAM 2 in the layout {layout.name!r}: {first_line(error)}."
        ) from error


def read_config(weights: Weights, metadata: dict[str, str], layout: Layout, file: str) -> Sam2Config:
    """The config in the file's metadata, otherwise inferred from its tensors."""
    try:
        if CONFIG in metadata:
            return Sam2Config.from_json(metadata[CONFIG])
        return infer_config(weights, layout, file)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, RecursionError) as error:
        raise CheckpointError(f"{file} does not have a valid SAM 2 config: {first_line(error)}.") from error


def infer_config(weights: Weights, layout: Layout, file: str) -> Sam2Config:
    """The config of weights with masklet's names. Fields that shapes do not show follow from the size."""

    def shape(key: str) -> torch.Size:
        if key not in weights:
            raise CheckpointError(f"{file} is not a complete SAM 2: it lacks {layout.theirs(key)}.")
        return weights[key].shape

    def read_head(base: Sam2Config) -> Sam2Config:
        return replace(
            base,
            revision="2.1" if "memory_encoder.absent" in weights else "2.0",
            channels=shape("image_encoder.lateral.0.weight")[0],
            memory_channels=shape("memory_encoder.out.weight")[0],
            memory_layers=sum(key.endswith("linear1.bias") for key in weights),
            feedforward=shape("memory_attention.layers.0.linear1.weight")[0],
            memories=shape("memory_attention.age")[0],
        )

    if "image_encoder.trunk.stem.weight" in weights:
        blocks = len({key.split(".")[3] for key in weights if key.startswith("image_encoder.trunk.blocks.")})
        for base in (NANO, NANO_LITE2):
            if blocks == block_count(base):
                return read_head(base)
        raise CheckpointError(
            f"{file} has a trunk of {blocks} blocks of convolutions, which is neither EfficientNet-Lite0 nor "
            "EfficientNet-Lite2."
        )
    embed_dim = shape("image_encoder.trunk.patch.weight")[0]
    norms = (key for key in weights if key.startswith("image_encoder.trunk") and key.endswith("norm2.bias"))
    widths = [len(weights[key]) for key in norms]
    stages = tuple(widths.count(embed_dim << stage) for stage in range(4))
    height, width = shape("image_encoder.trunk.position")[2:]
    hieras = {size: base for size, base in TRAINABLE.items() if base.trunk == "hiera"}
    for base in hieras.values():
        if (base.embed_dim, base.stages) == (embed_dim, stages):
            return replace(read_head(base), background=(height, width))
    sizes = ", ".join(f"{size}: {base.embed_dim} {base.stages}" for size, base in hieras.items())
    raise CheckpointError(
        f"{file} has a trunk {embed_dim} wide with stages {stages}, which is not a known size ({sizes}). "
        "Its windows and heads cannot be inferred from the weights: pass config=Sam2Config(...)."
    )


def check_weights(weights: Weights, config: Sam2Config, layout: Layout, file: str) -> None:
    """Every tensor that a config asks for must be there in its shape, and no other."""
    _check_count(weights, config, file)
    wanted = _expected_tensors(config, file)
    reshaped = [
        f"{layout.theirs(key)} {tuple(weights[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in weights.keys() & wanted.keys()
        if weights[key].shape != wanted[key].shape
    ]
    faults = {
        "it lacks": [layout.theirs(key) for key in wanted.keys() - weights.keys()],
        "it has the unknown tensors": [layout.theirs(key) for key in weights.keys() - wanted.keys()],
        "it has other shapes for": reshaped,
    }
    differences = "; ".join(f"{fault} {list_names(sorted(keys))}" for fault, keys in faults.items() if keys)
    if differences:
        raise CheckpointError(f"{file} does not fit a SAM 2 of its size: {differences}.")


def _check_count(weights: Weights, config: Sam2Config, file: str) -> None:
    """Raise for a config with more blocks than the file has tensors."""
    blocks = sum(config.stages) + config.memory_layers
    if blocks > len(weights):
        raise CheckpointError(
            f"{file} does not fit a SAM 2 of its size: its config has {blocks} blocks, but the file only "
            f"{len(weights)} tensors."
        )


class _Uninitialized(TorchFunctionMode):
    """Makes modules without random weights, which the meta device would draw in Python."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__module__", None) == nn.init.__name__:
            return (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


def _expected_tensors(config: Sam2Config, file: str) -> Weights:
    """The tensors that a config needs, without their memory."""
    try:
        with torch.device("meta"), _Uninitialized():
            return Sam2(config).state_dict()
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{file} does not have a valid SAM 2 config: {first_line(error)}.") from error
