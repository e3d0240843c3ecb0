"""One number of threads for torch and the kernels, within what the process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from masklet.backends import threads
from masklet.backends.native import library
from masklet.backends.native.encoders import NativeLinear

needs_kernels = pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")


@pytest.mark.parametrize("text, cpus", [("150000 100000", 1.5), ("max 100000", None), ("nonsense", None)])
def test_the_quota_of_a_control_group(tmp_path: Path, text: str, cpus: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert threads.cpu_quota(tmp_path) == cpus


@pytest.mark.parametrize("quota, cpus", [("50000", 0.5), ("-1", None)])
def test_the_quota_of_a_control_group_of_version_1(tmp_path: Path, quota: str, cpus: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert threads.cpu_quota(tmp_path) == cpus


def test_no_control_group_sets_no_limit(tmp_path: Path) -> None:
    assert threads.cpu_quota(tmp_path) is None


def test_threads_are_torchs_but_no_more_than_there_are_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    torch.set_num_threads(1)
    assert threads.thread_count() == 1
    torch.set_num_threads(5)
    assert threads.thread_count() == 2


@needs_kernels
def test_any_number_of_threads_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = NativeLinear(nn.Linear(64, 64), bits=32), torch.randn(2000, 64)
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    answers = []
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        answers.append(layer(x))
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@needs_kernels
def test_calls_from_several_python_threads_do_not_disturb_each_other() -> None:
    torch.set_num_threads(2)
    layer = NativeLinear(nn.Linear(64, 64), bits=32)
    inputs = [torch.randn(500 + i, 64) for i in range(8)]
    expected = [layer(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            answers = list(pool.map(layer, inputs))
            assert all(map(torch.equal, answers, expected))


@needs_kernels
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_computes_too() -> None:
    """It has none of its parent's threads."""
    torch.set_num_threads(2)
    layer, x = NativeLinear(nn.Linear(64, 64), bits=32), torch.randn(1000, 64)
    expected = layer(x)
    child = os.fork()
    if child == 0:
        # Not torch.equal: torch's own threads do not survive a fork.
        os._exit(0 if np.array_equal(layer(x).numpy(), expected.numpy()) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_torch_has_no_more_threads_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    (tmp_path / "cpu.max").write_text("250000 100000")
    for count, limited in ((8, 3), (2, 2)):
        torch.set_num_threads(count)
        threads.limit_torch_threads()
        assert torch.get_num_threads() == limited


@pytest.mark.parametrize(
    "variables, expected",
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_spin_shortly_unless_told_otherwise(variables: dict[str, str], expected: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    program = "import os, masklet; print(os.environ.get('GOMP_SPINCOUNT'))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == expected
