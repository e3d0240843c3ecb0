"""Gates: measures of masklets, the review queue, precision and recall."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masklet.auto import Grid
from masklet.engine.gates import (
    GATES,
    calibrate_gates,
    pass_all,
    read_limits,
    review_order,
    score_gates,
    score_gates_held_out,
    write_limits,
)
from masklet.engine.proposals import Masklet, Measures, Surroundings, propose_masklets
from masklet.errors import MaskletError
from masklet.media import open_frames
from toy_models import clip, toy_network

GOOD = Measures(iou=0.9, score=5.0, stability=0.95, agreement=0.9, area_jump=1.1)


def masklet(id: int, measures: Measures) -> Masklet:
    return Masklet("video", id, (), measures)


@pytest.mark.parametrize(
    "gate, value",
    [
        ("iou", 0.5),
        ("score", 1.0),
        ("stability", 0.5),
        ("agreement", 0.2),
        ("area_jump", 4.0),
        ("area", 0.7),
        ("sides", 3.0),
        ("contrast", 0.05),
        ("motion", 0.0),
    ],
)
def test_each_gate_stops_what_is_bad_in_its_measure(gate: str, value: float) -> None:
    bad = replace(GOOD, **{gate: value})
    assert pass_all(GOOD) and not pass_all(bad)
    assert sum(not one.passes(bad) for one in GATES) == 1


def test_the_worst_come_first_and_those_that_pass_not_at_all() -> None:
    rows = [
        masklet(1, replace(GOOD, agreement=0.6)),
        masklet(2, GOOD),
        masklet(3, replace(GOOD, agreement=0.1, iou=0.2)),
    ]
    assert [row.id for row in review_order(rows)] == [3, 1]


def test_precision_and_recall_are_of_the_masklets_that_pass() -> None:
    rows = [GOOD, GOOD, replace(GOOD, iou=0.1)]
    scores = score_gates(rows, [True, False, True])
    assert (scores[0].passed, scores[0].precision, scores[0].recall) == (2 / 3, 0.5, 0.5)
    assert scores[-1].name == "all gates"
    nothing = score_gates([replace(GOOD, iou=0.1)], [False])
    assert (nothing[0].precision, nothing[0].recall) == (None, None)


def test_proposals_have_a_mask_for_every_frame() -> None:
    grid = Grid(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    rows = propose_masklets(toy_network(), open_frames(clip(3)), grid, max_objects=2)
    assert rows
    for row in rows:
        assert len(row.codes) == 3 and row.mask(0).any()
        assert 0 <= row.measures.agreement <= 1 and row.measures.area_jump >= 1
        assert np.isfinite(row.measures.score)


def test_limits_are_the_highest_that_keep_the_right_masklets() -> None:
    """Of ten right ones, the worst in a measure may be lost."""
    rows = [replace(GOOD, iou=0.5 + number / 100) for number in range(10)]
    wrong = [replace(GOOD, iou=0.1)] * 10
    gates = calibrate_gates(rows + wrong, [True] * 10 + [False] * 10)
    limits = {gate.name: gate.limit for gate in gates}
    assert limits["predicted IoU"] == pytest.approx(0.51)
    assert sum(pass_all(row, gates) for row in rows) == 9
    assert not any(pass_all(row, gates) for row in wrong)


EASY, FAINT, WRONG = GOOD, replace(GOOD, iou=0.4), replace(GOOD, iou=0.5)


def test_precision_is_measured_on_clips_that_did_not_set_the_limits() -> None:
    """A clip of easy objects and wrong masklets, and one of faint objects.

    Together they set a limit that stops all that is wrong, since 4 of 40 right masklets may be lost. The
    faint clip alone sets one that does not.
    """
    easy = [EASY] * 36 + [WRONG] * 12, [True] * 36 + [False] * 12
    faint = [FAINT] * 4, [True] * 4
    gates = calibrate_gates(easy[0] + faint[0], easy[1] + faint[1])
    in_sample = score_gates(easy[0] + faint[0], easy[1] + faint[1], gates)[-1]
    held_out = score_gates_held_out([easy, faint])
    assert (in_sample.precision, in_sample.recall) == (1.0, 0.9)
    assert [score.name for score in held_out] == [*(gate.name for gate in GATES), "all gates"]
    assert held_out[-1].precision == 36 / 48 and held_out[-1].recall == 36 / 40
    assert held_out[-1].passed == 48 / 52


def test_measures_that_know_nothing_have_the_precision_of_chance_on_other_clips() -> None:
    """Noise; half of the masklets are right. Nine limits fit a handful of right masklets all the same."""
    own, others = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = [Measures(*rng.uniform(1, 2, 9).tolist()) for _ in range(24)]
        clips = [(rows[start : start + 4], [True, True, False, False]) for start in range(0, 24, 4)]
        are_right = [True, True, False, False] * 6
        own.append(score_gates(rows, are_right, calibrate_gates(rows, are_right))[-1].precision)
        others.append(score_gates_held_out(clips)[-1].precision)
    assert np.mean([value for value in own if value is not None]) > 0.65
    assert 0.4 < np.mean([value for value in others if value is not None]) < 0.6


def test_one_clip_alone_has_no_held_out_precision() -> None:
    scores = score_gates_held_out([([GOOD] * 20, [True] * 20)])
    assert {(score.passed, score.precision, score.recall) for score in scores} == {(0.0, None, None)}


def test_too_few_right_masklets_leave_the_limits_as_they_are() -> None:
    rows = [replace(GOOD, iou=0.2)] * 5
    assert calibrate_gates(rows, [True] * 3 + [False] * 2) == GATES


def test_limits_are_read_as_they_were_written(tmp_path: Path) -> None:
    gates = tuple(replace(gate, limit=gate.limit / 2) for gate in GATES)
    write_limits(tmp_path / "gates.json", gates)
    assert [gate.limit for gate in read_limits(tmp_path / "gates.json")] == pytest.approx(
        [gate.limit for gate in gates]
    )
    for text, message in (
        ("{}}", "cannot be read"),
        ('{"taste": 1}', "The gates are"),
        ("[1]", "The gates are"),
        ('{"predicted IoU": NaN}', "The gates are"),
        ('{"predicted IoU": Infinity}', "finite numbers"),
        ('{"predicted IoU": true}', "finite numbers"),
        (f'{{"predicted IoU": {"9" * 400}}}', "finite numbers"),
        ("[" * 100_000, "nested too deeply"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(MaskletError, match=message):
            read_limits(tmp_path / "bad.json")


def test_an_object_differs_from_its_surroundings_and_a_piece_of_background_does_not() -> None:
    """A red square moves over noise that stands still."""
    rng = np.random.default_rng(0)
    background = np.kron(rng.integers(60, 120, (24, 32, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    surface = np.kron(rng.integers(0, 60, (6, 6, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    surface[..., 0] += 190
    images, square = [], []
    for frame in range(4):
        image, mask = background.copy(), np.zeros((96, 128), dtype=bool)
        mask[40:64, 20 + 3 * frame : 44 + 3 * frame] = True
        image[mask] = surface.reshape(-1, 3)
        images.append(image)
        square.append(mask)
    piece = np.zeros((96, 128), dtype=bool)
    piece[30:60, 80:110] = True
    surroundings = Surroundings(open_frames(images))
    assert surroundings.contrast(square) > 0.9 > 0.4 > surroundings.contrast([piece] * 4)
    assert surroundings.motion(square) > 0.8 > 0.1 > surroundings.motion([piece] * 4)
    nothing = [np.zeros((96, 128), dtype=bool)] * 4
    assert surroundings.contrast(nothing) == surroundings.motion(nothing) == 0.0
