"""The state of a run (network, running average and optimizer) and its checkpoint."""

from __future__ import annotations

import logging
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from masklet import checkpoint
from masklet.checkpoint.imagenet import load_imagenet
from masklet.errors import CheckpointError, first_line, whole_number
from masklet.files import atomic_write
from masklet.model import Sam2
from masklet.nn.layers import Attention
from masklet.nn.memory_attention import MemoryAttentionLayer
from masklet.nn.memory_encoder import FuserBlock
from masklet.nn.trunks import EfficientNetLite, Hiera
from masklet.train.parameters import freeze_parameters, merge_adapters, optimizer_groups
from masklet.train.recipe import Recipe

log = logging.getLogger(__name__)

STATE = "state.pt"
BROKEN = (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, TypeError, IndexError, AttributeError)


@dataclass
class TrainingState:
    """A recipe, and the state of its run.

    Attributes:
        best: The highest mean validation score so far.
    """

    recipe: Recipe
    model: Sam2
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = 0.0

    @classmethod
    def begin(cls, recipe: Recipe) -> TrainingState:
        """The state of a new run, from random weights or from those of the recipe."""
        torch.manual_seed(recipe.seed)
        model = Sam2(recipe.config)
        if recipe.start is None:
            initialise(model, recipe.layer_scale)
        else:
            model.load_state_dict(checkpoint.load(recipe.start, device="cpu").state_dict())
        freeze_parameters(model, recipe.preset)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
        groups = optimizer_groups(
            model,
            recipe.config,
            weight_decay=recipe.weight_decay,
            trunk_lr_scale=recipe.trunk_lr_scale,
            layer_decay=recipe.layer_decay,
        )
        return cls(recipe, model, average, torch.optim.AdamW(groups))

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically. A full disk is logged, and the run continues."""
        state = {
            "step": self.step,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(state, path)

    def resume(self, path: Path) -> None:
        """Load a checkpoint, to continue from it."""
        with read_state(path) as state:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            load_optimizer(self.optimizer, state["optimizer"])
            self.step = state["step"]
            self.best = state.get("best", 0.0)

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.model.to(device)
        self.average.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves its moments to their parameters

    def averaged(self) -> Sam2:
        """The running average of the weights as a plain network, without adapters."""
        model = Sam2(self.recipe.config).to(self.model.device)
        model.load_state_dict(merge_adapters(self.average.module))
        return model.eval()

    def save_weights(self, path: Path) -> bool:
        """Write the averaged weights; returns whether this succeeded. A full disk is logged."""
        try:
            checkpoint.save(self.averaged(), path)
        except CheckpointError as error:
            log.warning("%s", error)
            return False
        return True


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically. A full disk is logged, and the previous checkpoint is kept."""
    try:
        with atomic_write(path, CheckpointError) as part:
            torch.save(state, part)
    except (CheckpointError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        log.warning("step %d was not saved, %s is unchanged: %s", state["step"], path, first_line(error))


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's moments; the factors of its learning rates are those of the recipe."""
    scales = [group["lr_scale"] for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(state))
    for group, scale in zip(optimizer.param_groups, scales, strict=True):
        group["lr_scale"] = scale
        group.pop("pace", None)  # its former name, in older checkpoints


@contextmanager
def read_state(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a checkpoint. A file that is damaged or does not fit raises CheckpointError."""
    try:
        with zipfile.ZipFile(path) as parts:
            if (damaged := parts.testzip()) is not None:  # torch does not detect flipped bits
                raise ValueError(f"its part {damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        step, best = state["step"], state.get("best", 0.0)
        if whole_number(step) is None or step < 0 or not math.isfinite(best):
            raise ValueError(f"it is of step {step!r:.20} and score {best!r:.20}")
        for name, weight in {**state["model"], **state.get("average", {})}.items():
            if not torch.isfinite(weight).all():
                raise ValueError(f"{name} has values that are not finite")
        yield state
    except (*BROKEN, OSError, KeyError, RuntimeError, ValueError) as error:
        reason = first_line(error) or type(error).__name__
        raise CheckpointError(
            f"{path} is not a checkpoint of this recipe: {reason}. "
            "Choose a new folder, or the recipe that the run began with."
        ) from error


def initialise(model: Sam2, layer_scale: float = 0.1) -> None:
    """Set initial values where torch's are not suitable for training from random weights.

    A convolutional trunk starts from ImageNet weights.
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
    # If queries and keys start as the same map, a point attends to its own position in the image from the
    # first step. Otherwise, or with biases, the decoder learns the usual positions of objects long before it
    # uses the click.
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, module in decoder.named_modules():
        if isinstance(module, Attention) and not name.endswith("self_attention"):
            with torch.no_grad():
                module.q.weight.mul_(2)
                module.k.weight.copy_(module.q.weight)
    # The same over time: a query starts as the map from a feature to the key of its memory, so that an object
    # attends to itself on the previous frame.
    encoder = model.memory_encoder
    feature_to_memory = encoder.out.weight[:, :, 0, 0] @ encoder.features.weight[:, :, 0, 0]
    for layer in attention.layers:
        assert isinstance(layer, MemoryAttentionLayer)
        layer_attention = layer.memory_attention
        with torch.no_grad():
            start = layer_attention.k.weight @ feature_to_memory
            layer_attention.q.weight.copy_(start * layer_attention.q.weight.std() / start.std())
            nn.init.zeros_(layer_attention.q.bias)


def resize_model(state: TrainingState, image_size: int) -> Sam2:
    """The network for another image size, with the same parameters and saved buffers."""
    resized = Sam2(replace(state.recipe.config, image_size=image_size)).to(state.model.device)
    freeze_parameters(resized, state.recipe.preset)
    _share_weights(state.model, resized)
    return resized


def _share_weights(source: nn.Module, target: nn.Module) -> None:
    for name, child in target.named_children():
        _share_weights(source.get_submodule(name), child)
    for name, _ in target.named_parameters(recurse=False):
        setattr(target, name, getattr(source, name))
    for name in target._buffers.keys() - target._non_persistent_buffers_set:
        setattr(target, name, getattr(source, name))
