"""Several processes, and one that is killed: slow, since each begins by importing everything."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]

SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
from masklet.train.journal import Journal
from masklet.train.loop import train
from masklet.train.state import STATE, Run
from train.toys import recipe
torch.set_num_threads(1)
out, steps, accumulate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
run = Run.begin(recipe(steps, accumulate=accumulate))
if (out / STATE).exists():
    run.resume(out / STATE)
journal = Journal(out) if os.environ.get("RANK", "0") == "0" else None
for row in train(run, out, save_every=5):
    if journal:
        journal.write(row)
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


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, *command(whole, 16, 1)], env=environment(), check=True)

    victim = subprocess.Popen([sys.executable, *command(killed, 16, 1)], env=environment())
    deadline = time.monotonic() + 300
    while len(rows(killed)) < 7 and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL, "it was to be killed before its end"

    before = len(rows(killed))
    subprocess.run([sys.executable, *command(killed, 16, 1)], env=environment(), check=True)
    again = rows(killed)[before:]
    assert 5 < again[0]["step"] <= 15
    expected = {row["step"]: row["loss"] for row in rows(whole)}
    assert {row["step"]: row["loss"] for row in rows(killed)} == expected


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
