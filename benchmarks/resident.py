"""Resident memory of one implementation after so many frames, in a process of its own.

python -m benchmarks.resident NAME WEIGHTS VIDEO FRAMES prints JSON. The first frames and the last are
followed. Of those between, a peer gets the tensors that it keeps of each, copied from one that was followed;
masklet's tracker keeps those of sixteen, however many there were.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.subject import FULL, Work
from masklet.media import open_frames

FOLLOWED = 3
MIB = 2**20


def frames_of(video: Path, count: int) -> np.ndarray:
    """uint8 (T, H, W, 3): a video's frames, from the start again where they run out."""
    stored = open_frames(video)
    return np.stack([stored[frame % len(stored)] for frame in range(count)])


def peer(name: str, work: Work) -> object:
    from benchmarks import peers

    subject = peers.Original(work) if name == "original" else peers.Transformers(work)
    subject.open(1)
    for frame in range(1, 1 + FOLLOWED):
        subject.follow(frame)
    if name == "original":
        kept = subject.state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
    else:
        kept = subject.session.output_dict_per_obj[0]["non_cond_frame_outputs"]
    last = len(work.frames) - 1
    copies: dict[int, dict[str, object]] = {}
    peers.multiply(kept[FOLLOWED], copies, last)
    kept.update({frame: output for frame, output in copies.items() if frame > FOLLOWED})
    subject.follow(last)
    return subject


def ours(work: Work) -> object:
    from benchmarks.ours import Masklet

    subject = Masklet(work)
    subject.open(1)
    subject.remember()
    for frame in (FULL, FULL + 1, FULL + 2):
        subject.follow(frame)
    return subject


def main(name: str, weights: str, video: str, count: str) -> None:
    torch.set_grad_enabled(False)
    process = psutil.Process()
    device = torch.device("cpu")
    if name == "masklet":
        held = ours(Work(Path(weights), frames_of(Path(video), FULL + 3), device))
    else:
        held = peer(name, Work(Path(weights), frames_of(Path(video), int(count)), device))
    resident = process.memory_info().rss  # while what is held is held
    peak = next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    del held
    sys.stdout.write(json.dumps({"resident": resident / MIB, "peak": peak / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
