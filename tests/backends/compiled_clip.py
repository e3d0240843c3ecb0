"""A clip in which objects join, leave and are corrected, with torch's own operators and with compiled graphs.

Run as a program of its own: graphs cannot be made of functions whose types are checked, as tests check them.
`python compiled_clip.py COMPILER SIZES [MODEL]` prints what differs, and how often graphs were made, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch._dynamo.utils import counters

sys.path.insert(0, str(Path(__file__).parents[1]))

import masklet
from masklet import Masks, Prompt, Sam2, Tracker, VideoSession
from masklet.backends.compiled import CompiledBackend
from toy_models import clip, toy_network

LENGTH = 20
ROUNDING = 1e-3  # of an object's largest logit


def track_live(model: Sam2, frames: np.ndarray) -> list[Masks]:
    """Objects 2 to 4 join and object 1 leaves; then object 2 is corrected, with two clicks on its mask."""
    height, width = frames.shape[1:3]
    tracker, masks = Tracker(model, zoom=False), []
    prompts = {
        0: {1: Prompt(positive=[(width * 0.3, height * 0.5)])},
        3: {
            2: Prompt(positive=[(width * 0.6, height * 0.5)]),
            3: Prompt(box=(2, 2, width / 2, height / 2)),
            4: Prompt(box=(width / 2, 2, width - 2, height - 2)),
        },
        12: {2: Prompt(positive=[(width * 0.6, height * 0.5)], negative=[(3, 3)])},
    }
    for frame, image in enumerate(frames):
        if frame == 8:
            tracker.forget(1)
        masks.append(tracker.step(image, prompts.get(frame)))
    return masks


def propagate(model: Sam2, frames: np.ndarray) -> list[Masks]:
    """A stored video forward from frame 4, and backward from there."""
    height, width = frames.shape[1:3]
    video = VideoSession(model, frames, zoom=False)
    video.prompt(4, 1, Prompt(positive=[(width * 0.3, height * 0.5)]))
    return [*video.propagate(), *video.propagate(reverse=True)]


def compare(expected: list[Masks], actual: list[Masks]) -> dict[str, float]:
    """The largest difference of logits as a part of the largest logit, and pixels on another side of 0.

    Only pixels count whose logits are so far from 0 that no rounding moves them over it.
    """
    differences, pixels = [0.0], 0
    for here, there in zip(expected, actual, strict=True):
        assert (here.frame, here.ids) == (there.frame, there.ids)
        if here.ids:
            scale = float(here.low_res.abs().max())
            differences.append(float((here.low_res - there.low_res).abs().max()) / scale)
            flipped = (here.logits > 0).ne(there.logits > 0)
            near = ROUNDING * here.low_res.abs().amax((1, 2))[:, None, None]
            pixels += int((flipped & (here.logits.abs() > near)).sum())
    return {"logits": max(differences), "pixels": pixels}


def main(compiler: str, sizes: str, name: str = "toy") -> None:
    torch.set_num_threads(1)
    size = (48, 64) if name == "toy" else (144, 192)
    networks = [toy_network() if name == "toy" else masklet.load(name, engine="torch") for _ in range(2)]
    eager, compiled = networks
    compiled.backend = CompiledBackend(
        compiled, compiler=compiler, sizes=[int(number) for number in sizes.split(",")], frames=4
    )
    frames = clip(LENGTH, size)
    live = compare(track_live(eager, frames), track_live(compiled, frames))
    graphs = counters["stats"]["unique_graphs"]
    if name == "toy":
        stored = compare(propagate(eager, frames[:11]), propagate(compiled, frames[:11]))
    else:
        stored = None
    print(json.dumps({"live": live, "graphs": graphs, "stored": stored}))


if __name__ == "__main__":
    main(*sys.argv[1:])
