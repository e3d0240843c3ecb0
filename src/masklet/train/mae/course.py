"""A run of pre-training: what it is a function of, its state, and its loop."""

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
from masklet.train.early_stopping import Patience
from masklet.train.loop import LAST, SAVE_EVERY, Row
from masklet.train.mae.network import Grid, MaskedAutoencoder
from masklet.train.prefetch import ahead
from masklet.train.presets import groups
from masklet.train.rollout import normalised
from masklet.train.state import STATE, initialise, publish, resuming, save_state
from masklet.transforms import MEAN, STD

Picture = UInt8[np.ndarray, "S S 3"]


@dataclass(frozen=True)
class Pretraining:
    """Everything that a run of pre-training is a function of.

    config : of the network that the trunk is for; its image size is that of the crops
    source : makes the picture of a number
    pictures : in a batch, for each process
    held_back : what to measure on, and to show
    start : weights whose trunk goes on learning; None begins from nothing
    rate : the learning rate at its highest; it falls to nothing as a cosine
    width, depth : of the decoder
    every : steps between two measurements
    """

    config: Sam2Config
    source: Callable[[int], Picture]
    pictures: int
    held_back: Sequence[Picture]
    steps: int
    rate: float
    start: str | None = None
    seed: int = 0
    warmup: int = 200
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    width: int = 256
    depth: int = 4
    every: int = 200

    def at(self, step: int) -> float:
        """The learning rate of a step."""
        falls = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * falls * min(1.0, (step + 1) / self.warmup)

    def draw(self, step: int, process: int) -> tuple[UInt8[Tensor, "b S S 3"], Bool[Tensor, "b units"]]:
        """A step's pictures for a process, and what of them is hidden: a function of the step."""
        rng = np.random.default_rng([self.seed, step, process])
        numbers = rng.integers(2**40, size=self.pictures).tolist()
        images = torch.from_numpy(np.stack([self.source(number) for number in numbers]))
        chance = torch.Generator().manual_seed(int(rng.integers(2**40)))
        return images, Grid.of(self.config).hide(len(images), chance)


@dataclass
class Pretrained:
    """What a run of pre-training has become so far."""

    recipe: Pretraining
    network: MaskedAutoencoder
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def begin(cls, recipe: Pretraining) -> Pretrained:
        torch.manual_seed(recipe.seed)
        network = MaskedAutoencoder(recipe.config, recipe.width, recipe.depth)
        if recipe.start is not None:
            trunk = checkpoint.load(recipe.start, device="cpu").image_encoder.trunk
            network.trunk.load_state_dict(trunk.state_dict())
        learning = groups(
            network, recipe.config, weight_decay=recipe.weight_decay, trunk_pace=1.0, layer_decay=1.0
        )
        return cls(recipe, network, torch.optim.AdamW(learning, betas=(0.9, 0.95)))

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all. Where it cannot be written, the run goes on without."""
        parts = {"model": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_state({"step": self.step, **parts}, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        with resuming(path) as state:
            self.network.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.network.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves its moments to their parameters

    def whole(self) -> Sam2:
        """A network to begin interactive training with: the trunk, and the rest as it is before it learns."""
        torch.manual_seed(self.recipe.seed)
        model = Sam2(self.recipe.config)
        initialise(model)
        model.image_encoder.trunk.load_state_dict(self.network.trunk.state_dict())
        return model

    @torch.inference_mode()
    def painted(self, count: int) -> list[tuple[Picture, Picture, Picture]]:
        """Held-back pictures: whole, what the trunk saw of them, and painted."""
        images, hidden = self._held_back(self.recipe.held_back[:count])
        shown = ~hidden[:, :, None, None, None]
        seen = self.network.grid.join(self.network.grid.cut(images.permute(0, 2, 3, 1)) * shown)
        parts = (images, seen.permute(0, 3, 1, 2), self.network.painted(images, hidden))
        return list(zip(*map(_as_pictures, parts), strict=True))

    @torch.inference_mode()
    def examine(self) -> float:
        """The loss on held-back pictures, of which the same units are hidden every time."""
        return float(self.network.loss(*self._held_back(self.recipe.held_back)))

    def _held_back(
        self, pictures: Sequence[Picture]
    ) -> tuple[Float[Tensor, "b 3 S S"], Bool[Tensor, "b units"]]:
        device = self.network.placeholder.device
        hidden = self.network.grid.hide(len(pictures), torch.Generator().manual_seed(0))
        return normalised(torch.from_numpy(np.stack(pictures)).to(device)), hidden.to(device)


def _as_pictures(images: Float[Tensor, "b 3 S S"]) -> UInt8[np.ndarray, "b S S 3"]:
    mean, std = (torch.tensor(values, device=images.device) for values in (MEAN, STD))
    pixels = (images.permute(0, 2, 3, 1) * std + mean).clamp(0, 1) * 255
    return pixels.round().byte().cpu().numpy()


class _Learner(nn.Module):
    """The loss as a module, which can be wrapped: by processes, by precision."""

    def __init__(self, network: MaskedAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: UInt8[Tensor, "b S S 3"], hidden: Bool[Tensor, "b units"]) -> Float[Tensor, ""]:
        return self.network.loss(normalised(images), hidden)


def pretrain(
    run: Pretrained, out: Path, *, save_every: int = SAVE_EVERY, precision: str = "no", workers: int = 0
) -> Iterator[Row]:
    """Pre-train to the recipe's end, yielding a row for the log after every step and every measurement.

    out : gets state.pt, from which a killed run goes on, and in the end model.safetensors, a network for
        interactive training to start with
    """
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    accelerator = Accelerator(mixed_precision=precision)
    run.to(accelerator.device)
    recipe, main, patience = run.recipe, accelerator.is_main_process, Patience()
    learner = accelerator.prepare(_Learner(run.network))
    draw = partial(recipe.draw, process=accelerator.process_index)
    if run.step == 0 and main:
        yield {"step": 0, "held back, loss": run.examine()}
    start = time.perf_counter()
    for images, hidden in ahead(draw, range(run.step, recipe.steps), workers):
        for group in run.optimizer.param_groups:
            group["lr"] = recipe.at(run.step)
        with accelerator.autocast():
            loss = learner(images.to(accelerator.device), hidden.to(accelerator.device))
        accelerator.backward(loss)
        norm = float(accelerator.clip_grad_norm_(run.network.parameters(), recipe.clip_norm))
        said = float(accelerator.reduce(loss.detach(), "mean"))
        if patience.trusts(norm, said, run.step):
            run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        run.step += 1
        patience.check(run.step)
        seconds = time.perf_counter() - start
        yield {
            "step": run.step,
            "rate": recipe.at(run.step - 1),
            "loss": said,
            "norm": norm,
            "seconds": seconds,
        }
        ends = run.step == recipe.steps
        if main and (ends or run.step % recipe.every == 0):
            yield {"step": run.step, "held back, loss": run.examine()}
        if main and (ends or run.step % save_every == 0):
            run.save(out / STATE)
        start = time.perf_counter()
    if main:
        publish(run.whole(), out / LAST)
