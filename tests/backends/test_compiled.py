"""The compiled backend: the same masks as torch, in few graphs, whatever joins, leaves or is corrected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import masklet
from masklet.backends import fit
from masklet.backends.backend import VERBS
from masklet.backends.compiled import (
    CPU_BUDGET,
    CompiledBackend,
    _may_replay,
    memory_room,
    objects_within,
    reason_for_no_compiler,
    split_rows,
)
from masklet.config import LARGE, NANO, SIZES, TINY
from masklet.errors import MaskletError
from toy_models import toy_network

needs_compiler = pytest.mark.skipif(
    reason_for_no_compiler(torch.device("cpu")) is not None, reason="needs a C++ compiler"
)


def run_clip(*arguments: str) -> dict[str, Any]:
    """What `compiled_clip.py` prints; see there for its arguments."""
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("compiled_clip.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
def test_objects_that_join_leave_and_are_corrected_make_at_most_two_graphs_more() -> None:
    result = run_clip("eager", "1")
    assert result["live"]["logits"] < 1e-4 and result["live"]["pixels"] == 0
    assert len(VERBS) <= result["graphs"] <= len(VERBS) + 2


@pytest.mark.slow
def test_padded_objects_and_frames_change_no_mask() -> None:
    result = run_clip("eager", "1,4")
    assert result["live"]["logits"] < 1e-4 and result["live"]["pixels"] == 0
    assert result["stored"]["logits"] < 1e-4 and result["stored"]["pixels"] == 0


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("model", ["toy", "nano"])
def test_compiled_graphs_give_the_masks_of_torch(model: str) -> None:
    result = run_clip("inductor", "1", model)
    # Fused operators round in their own way on each CPU.
    assert result["live"]["logits"] < 1e-3 and result["live"]["pixels"] == 0
    assert result["graphs"] <= len(VERBS) + 2


@given(st.integers(1, 200), st.sampled_from([(1,), (1, 4), (1, 4, 16), (1, 4, 16, 64), (1, 8)]))
def test_rows_are_cut_into_sizes_without_a_gap(count: int, sizes: tuple[int, ...]) -> None:
    at = 0
    for start, rows, size in split_rows(count, sizes):
        assert start == at and size in sizes and rows <= size and 4 * rows >= 3 * size
        at += rows
    assert at == count


@given(st.integers(0, 90), st.integers(0, 99))
def test_memories_have_room_and_no_more_than_twice_what_they_need(memories: int, pointers: int) -> None:
    k, p = memory_room(memories, pointers, TINY)
    assert k >= memories and p >= pointers
    assert k == 7 or k - 6 < 2 * max(memories - 6, pointers - 15)


def test_the_usual_bank_is_not_padded() -> None:
    assert memory_room(7, 16, TINY) == (7, 16)


def test_more_objects_fit_where_the_network_is_smaller() -> None:
    counts = [objects_within(CPU_BUDGET, config, 4) for config in (LARGE, TINY, NANO)]
    assert counts == sorted(counts) and counts[0] >= 1
    assert objects_within(0, SIZES["tiny"], 4) == 1


def test_without_a_compiler_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MaskletError, match=r"engine='compiled' cannot be used: there is no C\+\+ compiler"):
        masklet.load(device="cpu", engine="compiled")


def test_devices_that_nothing_is_compiled_for_are_named() -> None:
    assert reason_for_no_compiler(torch.device("mps")) == (
        "the network is on mps, and only CPUs and CUDA devices are supported"
    )


@needs_compiler
def test_it_explains_itself_and_auto_never_takes_it() -> None:
    network = toy_network()
    fit(network, "compiled")
    assert isinstance(network.backend, CompiledBackend)
    assert [line.runs_on for line in network.backend.explain()] == ["torch.compile, float32"] * 4
    fit(network)
    assert not isinstance(network.backend, CompiledBackend)


@needs_compiler
def test_gradients_never_meet_a_graph() -> None:
    network = toy_network()
    fit(network, "compiled")
    network.encode(torch.randn(1, 3, 64, 64)).coarse.sum().backward()
    assert network.image_encoder.trunk.patch.weight.grad is not None


def test_what_a_replay_writes_over_was_copied_before(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = CompiledBackend(toy_network(), compiler="eager", sizes=(1, 4))
    backend.has_cuda_graphs = True
    memory = torch.zeros(4, 2)  # a CUDA graph returns the same memory each time

    def replay(function: object, module: object, rows: torch.Tensor) -> tuple[torch.Tensor]:
        memory[: len(rows)] = rows
        return (memory[: len(rows)],)

    monkeypatch.setattr(backend, "_call", replay)
    rows = torch.arange(12.0).view(6, 2)
    for count in (1, 4, 6):
        (outputs,) = backend._run_in_chunks(replay, torch.nn.Identity(), count, (rows[:count],))
        memory.fill_(-1)
        assert torch.equal(outputs, rows[:count])


def test_graphs_are_replayed_in_the_main_thread_only() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert _may_replay() and not pool.submit(_may_replay).result()
