"""masklet engine: the whole loop on composed clips, and proposals that become a project of the studio."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from masklet import rle
from masklet.cli.engine_demo import Choice, SimulatedPerson, best_by_more_than_chance, find_object
from masklet.jobs.gates import Masklet, Measures, read_limits
from masklet.media import open_frames
from toys import clip, toy_network

from .conftest import Run

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


@pytest.mark.slow
def test_two_rounds_print_their_table(run: Run, tmp_path: Path) -> None:
    small = ("--clips", 1, "--frames", 3, "--size", 128, "--steps", 1, "--points", 4, "--max-objects", 2)
    answer = run("engine", "demo", "--out", tmp_path, *small)
    assert answer.code == 0, answer.err
    for line in ("Calibration", "Round 1", "Round 2", "all gates", "simulated person", "J&F in validation"):
        assert line in answer.out
    command, *lines = (tmp_path / "report.txt").read_text().strip().splitlines()
    assert command.startswith("$ masklet engine demo") and lines == answer.out.strip().splitlines()
    assert read_limits(tmp_path / "gates.json")
    scores = re.search(r"J&F of the test clips: (\S+), then (\S+), then (\S+)", answer.out)
    assert scores is not None
    is_better = float(scores[3]) > float(scores[1])
    assert is_better or "The loop did not make the model better" in answer.out


@pytest.mark.slow
def test_what_is_doubtful_is_a_project_of_the_studio(run: Run, shelf: Path, tmp_path: Path) -> None:
    answer = run(
        "engine", "propose", shelf / "clip.mp4", "--out", tmp_path, "--model", shelf / "toy.safetensors"
    )
    assert answer.code == 0, answer.err
    queue = json.loads((tmp_path / "queue.json").read_text())
    if queue:  # a toy network may find nothing
        with sqlite3.connect(tmp_path / "studio" / "studio.db") as database:
            assert database.execute("select count(*) from videos").fetchone()[0] == 1
