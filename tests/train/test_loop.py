"""The loop: a resumed run reaches the same losses; no failing step, disk or sample ends a run."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from masklet import checkpoint
from masklet.datasets.types import Clip
from masklet.errors import CheckpointError, MaskletError, MediaError
from masklet.train import loop, state
from masklet.train.batches import draw_batch, load_batches
from masklet.train.loop import RolloutLoss, train
from masklet.train.recipe import BatchSource, Recipe
from masklet.train.report import RunLog, read_log
from masklet.train.state import STATE, TrainingState
from train.toy_data import discs, recipe, stage, validation


def losses(run: TrainingState, out: Path, **options: Any) -> list[float]:
    return [row["loss"] for row in train(run, out, **options) if "loss" in row]


def test_a_resumed_run_reaches_the_same_losses(tmp_path: Path) -> None:
    two_stages = replace(recipe(), stages=(stage("small", 3, size=32), stage("large", 3)))
    uninterrupted = losses(TrainingState.begin(two_stages), tmp_path / "whole")

    stopped = TrainingState.begin(two_stages)
    first = []
    for row in train(stopped, tmp_path / "stopped", save_every=2):
        first.append(row["loss"])
        if row["step"] == 3:  # a step after the last checkpoint
            break
    torch.manual_seed(99)
    resumed = TrainingState.begin(two_stages)
    resumed.resume(tmp_path / "stopped" / STATE)
    assert resumed.step == 2
    assert first[:2] + losses(resumed, tmp_path / "stopped") == uninterrupted

    weights = [checkpoint.load(tmp_path / out / loop.LAST).state_dict() for out in ("whole", "stopped")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_another_recipes_checkpoint_is_refused(tmp_path: Path) -> None:
    losses(TrainingState.begin(recipe(1)), tmp_path)
    with pytest.raises(CheckpointError, match="a new folder"):
        TrainingState.begin(recipe(1, preset="decoder")).resume(tmp_path / STATE)


def test_the_weights_move_and_the_average_lags_behind(tmp_path: Path) -> None:
    run = TrainingState.begin(recipe(3, ema=0.9))
    before = run.averaged().mask_decoder.iou_token.weight.clone()
    losses(run, tmp_path)
    now, average = run.model.mask_decoder.iou_token.weight, run.averaged().mask_decoder.iou_token.weight
    assert (now - before).abs().max() > (average - before).abs().max() > 0


def test_parts_of_a_step_are_as_good_as_processes(tmp_path: Path) -> None:
    """Two batches a step draw what two processes would; without them, each draws the first."""
    plan = recipe(2, accumulate=2)
    first, second = draw_batch(plan, plan.stages[0], 0, 0), draw_batch(plan, plan.stages[0], 0, 1)
    assert first.plan == second.plan and first.seed != second.seed
    assert (first.batch.images != second.batch.images).any()
    rows = [row for row in train(TrainingState.begin(plan), tmp_path) if "loss" in row]
    assert rows[0]["objects"] == len(first.batch) + len(second.batch)


def test_workers_start_although_opencv_has_threads() -> None:
    """In a process of its own, since it would wait for ever."""
    code = """
import time, cv2, numpy as np
from masklet.train.batches import prefetch
cv2.setNumThreads(2)
cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (31, 31), 0)
time.sleep(0.5)  # then its threads sleep
assert list(prefetch(lambda step: step * step, range(4), 2)) == [0, 1, 4, 9] and cv2.getNumThreads() == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_workers_draw_the_same_batches() -> None:
    plan = recipe(3)
    in_process, prefetched = (
        list(load_batches(plan, plan.stages[0], range(3), range(1), workers)) for workers in (0, 2)
    )
    for one, other in zip(in_process, prefetched, strict=True):
        assert one[0].plan == other[0].plan and one[0].seed == other[0].seed
        assert torch.equal(one[0].batch.images, other[0].batch.images)


class Failing(RolloutLoss):
    """Has a loss that is not finite at some steps."""

    failing: tuple[int, ...] = (1,)
    calls = 0

    def forward(self, *args: Any) -> Any:
        loss, parts = super().forward(*args)
        Failing.calls += 1
        return (loss * float("nan") if Failing.calls - 1 in self.failing else loss), parts


def test_a_step_that_is_not_finite_is_skipped_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "RolloutLoss", Failing)
    monkeypatch.setattr(Failing, "calls", 0)
    run = TrainingState.begin(recipe(3))
    before = run.model.mask_decoder.iou_token.weight.detach().clone()
    losses_by_step = []
    for row in train(run, tmp_path):
        losses_by_step.append(row["loss"])
        moved = (run.model.mask_decoder.iou_token.weight != before).any()
        before = run.model.mask_decoder.iou_token.weight.detach().clone()
        assert bool(moved) == (row["step"] != 2)
    assert [str(loss) == "nan" for loss in losses_by_step] == [False, True, False]
    assert (
        "skipped step 1: its gradient is not finite" in caplog.text and "(loss nan, from only-" in caplog.text
    )
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


def test_a_run_without_finite_gradients_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RolloutLoss", Failing)
    monkeypatch.setattr(Failing, "failing", range(100))
    monkeypatch.setattr(loop, "MAX_SKIPPED_STEPS", 3)
    run = TrainingState.begin(recipe(9))
    with pytest.raises(MaskletError, match="lower the learning rate"):
        losses(run, tmp_path)
    assert run.step == 3


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = TrainingState.begin(recipe(4))
    rows = train(run, tmp_path, save_every=1)
    next(rows)
    next(rows)  # by now the first step is saved
    checkpoint_before = (tmp_path / STATE).read_bytes()

    def full(content: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device\nmore")

    monkeypatch.setattr(state.torch, "save", full)
    next(rows)
    assert (tmp_path / STATE).read_bytes() == checkpoint_before
    assert "step 2 was not saved" in caplog.text and "No space left" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    monkeypatch.undo()
    assert len(list(rows)) == 1
    resumed = TrainingState.begin(recipe(4))
    resumed.resume(tmp_path / STATE)
    assert resumed.step == 4


def test_an_unreadable_sample_is_named_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = discs(1)
    calls: list[int] = []

    def sometimes(number: int) -> Clip:
        calls.append(number)
        if len(calls) % 2:
            raise MediaError("holiday/broken.jpg cannot be read: it is cut short.")
        return good(number)

    spoilt = replace(recipe(2), stages=(stage("only", 2, BatchSource(sometimes, 1)),))
    with caplog.at_level(logging.WARNING):
        assert len(losses(TrainingState.begin(spoilt), tmp_path)) == 2
    assert caplog.text.count("holiday/broken.jpg") == 2


def test_a_run_on_unreadable_data_ends_with_the_reason(tmp_path: Path) -> None:
    def never(number: int) -> Clip:
        raise MediaError("nothing here")

    empty: Recipe = replace(recipe(2), stages=(stage("only", 2, BatchSource(never, 1)),))
    with pytest.raises(MediaError, match="nothing here"):
        losses(TrainingState.begin(empty), tmp_path)


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.5, 0.3])
    monkeypatch.setattr(loop, "validate", lambda model, validation: {"box": 0.0, "mean": next(scores)})
    run = TrainingState.begin(recipe(4, validation=validation(every=2)))
    best_weights = {}
    for row in train(run, tmp_path):
        if "loss" not in row:
            best_weights[row["step"]] = (tmp_path / loop.BEST).read_bytes()
    assert list(best_weights) == [0, 2, 4]
    assert best_weights[0] != best_weights[2] == best_weights[4]
    assert checkpoint.load(tmp_path / loop.BEST).config == run.recipe.config
    again = TrainingState.begin(recipe(4))
    again.resume(tmp_path / STATE)
    assert again.best == 0.5


def test_rates_rise_and_fall() -> None:
    long = recipe(100)
    cosine = replace(long, warmup=10, stages=(replace(long.stages[0], schedule="cosine"),))
    rates = [now[1] for step in range(100) if (now := cosine.stage_at(step)) is not None]
    assert rates[0] == pytest.approx(1e-4) and max(rates) == rates[9]
    assert rates[50] == pytest.approx((1e-3 + 1e-4) / 2) and rates[-1] == pytest.approx(1e-4, rel=0.01)
    straight = replace(long, warmup=1)
    assert straight.stage_at(50)[1] == pytest.approx((1e-3 + 1e-4) / 2) and straight.stage_at(100) is None


def test_a_checkpoint_of_an_earlier_version_resumes(tmp_path: Path) -> None:
    """Its optimizer calls the factor on the learning rate `pace`."""
    steps = losses(TrainingState.begin(recipe(4)), tmp_path / "whole")
    first = TrainingState.begin(recipe(4))
    for row in train(first, tmp_path / "old", save_every=2):
        if row["step"] == 3:
            break
    path = tmp_path / "old" / STATE
    content = torch.load(path, weights_only=True)
    for group in content["optimizer"]["param_groups"]:
        group["pace"] = group.pop("lr_scale")
    torch.save(content, path)
    resumed = TrainingState.begin(recipe(4))
    resumed.resume(path)
    assert losses(resumed, tmp_path / "old") == steps[2:]


def test_a_row_after_one_that_a_kill_cut_short_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    run_log = RunLog(tmp_path)
    run_log.write({"step": 2, "loss": 1.0})
    run_log.close()
    assert [(row["step"], row["loss"]) for row in read_log(tmp_path)] == [(1, 2.0), (2, 1.0)]


def test_weights_that_find_no_place_at_the_end_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the best score is that of the best weights that are there."""

    def full(model: object, path: Path) -> None:
        raise CheckpointError(f"{path} cannot be written: no space left on device.")

    monkeypatch.setattr(loop, "validate", lambda model, validation: {"mean": 0.5})
    run = TrainingState.begin(recipe(2, validation=validation(every=1)))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        patch.setattr(loop, "save_weights", full)
        with pytest.raises(CheckpointError, match=f"{loop.LAST} cannot be written"):
            list(train(run, tmp_path))
    assert run.best == 0.0 and not (tmp_path / loop.BEST).exists()
    assert not list(train(run, tmp_path)) and (tmp_path / loop.LAST).is_file()


@pytest.mark.parametrize("damage", ["empty", "flipped", "a list", "step"])
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    run, path = TrainingState.begin(recipe(2)), tmp_path / STATE
    run.save(path)
    content, whole = torch.load(path, weights_only=True), bytearray(path.read_bytes())
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        whole[len(whole) // 2] ^= 255
        path.write_bytes(whole)
    else:
        torch.save([1, 2] if damage == "a list" else {**content, "step": "1"}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of this recipe"):
        run.resume(path)


@pytest.mark.parametrize("part", ["model", "average"])
def test_a_checkpoint_with_weights_that_are_not_finite_is_refused(tmp_path: Path, part: str) -> None:
    losses(TrainingState.begin(recipe(1)), tmp_path)
    content = torch.load(tmp_path / STATE, weights_only=True)
    name = next(name for name in content[part] if name.endswith("iou_token.weight"))
    content[part][name][0] = float("nan")
    torch.save(content, tmp_path / STATE)
    with pytest.raises(CheckpointError, match=f"{name} has values that are not finite"):
        TrainingState.begin(recipe(1)).resume(tmp_path / STATE)


def test_a_log_that_finds_no_place_at_the_end_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> None:
        raise OSError(27, "File too large")

    run_log = RunLog(tmp_path)
    run_log.write({"step": 1, "loss": 1.0})
    close = run_log.board.close
    monkeypatch.setattr(run_log.board, "close", full)
    run_log.close()
    assert "not in TensorBoard's log" in caplog.text and "File too large" in caplog.text
    close()
