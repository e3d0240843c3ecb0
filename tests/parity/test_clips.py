"""Whole clips: masklet's video session against the original's video predictor."""

from __future__ import annotations

import pytest

from parity import original
from parity.scenarios import LENGTH, SCENARIOS, Ours, Scenario, compare, on_the_demo
from parity.trio import Trio, nano
from parity.weights import clip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_clip_gives_the_original_numbers(trio: Trio, scenario: Scenario) -> None:
    frames = clip(LENGTH)
    seen = []
    for step, agreement, answers in compare(
        scenario, Ours(trio.ours, frames), original.Video(trio.original, frames)
    ):
        assert agreement.good, f"{step}: {agreement}"
        seen += answers
    present = [answer.score.item() > 0 for answer in seen]
    assert 0.1 < sum(present) / len(present) < 1, "a network that loses no object proves little"


def test_the_original_follows_with_the_embedded_weights_alike() -> None:
    ours, theirs, frames = nano()
    for step, agreement, _ in compare(on_the_demo, Ours(ours, frames), original.Video(theirs, frames)):
        assert agreement.good, f"{step}: {agreement}"
