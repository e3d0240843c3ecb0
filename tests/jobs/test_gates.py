"""Gates: measures of masklets, the review queue, precision and recall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masklet.auto import Grid
from masklet.jobs.gates import GATES, Masklet, Measures, pass_all, propose_masklets, review_order, score_gates
from masklet.media import open_frames
from toys import clip, toy_network

GOOD = Measures(iou=0.9, score=5.0, stability=0.95, agreement=0.9, area_jump=1.1)


def masklet(id: int, measures: Measures) -> Masklet:
    return Masklet("video", id, (), measures)


@pytest.mark.parametrize(
    "gate, value",
    [("iou", 0.5), ("score", 1.0), ("stability", 0.5), ("agreement", 0.2), ("area_jump", 4.0)],
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
    rows = [masklet(1, GOOD), masklet(2, GOOD), masklet(3, replace(GOOD, iou=0.1))]
    scores = score_gates(rows, [True, False, True])
    assert (scores[0].passed, scores[0].precision, scores[0].recall) == (2 / 3, 0.5, 0.5)
    assert scores[-1].name == "all gates"
    nothing = score_gates([masklet(1, replace(GOOD, iou=0.1))], [False])
    assert (nothing[0].precision, nothing[0].recall) == (None, None)


def test_proposals_have_a_mask_for_every_frame() -> None:
    grid = Grid(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    rows = propose_masklets(toy_network(), open_frames(clip(3)), grid, max_objects=2)
    assert rows
    for row in rows:
        assert len(row.codes) == 3 and row.mask(0).any()
        assert 0 <= row.measures.agreement <= 1 and row.measures.area_jump >= 1
        assert np.isfinite(row.measures.score)
