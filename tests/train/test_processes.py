"""Several processes, and one that is killed: slow, since each begins by importing everything."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from train.toys import write_coco

TESTS = Path(__file__).parents[1]

SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
from masklet.train.report import RunLog
from masklet.train.loop import train
from masklet.train.state import STATE, TrainingState
from train.toys import recipe
torch.set_num_threads(1)
out, steps, accumulate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
run = TrainingState.begin(recipe(steps, accumulate=accumulate))
if (out / STATE).exists():
    run.resume(out / STATE)
run_log = RunLog(out) if os.environ.get("RANK", "0") == "0" else None
for row in train(run, out, save_every=5):
    if run_log:
        run_log.write(row)
"""


# The recipe that nano is made by: of its first two stages a few steps of one clip, one validation still.
SHRUNK = """
from dataclasses import replace
from masklet.synthetic.stills import plain
from masklet.train.recipe import ValidationSet
from masklet.train.recipes import nano
from masklet.train.validation import validation_stills

nano.validation_set = lambda held_back: ValidationSet(validation_stills([plain(held_back[0], 256)]), every=2)

def recipe(options):
    whole = nano.recipe(options)
    stages = [
        replace(stage, steps=2, sources=tuple(replace(source, clips=1) for source in stage.sources))
        for stage in whole.stages[:2]
    ]
    return replace(whole, stages=tuple(stages))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}


def command(out: Path, steps: int, accumulate: int) -> list[str]:
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    return [str(script), str(out), str(steps), str(accumulate)]


def rows(out: Path) -> list[dict[str, Any]]:
    path = out / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(out: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in rows(out) if "loss" in row}


def run_and_kill(words: Sequence[str], out: Path, steps: int) -> None:
    """Start a run, and kill it by SIGKILL once so many steps are in its log."""
    victim = subprocess.Popen([sys.executable, *words], env=environment())
    deadline = time.monotonic() + 600
    while len(losses(out)) < steps and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL, "it was to be killed before its end"


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, *command(whole, 16, 1)], env=environment(), check=True)
    run_and_kill(command(killed, 16, 1), killed, steps=7)
    before = len(rows(killed))
    subprocess.run([sys.executable, *command(killed, 16, 1)], env=environment(), check=True)
    assert 5 < rows(killed)[before]["step"] <= 15
    assert losses(killed) == losses(whole)


@pytest.mark.slow
def test_the_command_goes_on_with_nanos_recipe_after_it_was_killed(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    write_coco(tmp_path / "sets" / "discs", 40)
    (tmp_path / "shrunk.py").write_text(SHRUNK)

    def words(out: Path) -> list[str]:
        said = ["train", str(tmp_path / "shrunk.py"), str(tmp_path / "sets"), "--out", str(out)]
        return ["-m", "masklet", *said]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, *words(whole)], env=environment(), check=True, cwd=tmp_path)
    run_and_kill(words(killed), killed, steps=3)
    before = len(rows(killed))
    subprocess.run([sys.executable, *words(killed)], env=environment(), check=True, cwd=tmp_path)
    assert rows(killed)[before]["step"] > 2, "it was to go on, not to begin anew"
    assert len(losses(whole)) == 4 and losses(killed) == losses(whole)
    assert (killed / "report.html").is_file()


@pytest.mark.slow
def test_two_processes_learn_what_one_does_on_the_same_batches(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run([sys.executable, *command(one, 6, 4)], env=environment(), check=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    on_cpu = environment() | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([*launch, *command(two, 6, 2)], env=on_cpu, check=True)
    for first, second in zip(rows(one), rows(two), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4), first["step"]
        assert second["norm"] == pytest.approx(first["norm"], rel=1e-3)
