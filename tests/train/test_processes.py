"""Training in several processes, and in processes that are killed. Slow: every process imports torch."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from masklet import checkpoint
from masklet.train.loop import BEST, LAST
from train.toy_data import write_coco

TESTS = Path(__file__).parents[1]

KILLS = int(os.environ.get("MASKLET_KILLS", "20"))

SCRIPT = """
import os, sys, time
from pathlib import Path
import torch
from random_kills import run_with_kills
from masklet.train.report import RunLog
from masklet.train.loop import train
from masklet.train.state import STATE, TrainingState
from train.toy_data import recipe, validation
torch.set_num_threads(1)
out, (steps, accumulate, kills, halt) = Path(sys.argv[1]), map(int, sys.argv[2:])

def run():
    state = TrainingState.begin(recipe(steps, accumulate=accumulate, validation=validation(every=7)))
    if (out / STATE).exists():
        state.resume(out / STATE)
    run_log = RunLog(out) if os.environ.get("RANK", "0") == "0" else None
    for row in train(state, out, save_every=5):
        if run_log:
            run_log.write(row)
        if row["step"] == halt and "loss" in row:
            time.sleep(3600)  # until it is killed

def logged():
    log = out / "log.jsonl"
    return log.read_text().count("\\n") if log.exists() else 0

run_with_kills(run, logged, kills, most=8) if kills else run()
"""


# The recipe nano, shorten: a few steps of one clip in its first two stages, one still to validate on.
SHRUNK = """
from dataclasses import replace
from masklet.synthetic.stills import make_still
from masklet.train.recipe import ValidationSet
from masklet.train.recipes import nano
from masklet.train.validation import validation_stills

nano.validation_set = lambda held_back, size: ValidationSet(
    validation_stills([make_still(held_back[0], size)]), every=2
)

def recipe(options):
    uninterrupted = nano.recipe(options)
    stages = [
        replace(stage, steps=2, sources=tuple(replace(source, clips=1) for source in stage.sources))
        for stage in uninterrupted.stages[:2]
    ]
    return replace(uninterrupted, stages=tuple(stages))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}


def command(out: Path, steps: int, accumulate: int, *, kills: int = 0, halt: int = 0) -> list[str]:
    """The arguments of a run. It is killed `kills` times, or waits after step `halt` for its kill."""
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    return [str(script), str(out), str(steps), str(accumulate), str(kills), str(halt)]


def rows(out: Path) -> list[dict[str, Any]]:
    """The rows of the log as they were written, without those that a kill cut short."""
    path = out / "log.jsonl"
    parsed = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            parsed.append(json.loads(line))
    return parsed


def losses(out: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in rows(out) if "loss" in row}


def run_and_kill(arguments: Sequence[str], out: Path, steps: int) -> None:
    """Start a run, and kill it by SIGKILL once so many steps are in its log."""
    process = subprocess.Popen([sys.executable, *arguments], env=environment())
    deadline = time.monotonic() + 600
    while len(losses(out)) < steps and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_losses(tmp_path: Path) -> None:
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    subprocess.run([sys.executable, *command(uninterrupted, 16, 1)], env=environment(), check=True)
    run_and_kill(command(killed, 16, 1, halt=7), killed, steps=7)
    before = len(rows(killed))
    subprocess.run([sys.executable, *command(killed, 16, 1)], env=environment(), check=True)
    assert rows(killed)[before]["step"] == 6, "the run did not go on from step 5, the last one that was saved"
    assert losses(killed) == losses(uninterrupted)


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_is_not(tmp_path: Path) -> None:
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    steps = 4 * KILLS + 20  # more than are done before the last kill
    subprocess.run([sys.executable, *command(uninterrupted, steps, 1)], env=environment(), check=True)
    subprocess.run([sys.executable, *command(killed, steps, 1, kills=KILLS)], env=environment(), check=True)
    assert losses(killed) == losses(uninterrupted) and len(losses(uninterrupted)) == steps
    for name in (BEST, LAST):
        weights, expected = (checkpoint.load(out / name).state_dict() for out in (killed, uninterrupted))
        assert all(torch.equal(weights[key], expected[key]) for key in expected), name


@pytest.mark.slow
def test_the_command_resumes_nanos_recipe_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    write_coco(tmp_path / "sets" / "discs", 40)
    (tmp_path / "shrunk.py").write_text(SHRUNK)

    def arguments(out: Path) -> list[str]:
        recipe, data = tmp_path / "shrunk.py", tmp_path / "sets"
        return ["-m", "masklet", "train", str(recipe), str(data), "--out", str(out)]

    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    subprocess.run([sys.executable, *arguments(uninterrupted)], env=environment(), check=True, cwd=tmp_path)
    run_and_kill(arguments(killed), killed, steps=3)
    before = len(rows(killed))
    subprocess.run([sys.executable, *arguments(killed)], env=environment(), check=True, cwd=tmp_path)
    assert rows(killed)[before]["step"] > 2, "the run began anew"
    assert len(losses(uninterrupted)) == 4 and losses(killed) == losses(uninterrupted)
    assert (killed / "report.html").is_file()


@pytest.mark.slow
def test_two_processes_train_as_one_does_on_the_same_batches(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run([sys.executable, *command(one, 6, 4)], env=environment(), check=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    on_cpu = environment() | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([*launch, *command(two, 6, 2)], env=on_cpu, check=True)
    steps_of_one, steps_of_two = ([row for row in rows(out) if "loss" in row] for out in (one, two))
    assert len(steps_of_one) == 6
    for first, second in zip(steps_of_one, steps_of_two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4), first["step"]
        assert second["norm"] == pytest.approx(first["norm"], rel=1e-3)
