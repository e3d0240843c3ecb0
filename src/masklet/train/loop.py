"""The training loop. Accelerate handles devices, precision and processes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import cv2
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from masklet.checkpoint import save as save_weights
from masklet.errors import MaskletError
from masklet.model import Sam2
from masklet.train.batches import FEATURES, FeatureStore, PlannedBatch, load_batches
from masklet.train.parameters import trains_trunk
from masklet.train.recipe import Stage
from masklet.train.rollout import Batch, Losses, Plan, compute_losses, rollout
from masklet.train.state import STATE, TrainingState, resize_model
from masklet.train.validation import validate
from masklet.types import FrameFeatures

log = logging.getLogger(__name__)

BEST, LAST = "best.safetensors", "model.safetensors"
SAVE_EVERY = 200  # steps
MAX_SKIPPED_STEPS = 50  # maximum number of successive skipped steps
VALIDATION = "validation, "  # prefix of the names of validation scores in the log

LogRow = dict[str, float]


class RolloutLoss(nn.Module):
    """A rollout and its losses as one module, which DistributedDataParallel and autocast can wrap."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        batch: Batch,
        plan: Plan,
        rng: torch.Generator,
        stage: Stage,
        encoded: FrameFeatures | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss, a sum over the answers of a frame and a mean over frames, and its parts for the log."""
        answers = rollout(self.model, batch, plan, rng, stage.corrections, encoded)
        losses = [
            compute_losses(answer.candidates, batch.masks[:, answer.frame], stage.loss_size, stage.focal)
            for answer in answers
        ]
        totals = torch.stack([loss.total(stage.focal, stage.iou) for loss in losses])
        return totals.sum() / batch.images.shape[1], _mean_parts(losses)


def _mean_parts(losses: list[Losses]) -> Tensor:
    rows = [torch.stack([loss.focal, loss.dice, loss.iou, loss.score]) for loss in losses]
    return torch.stack(rows).mean(dim=0).detach()


class GradientGuard:
    """Skips steps whose gradient is not finite, and stops the run after many in a row."""

    def __init__(self) -> None:
        self.skipped = 0

    def accepts(self, norm: float, loss: float, step: int, origins: Sequence[str] = ()) -> bool:
        """Whether the optimizer may take a step.

        Args:
            norm: The gradient's norm.
            origins: The files used in the step.
        """
        if math.isfinite(norm):
            self.skipped = 0
            return True
        self.skipped += 1
        files = f", from {', '.join(origins)}" if origins else ""
        log.warning("skipped step %d: its gradient is not finite (loss %s%s)", step, loss, files)
        return False

    def check(self, step: int) -> None:
        """Raise MaskletError after too many skipped steps in a row."""
        if self.skipped >= MAX_SKIPPED_STEPS:
            raise MaskletError(
                f"{MAX_SKIPPED_STEPS} steps in a row, to step {step}, had no finite gradient. The "
                "checkpoint has finite weights: lower the learning rate, or use precision 'no', and resume."
            )


def train(
    state: TrainingState, out: Path, *, save_every: int = SAVE_EVERY, precision: str = "no", workers: int = 0
) -> Iterator[LogRow]:
    """Train to the recipe's end, and yield a row for the log after every step and every validation.

    Args:
        out: The folder for state.pt, from which a killed run resumes, and weights: best.safetensors with the
            best validation score, and at the end model.safetensors.
        save_every: Steps.
        precision: "no" or "bf16".
        workers: Processes that draw clips ahead; 0 draws them between steps.
    """
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    # Plans, and so the parameters without gradients, differ from step to step.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[unused])
    state.to(accelerator.device)
    if state.step == 0:
        yield from _validate(state, out, accelerator)
    while (current := state.recipe.stage_at(state.step)) is not None:
        stage, _ = current
        for row in _StageLoop(state, stage, accelerator, out, workers).steps():
            yield row
            ends = state.step == state.recipe.steps
            validation = state.recipe.validation
            if validation is not None and (ends or state.step % validation.every == 0):
                yield from _validate(state, out, accelerator)
            if accelerator.is_main_process and (ends or state.step % save_every == 0):
                state.save(out / STATE)
    if accelerator.is_main_process:
        save_weights(state.averaged(), out / LAST)  # a run whose weights cannot be saved has failed


def _validate(state: TrainingState, out: Path, accelerator: Accelerator) -> Iterator[LogRow]:
    """Validate the averaged weights, and save them if they are the best so far."""
    if state.recipe.validation is None or not accelerator.is_main_process:
        return
    scores = validate(state.averaged(), state.recipe.validation)
    if (scores["mean"] > state.best or state.step == 0) and state.save_weights(out / BEST):
        state.best = scores["mean"]
    yield {"step": state.step, **{VALIDATION + name: score for name, score in scores.items()}}


class _StageLoop:
    """The remaining steps of one stage."""

    def __init__(
        self, state: TrainingState, stage: Stage, accelerator: Accelerator, out: Path, workers: int
    ) -> None:
        self.state, self.stage, self.accelerator, self.workers = state, stage, accelerator, workers
        model = resize_model(state, stage.image_size)
        frozen_trunk = not trains_trunk(state.recipe.preset)
        if state.recipe.checkpoint_activations and not frozen_trunk:
            _checkpoint_activations(model)
        self.model = model
        self.rollout_loss = accelerator.prepare(RolloutLoss(model))
        recurring = state.recipe.distinct_clips is not None
        self.features = FeatureStore(out / FEATURES) if recurring and frozen_trunk else None
        self.guard = GradientGuard()

    def steps(self) -> Iterator[LogRow]:
        recipe, process = self.state.recipe, self.accelerator.process_index
        parts = range(process * recipe.accumulate, (process + 1) * recipe.accumulate)
        start = time.perf_counter()
        for batches in load_batches(recipe, self.stage, self._remaining(), parts, self.workers):
            row = self._step(batches)
            yield {**row, "seconds": time.perf_counter() - start}
            start = time.perf_counter()
        self.accelerator.free_memory()

    def _remaining(self) -> range:
        end = self.state.step
        while (current := self.state.recipe.stage_at(end)) is not None and current[0] is self.stage:
            end += 1
        return range(self.state.step, end)

    def _step(self, batches: Sequence[PlannedBatch]) -> LogRow:
        state, accelerator = self.state, self.accelerator
        current = state.recipe.stage_at(state.step)
        assert current is not None
        _, learning_rate = current
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        losses = []
        for planned in batches:
            # Gradients are exchanged between processes once, with the last batch.
            last = planned is batches[-1]
            with nullcontext() if last else accelerator.no_sync(self.rollout_loss):
                loss, parts = self._forward(planned)
                accelerator.backward(loss / len(batches))
            losses.append(torch.cat([loss.detach()[None], parts]))
        norm = float(accelerator.clip_grad_norm_(state.model.parameters(), state.recipe.clip_norm))
        loss, *parts = accelerator.reduce(torch.stack(losses).mean(dim=0), "mean").tolist()
        self._apply_gradient(norm, loss, [origin for planned in batches for origin in planned.origins])
        return {
            "step": state.step,
            "rate": learning_rate,
            "frames": batches[0].batch.images.shape[1],
            "objects": sum(len(planned.batch) for planned in batches),
            "loss": loss,
            **dict(zip(("focal", "dice", "iou", "score"), parts, strict=True)),
            "norm": norm,
        }

    def _forward(self, planned: PlannedBatch) -> tuple[Tensor, Tensor]:
        device = self.accelerator.device
        batch, rng = planned.batch.to(device), torch.Generator(device).manual_seed(planned.seed)
        with self.accelerator.autocast():
            encoded = (
                None if self.features is None else self.features.encode(self.model, batch, planned.names)
            )
            return self.rollout_loss(batch, planned.plan, rng, self.stage, encoded)

    def _apply_gradient(self, norm: float, loss: float, origins: Sequence[str]) -> None:
        """Take the optimizer's step, or skip it if the gradient is not finite."""
        state = self.state
        if self.guard.accepts(norm, loss, state.step, origins):
            state.optimizer.step()
            state.average.update_parameters(state.model)
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        self.guard.check(state.step)


def _checkpoint_activations(model: Sam2) -> None:
    for block in model.image_encoder.trunk.blocks:
        forward: Callable[[Tensor], Tensor] = block.forward
        # On the instance, so that the parameters keep their names.
        object.__setattr__(block, "forward", partial(checkpoint, forward, use_reentrant=False))
