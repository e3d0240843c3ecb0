"""The same random weights in all three implementations, at toy size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from transformers import Sam2VideoModel

import masklet
from masklet import Sam2
from masklet.checkpoint.layouts import ORIGINAL, TRANSFORMERS, to_ours, to_theirs
from masklet.config import Revision, Sam2Config, toy
from masklet.media import open_frames
from parity import original, transformers_reference
from parity.scenarios import LENGTH, compare, forwards
from parity.weights import balance_scores, clip, randomise

# Random networks that tell objects apart and lose them at times. Which of them are calm depends on how the
# CPU sums: with one that is not, the original does not even agree with itself once its weights are changed by
# a rounding.
SEEDS: dict[Revision, tuple[int, ...]] = {"2.0": (3, 4), "2.1": (1, 2, 8)}
CALM = 1e-5  # of object scores, a tenth of what implementations may differ by


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
    """With weights that are calm on this CPU."""
    *others, last = SEEDS[revision]
    for seed in others:
        if shaken(drawn(revision, seed).original, toy(revision), clip(LENGTH)) <= CALM:
            return drawn(revision, seed)
    return drawn(revision, last)


@cache
def drawn(revision: Revision, seed: int) -> Trio:
    config = toy(revision)
    theirs = original.build(config)
    randomise(theirs, seed)
    balance_scores(theirs, clip(LENGTH))
    ours = Sam2(config).eval()
    ours.load_state_dict(to_ours(theirs.state_dict(), ORIGINAL))
    other = transformers_reference.build(config)
    other.load_state_dict(to_theirs(ours.state_dict(), TRANSFORMERS))
    return Trio(ours, theirs, other)


def shaken(network: SAM2VideoPredictor, config: Sam2Config, frames: np.ndarray) -> float:
    """How far the original's object scores move when each of its weights does by a rounding."""
    other = original.build(config)
    other.load_state_dict(network.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1 + 1.2e-7 * torch.randn(weight.shape, generator=generator).sign())
    steps = compare(forwards, original.Video(other, frames), original.Video(network, frames))
    return max(agreement.score for _, agreement, _ in steps)
