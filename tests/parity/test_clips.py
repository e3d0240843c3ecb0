"""Whole clips: masklet's video session against the original's video predictor."""

from __future__ import annotations

import pytest

from masklet.config import Revision
from parity import original
from parity.scenarios import LENGTH, SCENARIOS, Ours, Scenario, compare, on_the_demo
from parity.trio import REVISIONS, is_mixed, nano, trio_of
from parity.weights import clip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_clip_gives_the_original_numbers(revision: Revision, scenario: Scenario) -> None:
    trio, frames = trio_of(revision, scenario), clip(LENGTH)
    answers = []
    for step, agreement, step_answers in compare(
        scenario, Ours(trio.ours, frames), original.Video(trio.original, frames)
    ):
        assert agreement.good, f"{step}: {agreement}"
        answers += step_answers
    assert is_mixed(answers), "a network that loses no object proves little"


def test_the_original_follows_with_the_embedded_weights_alike() -> None:
    ours, theirs, frames = nano()
    for step, agreement, _ in compare(on_the_demo, Ours(ours, frames), original.Video(theirs, frames)):
        assert agreement.good, f"{step}: {agreement}"
