"""Pre-training of Hiera, the trunk, by masked auto-encoding: recipe, state and loop.

The images need no labels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from masklet import checkpoint
from masklet.config import Sam2Config
from masklet.model import Sam2
from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD, tensor_on
from masklet.train.batches import prefetch
from masklet.train.loop import LAST, SAVE_EVERY, VALIDATION, GradientGuard, LogRow
from masklet.train.masked_autoencoder import MaskedAutoencoder, UnitGrid
from masklet.train.parameters import optimizer_groups
from masklet.train.state import STATE, initialise, load_optimizer, read_state, save_state
from masklet.transforms import normalize

Square = UInt8[np.ndarray, "S S 3"]


@dataclass(frozen=True)
class PretrainingRecipe:
    """Everything that determines a pre-training run.

    Attributes:
        config: The config of the network with this trunk; its image size is that of the crops.
        source: Maps an image's number to the image.
        images: Images per batch and process.
        validation: Images for validation and for the report.
        start: Weights whose trunk is trained further; None starts from random weights.
        learning_rate: The peak; it falls to zero as a cosine.
        width, depth: The decoder's width and depth.
        every: Steps between two validations.
    """

    config: Sam2Config
    source: Callable[[int], Square]
    images: int
    validation: Sequence[Square]
    steps: int
    learning_rate: float
    start: str | None = None
    seed: int = 0
    warmup: int = 200
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    width: int = 256
    depth: int = 4
    every: int = 200

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * cosine * min(1.0, (step + 1) / self.warmup)

    def draw(self, step: int, process: int) -> tuple[UInt8[Tensor, "b S S 3"], Bool[Tensor, "b units"]]:
        """Draw a step's images for a process, and their hidden units, as a function of the step."""
        rng = np.random.default_rng([self.seed, step, process])
        numbers = rng.integers(2**40, size=self.images).tolist()
        images = torch.from_numpy(np.stack([self.source(number) for number in numbers]))
        generator = torch.Generator().manual_seed(int(rng.integers(2**40)))
        return images, UnitGrid.of(self.config).hide(len(images), generator)


@dataclass
class PretrainingState:
    """A pre-training recipe, and the state of its run."""

    recipe: PretrainingRecipe
    network: MaskedAutoencoder
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def begin(cls, recipe: PretrainingRecipe) -> PretrainingState:
        torch.manual_seed(recipe.seed)
        network = MaskedAutoencoder(recipe.config, recipe.width, recipe.depth)
        if recipe.start is not None:
            trunk = checkpoint.load(recipe.start, device="cpu").image_encoder.trunk
            network.trunk.load_state_dict(trunk.state_dict())
        groups = optimizer_groups(
            network, recipe.config, weight_decay=recipe.weight_decay, trunk_lr_scale=1.0, layer_decay=1.0
        )
        return cls(recipe, network, torch.optim.AdamW(groups, betas=(0.9, 0.95)))

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically. A full disk is logged, and the run continues."""
        parts = {"model": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_state({"step": self.step, **parts}, path)

    def resume(self, path: Path) -> None:
        """Load a checkpoint, to continue from it."""
        with read_state(path) as state:
            self.network.load_state_dict(state["model"])
            load_optimizer(self.optimizer, state["optimizer"])
            self.step = state["step"]

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.network.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves its moments to their parameters

    def make_model(self) -> Sam2:
        """A network to start interactive training from: the trained trunk, and random weights elsewhere."""
        torch.manual_seed(self.recipe.seed)
        model = Sam2(self.recipe.config)
        initialise(model)
        model.image_encoder.trunk.load_state_dict(self.network.trunk.state_dict())
        return model

    @torch.inference_mode()
    def reconstruct(self, count: int) -> list[tuple[Square, Square, Square]]:
        """Validation images: whole, with their visible units only, and reconstructed."""
        images, hidden = self._mask(self.recipe.validation[:count])
        units = self.network.grid.cut(images.permute(0, 2, 3, 1))
        visible = self.network.grid.join(units * ~hidden[:, :, None, None, None])
        parts = (images, visible.permute(0, 3, 1, 2), self.network.reconstruct(images, hidden))
        return list(zip(*map(_to_images, parts), strict=True))

    @torch.inference_mode()
    def validate(self) -> float:
        """The loss on the validation images, with the same units hidden every time."""
        return float(self.network.loss(*self._mask(self.recipe.validation)))

    def _mask(self, images: Sequence[Square]) -> tuple[Float[Tensor, "b 3 S S"], Bool[Tensor, "b units"]]:
        device = self.network.placeholder.device
        hidden = self.network.grid.hide(len(images), torch.Generator().manual_seed(0))
        return normalize(torch.from_numpy(np.stack(images)).to(device)), hidden.to(device)


def _to_images(images: Float[Tensor, "b 3 S S"]) -> UInt8[np.ndarray, "b S S 3"]:
    mean, std = (tensor_on(images.device, values, torch.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (images.permute(0, 2, 3, 1) * std + mean).clamp(0, 1) * 255
    return pixels.round().byte().cpu().numpy()


class _ReconstructionLoss(nn.Module):
    """The loss as a module, which DistributedDataParallel and autocast can wrap."""

    def __init__(self, network: MaskedAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: UInt8[Tensor, "b S S 3"], hidden: Bool[Tensor, "b units"]) -> Float[Tensor, ""]:
        return self.network.loss(normalize(images), hidden)


def pretrain(
    state: PretrainingState,
    out: Path,
    *,
    save_every: int = SAVE_EVERY,
    precision: str = "no",
    workers: int = 0,
) -> Iterator[LogRow]:
    """Pre-train to the recipe's end, and yield a row for the log after every step and every validation.

    Args:
        out: The folder for state.pt, from which a killed run resumes, and at the end model.safetensors, a
            network from which interactive training starts.
    """
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    accelerator = Accelerator(mixed_precision=precision)
    state.to(accelerator.device)
    recipe, main, guard = state.recipe, accelerator.is_main_process, GradientGuard()
    reconstruction_loss = accelerator.prepare(_ReconstructionLoss(state.network))
    draw = partial(recipe.draw, process=accelerator.process_index)
    if state.step == 0 and main:
        yield {"step": 0, f"{VALIDATION}loss": state.validate()}
    start = time.perf_counter()
    for images, hidden in prefetch(draw, range(state.step, recipe.steps), workers):
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(state.step)
        with accelerator.autocast():
            loss = reconstruction_loss(images.to(accelerator.device), hidden.to(accelerator.device))
        accelerator.backward(loss)
        norm = float(accelerator.clip_grad_norm_(state.network.parameters(), recipe.clip_norm))
        mean_loss = float(accelerator.reduce(loss.detach(), "mean"))
        if guard.accepts(norm, mean_loss, state.step):
            state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        guard.check(state.step)
        seconds = time.perf_counter() - start
        yield {
            "step": state.step,
            "rate": recipe.learning_rate_at(state.step - 1),
            "loss": mean_loss,
            "norm": norm,
            "seconds": seconds,
        }
        ends = state.step == recipe.steps
        if main and (ends or state.step % recipe.every == 0):
            yield {"step": state.step, f"{VALIDATION}loss": state.validate()}
        if main and (ends or state.step % save_every == 0):
            state.save(out / STATE)
        start = time.perf_counter()
    if main:
        checkpoint.save(state.make_model(), out / LAST)
