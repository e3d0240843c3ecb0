"""Rows that are measured in separate processes: start, resident memory, and a run from an mp4 to files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from PIL import Image

import masklet
from benchmarks import REPO
from benchmarks.implementation import is_published
from benchmarks.results import Row
from masklet.checkpoint.layouts import TRANSFORMERS, to_theirs
from masklet.media import open_frames
from parity import transformers_reference

IMPLEMENTATIONS = ("original", "transformers", "masklet")
LENGTHS = (200, 1000)
STARTS = 2
BYTES_A_PIXEL = 3 * 4 + 2  # the original keeps float32 RGB of every frame, and a little more
DEMO_POINT = "188,140"
ROW_NAMES = {
    "start": "from nothing to the first mask",
    "memory 200": "resident after 200 frames",
    "memory 1000": "resident after 1,000 frames",
    "peak 200": "peak within 200 frames",
    "peak 1000": "peak within 1,000 frames",
    "files": "demo.mp4 to written masks, frames a second",
}

TIMED_BY_THE_CLOCK = {"start", "files"}  # worthless on a busy machine


def run(model: str, weights: Path, video: Path, keys: set[str]) -> Iterator[Row]:
    if "start" in keys:
        yield from _time_starts(model, weights, video)
    for length in LENGTHS:
        if {f"memory {length}", f"peak {length}"} & keys:
            yield from _measure_memory(model, weights, video, length)
    if "files" in keys and model == "nano":
        yield _time_files()


def _time_starts(model: str, weights: Path, video: Path) -> Iterator[Row]:
    implementations = IMPLEMENTATIONS if is_published(weights) else ("masklet",)
    spent: dict[str, list[float]] = {name: [] for name in implementations}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        Image.fromarray(open_frames(video)[0]).save(image)
        files = {name: weights for name in implementations}
        if "transformers" in implementations:
            files["transformers"] = _write_transformers_layout(weights, Path(folder) / "transformers")
        for _ in range(STARTS):
            for name in implementations:
                began = time.perf_counter()
                _run_module("benchmarks.first_mask", name, str(files[name]), str(image))
                spent[name].append(time.perf_counter() - began)
    yield from (Row(model, "start", name, tuple(values)) for name, values in spent.items())


def _write_transformers_layout(weights: Path, folder: Path) -> Path:
    ours = masklet.load(weights, device="cpu")
    theirs = transformers_reference.build(ours.config)
    theirs.load_state_dict(to_theirs(ours.state_dict(), TRANSFORMERS))
    theirs.save_pretrained(folder)
    return folder


def _measure_memory(model: str, weights: Path, video: Path, length: int) -> Iterator[Row]:
    side = masklet.load(weights, device="cpu").config.image_size
    for name in IMPLEMENTATIONS if is_published(weights) else ("masklet",):
        # While opening, a peer needs twice the size of its frames, and as much memory for other data.
        if name != "masklet" and psutil.virtual_memory().available < 2 * length * side**2 * BYTES_A_PIXEL:
            continue
        memory = json.loads(
            _run_module("benchmarks.resident_memory", name, str(weights), str(video), str(length))
        )
        yield Row(model, f"memory {length}", name, (memory["resident"],), "MiB")
        yield Row(model, f"peak {length}", name, (memory["peak"],), "MiB")


def _time_files() -> Row:
    """Time the command line that tracks one object through the demo clip."""
    frames = len(open_frames(REPO / "examples" / "demo.mp4"))
    rates = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            _run_module("masklet", "track", "examples/demo.mp4", "--point", DEMO_POINT, "--out", folder)
            rates.append(frames / (time.perf_counter() - began))
    return Row("nano", "files", "masklet", tuple(rates), "frames/s")


def _run_module(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=REPO, check=True, capture_output=True, text=True
    )
    return done.stdout
