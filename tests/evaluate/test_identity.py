"""Identity switches and returns, counted by hand and by a plain restatement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from masklet.evaluate.metrics import RETURN_FRAMES, IdentityScore, TrackScore, jaccard
from masklet.evaluate.report import ObjectResult, TableRow


def at(place: int | None) -> np.ndarray:
    """One of four places in a row, or nowhere."""
    mask = np.zeros((2, 8), dtype=bool)
    if place is not None:
        mask[:, 2 * place : 2 * place + 2] = True
    return mask


def count(truth: list[int | None], answer: list[int | None], other: int | None = 3) -> IdentityScore:
    identity = IdentityScore(1)
    for true, answered in zip(truth, answer, strict=True):
        identity.add({1: at(true), 2: at(other)}, at(answered))
    return identity


def test_going_over_and_coming_back_are_two_switches() -> None:
    assert count([0] * 6, [0, 0, 3, 3, None, 0]).switches == 2
    assert count([0] * 3, [3, 3, 3]).switches == 1, "the wrong object from the start"
    assert count([0] * 4, [0, 1, None, 0]).switches == 0, "losing an object is no switch"


def test_returns_are_found_in_time_or_not() -> None:
    away = [0, 0, None, None, *[0] * 20]
    assert count(away, [0, 0, None, None, None, *[0] * 19]).scores["re-found"] == 1.0
    late = [0, 0, None, None, *[None] * RETURN_FRAMES, *[0] * (20 - RETURN_FRAMES)]
    assert count(away, late).scores["re-found"] == 0.0
    assert "re-found" not in count([0, 0, 0], [0, 0, 0]).scores
    assert "re-found" not in count([None, None, 0, 0], [None, None, 0, 0]).scores, (
        "the first time is no return"
    )


PLACES = st.sampled_from([0, 0, 1, None, None])


@given(st.lists(st.tuples(PLACES, st.sampled_from([0, 1, 3, None])), min_size=1, max_size=40))
def test_switches_and_returns_equal_a_plain_restatement(frames: list[tuple[int | None, int | None]]) -> None:
    truth, answer = [list(column) for column in zip(*frames, strict=True)]
    on = 1
    switches = returns = hits = 0
    for now, (true, answered) in enumerate(frames):
        held = {true: 1, 3: 2}.get(answered) if answered is not None else None
        switches += held is not None and held != on
        on = held or on
        if true is not None and now and truth[now - 1] is None and any(t is not None for t in truth[:now]):
            returns += 1
            stretch = [*truth[now:], None]
            window = range(now, now + min(stretch.index(None), RETURN_FRAMES))
            hits += any(answer[at_] == truth[at_] for at_ in window)
    identity = count(truth, answer)
    assert (identity.switches, identity.returns, identity.refound) == (switches, returns, hits)


def test_a_score_that_some_have_is_averaged_over_those() -> None:
    rows = [
        ObjectResult("a", 1, "mask", None, {"J": 0.2}),
        ObjectResult("b", 1, "mask", None, {"J": 0.4, "re-found": 1.0}),
    ]
    row = TableRow.over("both", rows)
    assert row.scores == pytest.approx({"J": 0.3, "re-found": 1.0})
    assert TableRow.over("one", rows[:1]).format("re-found") == ""


@st.composite
def tracks(draw: st.DrawFn) -> list[tuple[dict[int, np.ndarray], dict[int, np.ndarray]]]:
    """Some frames of 4 x 6 pixels with true masks and answered ones, up to four of each."""
    pixels = arrays(bool, (4, 6))
    masks = st.dictionaries(st.integers(1, 4), pixels, max_size=4)
    return draw(st.lists(st.tuples(masks, masks), min_size=1, max_size=5))


def score_tracks(frames: list[tuple[dict[int, np.ndarray], dict[int, np.ndarray]]]) -> dict[str, float]:
    score = TrackScore()
    for truths, answers in frames:
        score.add(truths, answers)
    return score.scores()


@given(tracks())
@settings(deadline=None, max_examples=60)
def test_hota_and_idf1_are_those_of_trackeval(
    frames: list[tuple[dict[int, np.ndarray], dict[int, np.ndarray]]],
) -> None:
    metrics = pytest.importorskip("trackeval.metrics")
    visible = [[{id: mask for id, mask in side.items() if mask.any()} for side in frame] for frame in frames]
    numbers = [sorted({id for frame in visible for id in frame[side]}) for side in (0, 1)]
    overlaps = [
        np.array([[jaccard(truth, mask) for mask in answers.values()] for truth in truths.values()]).reshape(
            len(truths), len(answers)
        )
        for truths, answers in visible
    ]
    data = {
        "num_gt_dets": sum(len(truths) for truths, _ in visible),
        "num_tracker_dets": sum(len(answers) for _, answers in visible),
        "num_gt_ids": len(numbers[0]),
        "num_tracker_ids": len(numbers[1]),
        "gt_ids": [np.array([numbers[0].index(id) for id in truths], dtype=int) for truths, _ in visible],
        "tracker_ids": [np.array([numbers[1].index(id) for id in found], dtype=int) for _, found in visible],
        "similarity_scores": overlaps,
    }
    if not data["num_gt_dets"] or not data["num_tracker_dets"]:
        return  # there trackeval has conventions of its own
    ours = score_tracks(frames)
    hota = metrics.HOTA().eval_sequence(data)
    for name in ("HOTA", "DetA", "AssA"):
        assert ours[name] == pytest.approx(float(np.mean(hota[name])))
    assert ours["IDF1"] == pytest.approx(
        metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)["IDF1"]
    )


def test_all_objects_under_one_id_each_score_1() -> None:
    left, right = np.zeros((2, 4, 6), dtype=bool)
    left[:, :3], right[:, 3:] = True, True
    scores = score_tracks([({1: left, 2: right}, {5: right, 9: left})] * 3)
    assert scores == {"HOTA": 1.0, "DetA": 1.0, "AssA": 1.0, "IDF1": 1.0}


def test_a_mask_that_is_not_annotated_counts_against_the_score() -> None:
    left, right = np.zeros((2, 4, 6), dtype=bool)
    left[:, :3], right[:, 3:] = True, True
    scores = score_tracks([({1: left}, {1: left, 2: right})] * 3)
    assert scores["DetA"] == 0.5 and scores["AssA"] == 1.0 and scores["IDF1"] == pytest.approx(2 / 3)


def test_nothing_tracked_scores_0() -> None:
    assert score_tracks([({1: np.ones((4, 6), dtype=bool)}, {})])["HOTA"] == 0.0
