"""The benchmark of GPUs, in its smallest form and on the CPU, where nothing is compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.gpu import Row, RowTimeoutError, Settings, order_rows, read_rows, reason_to_skip, time_limit

from benchmarks import REPO

SETTINGS = Settings("cpu", 6, torch.__version__)


@pytest.mark.slow
def test_its_smallest_form_runs_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--sizes", "nano", "--frames", "4"]
    command += [
        "--compiler",
        "eager",
        "--implementations",
        "masklet;masklet, compiled",
        "--row-seconds",
        "500",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO / "src"), str(REPO)])}
    for objects in ("1", "1,2"):
        arguments = [*command, "--objects", objects, "--out", str(out)]
        subprocess.run(arguments, check=True, cwd=tmp_path, env=environment, capture_output=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["objects"], row["implementation"]) for row in rows] == [
        (objects, name) for objects in (1, 2) for name in ("masklet", "masklet, compiled")
    ]
    assert all(row["error"] is None and row["fps"] > 0 for row in rows)
    assert all(row["j"] > 0.99 for row in rows if row["implementation"] == "masklet, compiled")


def test_a_row_that_failed_is_measured_again_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    done = Row("tiny", 4, "masklet", SETTINGS, fps=2.0, first_seconds=1.0)
    failed = Row("tiny", 4, "masklet, compiled", SETTINGS, error="RowTimeoutError: not done after 1 s")
    path.write_text("".join(json.dumps(row, default=vars) + "\n" for row in map(vars, (done, failed))))
    assert list(read_rows(path)) == [done.key, failed.key]
    assert list(read_rows(path, retry=True)) == [done.key]


def test_every_size_is_seen_before_many_objects_and_the_slow_starter_last() -> None:
    names = ["masklet", "original, vos_optimized", "transformers"]
    order = order_rows(["tiny", "large"], [1, 4], names)
    assert order[:4] == [(size, 1, name) for size in ("tiny", "large") for name in (names[0], names[2])]
    assert order[-4:] == [(size, count, names[1]) for count in (1, 4) for size in ("tiny", "large")]


def test_what_cannot_run_here_says_why() -> None:
    cpu = torch.device("cpu")
    assert reason_to_skip("transformers", "nano", cpu) == "it has no trunk like nano's"
    assert reason_to_skip("masklet, compiled", "nano", cpu) is None
    assert "vos_optimized" not in str(reason_to_skip("masklet", "tiny", cpu))


def test_a_row_has_its_time() -> None:
    with pytest.raises(RowTimeoutError, match="not done"), time_limit(0.01):
        while True:
            pass
