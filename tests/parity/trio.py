"""The same random weights in all three implementations, at toy size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from sam2.sam2_video_predictor import SAM2VideoPredictor
from transformers import Sam2VideoModel

import masklet
from masklet import Sam2
from masklet.checkpoint.layouts import ORIGINAL, TRANSFORMERS, to_ours, to_theirs
from masklet.config import Revision, toy
from masklet.media import open_frames
from parity import original, transformers_reference
from parity.scenarios import LENGTH
from parity.weights import balance_scores, clip, randomise

# Random networks that tell objects apart, lose them at times, and are calm: many are not, and with those the
# original does not even agree with itself once its weights are changed by a rounding.
SEEDS: dict[Revision, int] = {"2.0": 3, "2.1": 1}


@dataclass(frozen=True)
class Trio:
    ours: Sam2
    original: SAM2VideoPredictor
    transformers: Sam2VideoModel


def nano() -> tuple[Sam2, SAM2VideoPredictor, np.ndarray]:
    """Trained weights, in masklet and in the original, and the demo clip's first frames.

    Without the closer look, which the original does not take.
    """
    ours = masklet.load("nano", device="cpu", dtype="float32")
    ours.config = replace(ours.config, closer=False)
    theirs = original.build(ours.config)
    theirs.load_state_dict(to_theirs(ours.state_dict(), ORIGINAL), strict=True)
    clip = open_frames(Path(__file__).parents[2] / "examples" / "demo.mp4")
    return ours, theirs, np.stack([clip[frame] for frame in range(LENGTH)])


@cache
def trio_of(revision: Revision) -> Trio:
    config = toy(revision)
    theirs = original.build(config)
    randomise(theirs, SEEDS[revision])
    balance_scores(theirs, clip(LENGTH))
    ours = Sam2(config).eval()
    ours.load_state_dict(to_ours(theirs.state_dict(), ORIGINAL))
    other = transformers_reference.build(config)
    other.load_state_dict(to_theirs(ours.state_dict(), TRANSFORMERS))
    return Trio(ours, theirs, other)
