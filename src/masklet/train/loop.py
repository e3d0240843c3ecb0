"""The training loop. Accelerate carries devices, precision and processes; every batch is a function of its step.

So a run that was killed goes on from its last checkpoint to the same losses: no random state needs to be kept.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from masklet.model import Sam2
from masklet.train.losses import Blame, blame
from masklet.train.recipe import Recipe, Stage
from masklet.train.rollout import Batch, Plan, rollout

log = logging.getLogger(__name__)


class Learner(nn.Module):
    """A rollout and its losses as one module, so that whatever wraps modules (processes, precision) can wrap it."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, plan: Plan, rng: torch.Generator, stage: Stage) -> tuple[Tensor, Tensor]:
        """The loss, a sum over the answers of a frame and a mean over frames, and its parts for the log."""
        answers = rollout(self.model, batch, plan, rng, stage.corrections)
        blames = [
            blame(each.candidates, batch.masks[:, each.frame], stage.loss_size, stage.focal)
            for each in answers
        ]
        loss = torch.stack([each.total(stage.focal) for each in blames]).sum() / batch.images.shape[1]
        return loss, _parts(blames)


def _parts(blames: list[Blame]) -> Tensor:
    rows = [torch.stack([each.focal, each.dice, each.iou, each.score]) for each in blames]
    return torch.stack(rows).mean(dim=0).detach()


def initialise(model: Sam2, layer_scale: float) -> None:
    """Start values where torch's own do not suit a network that is trained from nothing."""
    for block in model.memory_encoder.fuser:
        nn.init.constant_(block.scale, layer_scale)
    attention, trunk, decoder = model.memory_attention, model.image_encoder.trunk, model.mask_decoder
    for table in (attention.age, attention.no_memory, trunk.position, trunk.window_position):
        nn.init.trunc_normal_(table, std=0.02)
    nn.init.trunc_normal_(decoder.absent_pointer, std=0.02)
    # Queries and keys that start as one map let a point find its own place in the image from the first step. Without
    # this, and with biases, the decoder learns where things usually are long before it learns to heed a click.
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    crossing = [
        decoder.to_image,
        *(each for block in decoder.blocks for each in (block.to_image, block.to_tokens)),
    ]
    for each in crossing:
        with torch.no_grad():
            each.q.weight.mul_(2)
            each.k.weight.copy_(each.q.weight)


@dataclass
class Run:
    """A run in progress: what a checkpoint holds."""

    recipe: Recipe
    model: Sam2
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def begin(cls, recipe: Recipe, weights: dict[str, Tensor] | None = None) -> Run:
        """A new run, from nothing or from given weights."""
        torch.manual_seed(recipe.seed)
        model = Sam2(recipe.config)
        if weights is None:
            initialise(model, recipe.layer_scale)
        else:
            model.load_state_dict(weights)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
        return cls(recipe, model, average, torch.optim.AdamW(_groups(model, recipe)))

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        unfinished = path.with_suffix(".unfinished")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def _groups(model: Sam2, recipe: Recipe) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases, norms, tables and single vectors; a trunk that learns
    more slowly than the rest."""
    free = {"position", "window_position", "age"}
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        decay = recipe.weight_decay if parameter.ndim > 1 and name.split(".")[-1] not in free else 0.0
        pace = recipe.trunk_pace if name.startswith("image_encoder") else 1.0
        groups[decay, pace].append(parameter)
    return [{"params": each, "weight_decay": decay, "pace": pace} for (decay, pace), each in groups.items()]


def train(run: Run, out: Path, *, save_every: int = 200, precision: str = "no") -> Iterator[dict[str, float]]:
    """Train to the recipe's end, yielding a row for the log after every step.

    The network is rebuilt for each stage's image size; its weights do not depend on it.
    """
    out.mkdir(parents=True, exist_ok=True)
    # The user points in one clip and draws in another, so every step leaves other parameters without a gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[unused])
    while (now := run.recipe.at(run.step)) is not None:
        yield from _stage(run, now[0], accelerator, out, save_every)
    if accelerator.is_main_process:
        run.save(out / "state.pt")


def _stage(
    run: Run, stage: Stage, accelerator: Accelerator, out: Path, save_every: int
) -> Iterator[dict[str, float]]:
    model = Sam2(replace(run.recipe.config, image_size=stage.image_size))
    _share_weights(run.model, model)
    learner = accelerator.prepare(Learner(model))
    while (now := run.recipe.at(run.step)) is not None and now[0] is stage:
        for group in run.optimizer.param_groups:
            group["lr"] = now[1] * group["pace"]
        start = time.perf_counter()
        plan, batch, rng = draw(run.recipe, stage, run.step, accelerator.process_index)
        with accelerator.autocast():
            loss, parts = learner(batch.to(accelerator.device), plan, rng, stage)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(run.model.parameters(), run.recipe.clip_norm)
        if math.isfinite(float(norm)):
            run.optimizer.step()
            run.average.update_parameters(run.model)
        else:
            log.warning("step %d has no finite gradient and is passed over (loss %s)", run.step, float(loss))
        run.optimizer.zero_grad(set_to_none=True)
        run.step += 1
        focal, dice, iou, score = parts.tolist()
        yield {
            "step": run.step,
            "rate": now[1],
            "frames": batch.images.shape[1],
            "objects": len(batch.masks),
            "loss": float(loss.detach()),
            "focal": focal,
            "dice": dice,
            "iou": iou,
            "score": score,
            "norm": float(norm),
            "seconds": time.perf_counter() - start,
        }
        if run.step % save_every == 0 and accelerator.is_main_process:
            run.save(out / "state.pt")


def _share_weights(source: nn.Module, target: nn.Module) -> None:
    """Let two networks of different image size use the same parameters and saved buffers."""
    for name, child in target.named_children():
        _share_weights(source.get_submodule(name), child)
    for name, _ in target.named_parameters(recurse=False):
        setattr(target, name, getattr(source, name))
    for name in target._buffers.keys() - target._non_persistent_buffers_set:
        setattr(target, name, getattr(source, name))


def draw(recipe: Recipe, stage: Stage, step: int, process: int) -> tuple[Plan, Batch, torch.Generator]:
    """The batch of a step: which clips, what the user will do, and the chance in it. The plan is all processes' own."""
    shared = np.random.default_rng([recipe.seed, step])
    weights = np.array([share.weight for share in stage.shares])
    share = stage.shares[shared.choice(len(weights), p=weights / weights.sum())]
    numbers = np.random.default_rng([recipe.seed, step, process]).integers(2**40, size=share.clips)
    batch = Batch.collate([share.source(int(number)) for number in numbers])
    plan = Plan.draw(batch.images.shape[1], shared)
    rng = torch.Generator().manual_seed(int(shared.integers(2**40)) + process)
    return plan, batch, rng


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one row to a log of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
