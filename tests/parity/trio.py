"""The same random weights in all three implementations, at toy size."""

from __future__ import annotations

from collections.abc import Iterator
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
from parity.agreement import Answer
from parity.scenarios import LENGTH, Scenario, compare, forwards
from parity.weights import balance_scores, clip, randomise

# Which random networks are stable depends on how the CPU sums: the original does not even agree with itself
# on an unstable one once its weights are changed by a rounding. So the network is chosen where the tests run.
REVISIONS: tuple[Revision, ...] = ("2.0", "2.1")
SEEDS = range(1, 25)
STABLE = 1e-5  # of object scores, a tenth of what implementations may differ by


@dataclass(frozen=True)
class Trio:
    ours: Sam2
    original: SAM2VideoPredictor
    transformers: Sam2VideoModel


def nano() -> tuple[Sam2, SAM2VideoPredictor, np.ndarray]:
    """Trained weights, in masklet and in the original on the same trunk, and the demo clip's first frames.

    Without zoom, which the original does not have.
    """
    ours = masklet.load("nano", device="cpu", dtype="float32")
    ours.memory_dtype = torch.bfloat16  # as in the original, whatever the network
    ours.config = replace(ours.config, zoom=False)
    theirs = original.build(ours.config)
    theirs.load_state_dict(to_theirs(ours.state_dict(), ORIGINAL), strict=True)
    clip = open_frames(Path(__file__).parents[2] / "examples" / "demo.mp4")
    return ours, theirs, np.stack([clip[frame] for frame in range(LENGTH)])


@cache
def trio_of(revision: Revision, scenario: Scenario = forwards) -> Trio:
    """The first random network that is stable in a scenario on this CPU, and loses objects in it at times."""
    trio = next(stable_trios(revision, scenario), None)
    if trio is None:
        raise RuntimeError(
            f"none of {len(SEEDS)} random networks is stable here and loses objects: try more seeds"
        )
    return trio


def stable_trios(revision: Revision, scenario: Scenario) -> Iterator[Trio]:
    """The random networks that are stable in a scenario on this CPU, and lose objects in it at times."""
    for seed in SEEDS:
        trio = random_trio(revision, seed)
        if is_stable(trio.original, toy(revision), scenario):
            yield trio


@cache
def random_trio(revision: Revision, seed: int) -> Trio:
    config = toy(revision)
    theirs = original.build(config)
    randomise(theirs, seed)
    balance_scores(theirs, clip(LENGTH))
    ours = Sam2(config).eval()
    ours.load_state_dict(to_ours(theirs.state_dict(), ORIGINAL))
    other = transformers_reference.build(config)
    other.load_state_dict(to_theirs(ours.state_dict(), TRANSFORMERS))
    return Trio(ours, theirs, other)


def is_stable(network: SAM2VideoPredictor, config: Sam2Config, scenario: Scenario) -> bool:
    """Whether the original's scores stay when each of its weights changes by a rounding, and are mixed."""
    other = original.build(config)
    other.load_state_dict(network.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1 + 1.2e-7 * torch.randn(weight.shape, generator=generator).sign())
    frames, answers = clip(LENGTH), []
    for _, agreement, step_answers in compare(
        scenario, original.Video(other, frames), original.Video(network, frames)
    ):
        if agreement.score > STABLE:
            return False
        answers += step_answers
    return is_mixed(answers)


def is_mixed(answers: list[Answer]) -> bool:
    """Whether objects are present in more than a tenth of the answers, and not in all of them."""
    present = sum(answer.score.item() > 0 for answer in answers)
    return 0.1 < present / len(answers) < 1
