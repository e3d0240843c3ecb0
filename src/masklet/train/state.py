"""A run in progress: network, running average and optimiser, and the checkpoint that holds them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from masklet import checkpoint
from masklet.checkpoint.imagenet import load_imagenet
from masklet.errors import CheckpointError
from masklet.files import atomic_write
from masklet.model import Sam2
from masklet.nn.layers import Attention
from masklet.nn.memory_attention import MemoryAttentionLayer
from masklet.nn.memory_encoder import FuserBlock
from masklet.nn.trunks import EfficientNetLite, Hiera
from masklet.train.lora import merged
from masklet.train.presets import groups, prepare
from masklet.train.recipe import Recipe

log = logging.getLogger(__name__)

STATE = "state.pt"


@dataclass
class Run:
    """What a recipe has become so far."""

    recipe: Recipe
    model: Sam2
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = 0.0

    @classmethod
    def begin(cls, recipe: Recipe) -> Run:
        """A new run, from nothing or from the weights that the recipe starts with."""
        torch.manual_seed(recipe.seed)
        model = Sam2(recipe.config)
        if recipe.start is None:
            initialise(model, recipe.layer_scale)
        else:
            model.load_state_dict(checkpoint.load(recipe.start, device="cpu").state_dict())
        prepare(model, recipe.preset)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
        learning = groups(
            model,
            recipe.config,
            weight_decay=recipe.weight_decay,
            trunk_pace=recipe.trunk_pace,
            layer_decay=recipe.layer_decay,
        )
        return cls(recipe, model, average, torch.optim.AdamW(learning))

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all. Where it cannot be written, the run goes on without."""
        state = {
            "step": self.step,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(state, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        with resuming(path) as state:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            self.best = state.get("best", 0.0)

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.model.to(device)
        self.average.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves its moments to their parameters

    def averaged(self) -> Sam2:
        """The running average of the weights as a plain network, without adapters."""
        plain = Sam2(self.recipe.config).to(self.model.device)
        plain.load_state_dict(merged(self.average.module))
        return plain.eval()

    def publish(self, path: Path) -> None:
        """Write the averaged weights as a file that masklet.load takes; a full disk does not end the run."""
        publish(self.averaged(), path)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all; a full disk is reported, and the one before stays."""
    try:
        with atomic_write(path, CheckpointError) as part:
            torch.save(state, part)
    except (CheckpointError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        log.warning("step %d is not saved, %s stays as it was: %s", state["step"], path, _first_line(error))


@contextmanager
def resuming(path: Path) -> Iterator[dict[str, Any]]:
    """A checkpoint's content; where it cannot be read or does not fit, the error says what to do."""
    try:
        yield torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint of this recipe: {_first_line(error)}. "
            "Give the run a folder of its own, or the recipe that it began with."
        ) from error


def publish(model: Sam2, path: Path) -> None:
    """Write weights as a file that masklet.load takes; a full disk is reported and does not end the run."""
    try:
        checkpoint.save(model, path)
    except CheckpointError as error:
        log.warning("%s", error)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def initialise(model: Sam2, layer_scale: float = 0.1) -> None:
    """Start values where torch's own do not suit a network that is trained from nothing.

    A trunk of convolutions begins with what it learned from ImageNet.
    """
    for block in model.memory_encoder.fuser:
        assert isinstance(block, FuserBlock)
        nn.init.constant_(block.scale, layer_scale)
    attention, trunk, decoder = model.memory_attention, model.image_encoder.trunk, model.mask_decoder
    tables = [attention.age, attention.no_memory]
    if isinstance(trunk, Hiera):
        tables += [trunk.position, trunk.window_position]
    if isinstance(trunk, EfficientNetLite):
        load_imagenet(trunk)
    for table in tables:
        nn.init.trunc_normal_(table, std=0.02)
    nn.init.trunc_normal_(decoder.absent_pointer, std=0.02)
    # Queries and keys that start as one map let a point find its own place in the image from the first step.
    # Without this, and with biases, the decoder learns where things usually are long before it heeds a click.
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, module in decoder.named_modules():
        if isinstance(module, Attention) and not name.endswith("self_attention"):
            with torch.no_grad():
                module.q.weight.mul_(2)
                module.k.weight.copy_(module.q.weight)
    # Likewise over time: a query starts as what a feature becomes on its way into a memory's key, so that an
    # object finds itself on the frame before.
    encoder = model.memory_encoder
    way_in = encoder.out.weight[:, :, 0, 0] @ encoder.features.weight[:, :, 0, 0]
    for layer in attention.layers:
        assert isinstance(layer, MemoryAttentionLayer)
        look = layer.memory_attention
        with torch.no_grad():
            start = look.k.weight @ way_in
            look.q.weight.copy_(start * look.q.weight.std() / start.std())
            nn.init.zeros_(look.q.bias)


def sized(run: Run, image_size: int) -> Sam2:
    """The run's network for another image size: it uses the same parameters and saved buffers."""
    other = Sam2(replace(run.recipe.config, image_size=image_size)).to(run.model.device)
    prepare(other, run.recipe.preset)
    _share_weights(run.model, other)
    return other


def _share_weights(source: nn.Module, target: nn.Module) -> None:
    for name, child in target.named_children():
        _share_weights(source.get_submodule(name), child)
    for name, _ in target.named_parameters(recurse=False):
        setattr(target, name, getattr(source, name))
    for name in target._buffers.keys() - target._non_persistent_buffers_set:
        setattr(target, name, getattr(source, name))
