"""Measures the time of an exported network, and the difference of its masks from torch's.

python -m benchmarks.export FOLDER ...

Each folder is the output of `masklet export onnx`. Times are processor times, so that other work on the
machine does not count. Torch and all folders compute each frame in turn. A folder is compared with torch with
memories of the same dtype; one of --precision fp16 with torch's default.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

import masklet
from benchmarks import REPO
from masklet.media import open_frames
from masklet.onnx import Network, Tracker

Result = TypeVar("Result")
CLICKS = {0: {1: (188, 140), 2: (60, 200)}, 8: {1: (200, 150)}}  # frame, object, position in the demo clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    trackers = {str(folder): Tracker(Network(folder, threads=1), zoom=False) for folder in options.folders}
    dtypes = {name: tracker.network.manifest.memory_dtype for name, tracker in trackers.items()}
    default = masklet.load(options.model, device="cpu").config.memory_dtype
    references = {name: default if dtype == "float16" else dtype for name, dtype in dtypes.items()}
    tracked_by_torch = {dtype: torch_tracker(options.model, dtype) for dtype in references.values()}
    seconds: dict[str, list[float]] = defaultdict(list)
    logits: dict[str, list[float]] = defaultdict(list)
    overlaps: dict[str, list[float]] = defaultdict(list)
    pixels: dict[str, int] = defaultdict(int)
    for frame, image in enumerate(
        itertools.islice(open_frames(REPO / "examples" / "demo.mp4"), options.frames)
    ):
        prompts = {id: masklet.Prompt(positive=[xy]) for id, xy in CLICKS.get(frame, {}).items()}
        expected = {
            dtype: timed(seconds[f"torch, memories in {dtype}"], partial(tracker.step, image, prompts))
            for dtype, tracker in tracked_by_torch.items()
        }
        for name, tracker in trackers.items():
            masks = timed(seconds[name], partial(tracker.step, image, prompts))
            right = expected[references[name]]
            logits[name].append(float(np.abs(masks.low_res - right.low_res.numpy()).max()))
            for id in right.ids:
                united = (masks[id] | right[id]).sum()
                overlaps[name].append((masks[id] & right[id]).sum() / united if united else 1.0)
                pixels[name] += int((masks[id] != right[id]).sum())
    print(
        "| | ms of the processor a frame | largest difference of logits | IoU of masks: mean, least "
        "| pixels that changed |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        cells = ["", "", ""]
        if name in logits:
            overlap = f"{np.mean(overlaps[name]):.4f}, {min(overlaps[name]):.4f}"
            cells = [f"{max(logits[name]):.2g}", overlap, str(pixels[name])]
        print(f"| {name} | {1000 * np.median(times):.0f} | {' | '.join(cells)} |")


def torch_tracker(model: str, memory_dtype: str) -> masklet.Tracker:
    """A tracker on torch's own operators."""
    network = masklet.load(model, device="cpu", engine="torch")
    network.memory_dtype = getattr(torch, memory_dtype)
    return masklet.Tracker(network, zoom=False)


def timed(times: list[float], run: Callable[[], Result]) -> Result:
    start = time.process_time()
    result = run()
    times.append(time.process_time() - start)
    return result


if __name__ == "__main__":
    main()
