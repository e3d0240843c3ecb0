"""The real tiny at 1024 pixels, with random weights, against the original: two objects over a short clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from masklet import checkpoint
from masklet.config import TINY
from parity import original
from parity.scenarios import (
    BOX,
    BOX_AND_CLICKS,
    CORRECTION,
    MASK,
    Ours,
    Step,
    Video,
    compare,
    prompted,
    tracked,
)
from parity.weights import balance_scores, clip, randomise


def scenario(video: Video) -> Iterator[Step]:
    yield from prompted(video, 0, BOX_AND_CLICKS, MASK)
    yield from tracked(video, 0)
    yield from prompted(video, 2, CORRECTION, BOX)
    yield from tracked(video, 2, reverse=True)  # to frame 0, which has prompts of its own


@pytest.mark.slow
def test_tiny_at_1024(tmp_path: Path) -> None:
    frames = clip(3)
    theirs = original.build(TINY)
    randomise(theirs, seed=0)
    balance_scores(theirs, frames[:2])
    torch.save({"model": theirs.state_dict()}, tmp_path / "tiny.pt")
    ours = checkpoint.load(tmp_path / "tiny.pt", device="cpu", dtype="float32")
    seen = []
    for step, agreement, answers in compare(scenario, Ours(ours, frames), original.Video(theirs, frames)):
        assert agreement.good, f"{step}: {agreement}"
        seen += answers
    assert {answer.score.item() > 0 for answer in seen} == {True, False}
