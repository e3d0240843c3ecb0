"""The loop: a simulated person's review, and weights that are shipped only when they are better."""

from __future__ import annotations

import numpy as np
import pytest

from masklet import rle
from masklet.engine.gates import Masklet, Measures
from masklet.engine.loop import Choice, best_by_more_than_chance
from masklet.engine.simulated_person import SimulatedPerson, find_object
from masklet.media import open_frames
from toys import clip, toy_network

pytestmark = pytest.mark.filterwarnings("ignore")

FRAMES, SIZE = 3, (48, 64)
MEASURES = Measures(0.9, 5.0, 0.9, 0.9, 1.1)


@pytest.fixture
def truth() -> np.ndarray:
    """Two objects that stand still: (t, n, H, W)."""
    masks = np.zeros((FRAMES, 2, *SIZE), dtype=bool)
    masks[:, 0, 4:20, 4:20], masks[:, 1, 26:44, 30:60] = True, True
    return masks


def masklet_of(mask: np.ndarray) -> Masklet:
    return Masklet("clip", 1, (rle.encode(mask),) * FRAMES, MEASURES)


def person(truth: np.ndarray, *taken: Masklet) -> SimulatedPerson:
    return SimulatedPerson(toy_network(), open_frames(clip(FRAMES)), truth, taken)


def test_a_masklet_is_right_for_the_object_that_it_covers(truth: np.ndarray) -> None:
    assert find_object(masklet_of(truth[0, 1]), truth) == (1, 1.0)
    half = truth[0, 1].copy()
    half[:, 48:] = False
    row, j = find_object(masklet_of(half), truth)
    assert row == 1 and j == pytest.approx(0.6)
    assert find_object(masklet_of(~truth.any(axis=1)[0]), truth) == (None, 0.0)


def test_a_person_accepts_an_object_once_and_rejects_the_background(truth: np.ndarray) -> None:
    reviewer = person(truth)
    outcomes = [
        reviewer.review(masklet_of(mask)) for mask in (truth[0, 0], ~truth.any(axis=1)[0], truth[0, 0])
    ]
    assert outcomes == ["accepted", "rejected", "rejected"]
    assert list(reviewer.accepted) == [0] and reviewer.seconds == pytest.approx(3 * FRAMES * 0.1)


def test_objects_of_masklets_that_were_taken_are_not_labelled_again(truth: np.ndarray) -> None:
    taken = [masklet_of(mask) for mask in truth[0]]
    reviewer = person(truth, *taken)
    assert reviewer.review(taken[0]) == "rejected" and reviewer.add_missing() == 0
    assert not reviewer.accepted


def test_what_a_person_accepts_is_right_and_takes_time(truth: np.ndarray) -> None:
    """A toy network needs every frame painted."""
    reviewer = person(truth)
    count = reviewer.add_missing()
    assert count == len(reviewer.accepted)
    for row, codes in reviewer.accepted.items():
        assert find_object(Masklet("clip", 1, tuple(codes), MEASURES), truth)[0] == row
    assert reviewer.seconds > 2 * (1.0 + 1.5)


def test_weights_that_are_no_better_than_before_are_not_shipped() -> None:
    before = np.array([0.4, 0.5, 0.6])
    better = before + np.array([0.02, 0.03, 0.01])
    by_chance = before + np.array([0.1, -0.05, -0.02])
    assert best_by_more_than_chance({"before": before, "mean": before, "after": before - 0.1}) == "before"
    assert best_by_more_than_chance({"before": before, "mean": by_chance, "after": before}) == "before"
    assert best_by_more_than_chance({"before": before, "mean": better, "after": by_chance}) == "mean"
    assert "did not help" in Choice("before", "nano", {"before": before, "mean": before}).line()
    assert "ships mean" in Choice("mean", "x", {"before": before, "mean": better}).line()
