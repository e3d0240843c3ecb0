"""Measures the resident memory of one implementation after a number of frames, in a separate process.

python -m benchmarks.resident_memory NAME WEIGHTS VIDEO FRAMES prints JSON. Only the first frames
and the last are tracked. For those between, a peer gets copies of the tensors that it stores for a tracked
frame. masklet's tracker stores the tensors of sixteen frames, whatever the number of frames.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.implementation import FULL, Workload
from masklet.media import open_frames

TRACKED = 3
MIB = 2**20


def read_frames(video: Path, count: int) -> np.ndarray:
    """uint8 (T, H, W, 3): a video's frames, repeated from the start if there are too few."""
    stored = open_frames(video)
    return np.stack([stored[frame % len(stored)] for frame in range(count)])


def open_peer(name: str, work: Workload) -> object:
    from benchmarks import peers

    implementation = peers.Original(work) if name == "original" else peers.Transformers(work)
    implementation.open(1)
    for frame in range(1, 1 + TRACKED):
        implementation.track_frame(frame)
    if name == "original":
        outputs = implementation.state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
    else:
        outputs = implementation.session.output_dict_per_obj[0]["non_cond_frame_outputs"]
    last = len(work.frames) - 1
    copies: dict[int, dict[str, object]] = {}
    peers.copy_output(outputs[TRACKED], copies, last)
    outputs.update({frame: output for frame, output in copies.items() if frame > TRACKED})
    implementation.track_frame(last)
    return implementation


def open_masklet(work: Workload) -> object:
    from benchmarks.masklet_implementation import Masklet

    implementation = Masklet(work)
    implementation.open(1)
    implementation.fill_memory()
    for frame in (FULL, FULL + 1, FULL + 2):
        implementation.track_frame(frame)
    return implementation


def main(name: str, weights: str, video: str, count: str) -> None:
    torch.set_grad_enabled(False)
    process = psutil.Process()
    device = torch.device("cpu")
    if name == "masklet":
        session = open_masklet(Workload(Path(weights), read_frames(Path(video), FULL + 3), device))
    else:
        session = open_peer(name, Workload(Path(weights), read_frames(Path(video), int(count)), device))
    resident = process.memory_info().rss  # while the session exists
    peak = next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    del session
    sys.stdout.write(json.dumps({"resident": resident / MIB, "peak": peak / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
