"""The training loop. Accelerate carries devices, precision and processes."""

from __future__ import annotations

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

from masklet.model import Sam2
from masklet.train.batches import Lesson, lessons
from masklet.train.early_stopping import Patience
from masklet.train.feature_store import Shelf
from masklet.train.losses import Blame, blame
from masklet.train.presets import trunk_learns
from masklet.train.recipe import Stage
from masklet.train.rollout import Batch, Plan, rollout
from masklet.train.state import STATE, Run, sized
from masklet.train.validation import examine
from masklet.types import FrameFeatures

BEST, LAST = "best.safetensors", "model.safetensors"
SAVE_EVERY = 200  # steps

Row = dict[str, float]


class Learner(nn.Module):
    """A rollout and its losses as one module, which can be wrapped: by processes, by precision."""

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
        blames = [
            blame(each.candidates, batch.masks[:, each.frame], stage.loss_size, stage.focal)
            for each in answers
        ]
        loss = (
            torch.stack([each.total(stage.focal, stage.iou) for each in blames]).sum() / batch.images.shape[1]
        )
        return loss, _parts(blames)


def _parts(blames: list[Blame]) -> Tensor:
    rows = [torch.stack([each.focal, each.dice, each.iou, each.score]) for each in blames]
    return torch.stack(rows).mean(dim=0).detach()


def train(
    run: Run, out: Path, *, save_every: int = SAVE_EVERY, precision: str = "no", workers: int = 0
) -> Iterator[Row]:
    """Train to the recipe's end, yielding a row for the log after every step and every measurement.

    out : gets state.pt, from which a killed run goes on, and the weights: best.safetensors, those that did
        best on held-back clips, and in the end model.safetensors
    save_every : steps
    precision : "no" or "bf16"
    workers : processes that draw clips ahead; 0 draws them in between
    """
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    # The user points in one clip and draws in another: each step leaves other parameters without a gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[unused])
    run.to(accelerator.device)
    save = partial(_save, run, out, accelerator)
    if run.step == 0:
        yield from _measure(run, out, accelerator)
    while (now := run.recipe.at(run.step)) is not None:
        for row in _Stretch(run, now[0], accelerator, out, workers).steps():
            yield row
            ends = run.step == run.recipe.steps
            if run.recipe.exam is not None and (ends or run.step % run.recipe.exam.every == 0):
                yield from _measure(run, out, accelerator)
            if ends or run.step % save_every == 0:
                save()
    if accelerator.is_main_process:
        run.publish(out / LAST)


def _save(run: Run, out: Path, accelerator: Accelerator) -> None:
    if accelerator.is_main_process:
        run.save(out / STATE)


def _measure(run: Run, out: Path, accelerator: Accelerator) -> Iterator[Row]:
    """Examine the averaged weights, and keep them where they are the best so far."""
    if run.recipe.exam is None or not accelerator.is_main_process:
        return
    scores = examine(run.averaged(), run.recipe.exam)
    if scores["mean"] > run.best or run.step == 0:
        run.best = scores["mean"]
        run.publish(out / BEST)
    yield {"step": run.step, **{f"held back, {name}": score for name, score in scores.items()}}


class _Stretch:
    """One stage of a run, or what is left of it."""

    def __init__(self, run: Run, stage: Stage, accelerator: Accelerator, out: Path, workers: int) -> None:
        self.run, self.stage, self.accelerator, self.workers = run, stage, accelerator, workers
        model = sized(run, stage.image_size)
        if run.recipe.checkpointed and trunk_learns(run.recipe.preset):
            _checkpoint_trunk(model)
        self.model = model
        self.learner = accelerator.prepare(Learner(model))
        cached = run.recipe.repeat is not None and not trunk_learns(run.recipe.preset)
        self.shelf = Shelf(out / "features") if cached else None
        self.patience = Patience()

    def steps(self) -> Iterator[Row]:
        recipe, process = self.run.recipe, self.accelerator.process_index
        parts = range(process * recipe.accumulate, (process + 1) * recipe.accumulate)
        start = time.perf_counter()
        for each in lessons(recipe, self.stage, self._remaining(), parts, self.workers):
            row = self._step(each)
            yield {**row, "seconds": time.perf_counter() - start}
            start = time.perf_counter()
        self.accelerator.free_memory()

    def _remaining(self) -> range:
        end = self.run.step
        while (now := self.run.recipe.at(end)) is not None and now[0] is self.stage:
            end += 1
        return range(self.run.step, end)

    def _step(self, parts: Sequence[Lesson]) -> Row:
        run, accelerator = self.run, self.accelerator
        now = run.recipe.at(run.step)
        assert now is not None
        for group in run.optimizer.param_groups:
            group["lr"] = now[1] * group["pace"]
        losses = []
        for lesson in parts:
            # Other processes hear of the last part's gradients, which hold all.
            waits = lesson is not parts[-1]
            with accelerator.no_sync(self.learner) if waits else nullcontext():
                loss, said = self._learn(lesson)
                accelerator.backward(loss / len(parts))
            losses.append(torch.cat([loss.detach()[None], said]))
        norm = float(accelerator.clip_grad_norm_(run.model.parameters(), run.recipe.clip_norm))
        loss, *said = accelerator.reduce(torch.stack(losses).mean(dim=0), "mean").tolist()
        self._apply(norm, loss, [origin for lesson in parts for origin in lesson.origins])
        return {
            "step": run.step,
            "rate": now[1],
            "frames": parts[0].batch.images.shape[1],
            "objects": sum(len(lesson.batch) for lesson in parts),
            "loss": loss,
            **dict(zip(("focal", "dice", "iou", "score"), said, strict=True)),
            "norm": norm,
        }

    def _learn(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        device = self.accelerator.device
        batch, rng = lesson.batch.to(device), torch.Generator(device).manual_seed(lesson.seed)
        with self.accelerator.autocast():
            encoded = None if self.shelf is None else self.shelf.fetch(self.model, batch, lesson.names)
            return self.learner(batch, lesson.plan, rng, self.stage, encoded)

    def _apply(self, norm: float, loss: float, origins: Sequence[str]) -> None:
        """Take the optimiser's step, or pass it over where the gradient is not finite."""
        run = self.run
        if self.patience.trusts(norm, loss, run.step, origins):
            run.optimizer.step()
            run.average.update_parameters(run.model)
        run.optimizer.zero_grad(set_to_none=True)
        run.step += 1
        self.patience.check(run.step)


def _checkpoint_trunk(model: Sam2) -> None:
    for block in model.image_encoder.trunk.blocks:
        forward: Callable[[Tensor], Tensor] = block.forward
        # On the instance, so that the parameters keep their names.
        object.__setattr__(block, "forward", partial(checkpoint, forward, use_reentrant=False))
