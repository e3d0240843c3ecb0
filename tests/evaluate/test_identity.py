"""Identity switches and returns, counted by hand and by a plain restatement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet.evaluate.metrics import RETURN_FRAMES, IdentityScore
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
    assert (identity.switches, identity.returns, identity.found) == (switches, returns, hits)


def test_a_score_that_some_have_is_averaged_over_those() -> None:
    rows = [
        ObjectResult("a", 1, "mask", None, {"J": 0.2}),
        ObjectResult("b", 1, "mask", None, {"J": 0.4, "re-found": 1.0}),
    ]
    row = TableRow.over("both", rows)
    assert row.scores == pytest.approx({"J": 0.3, "re-found": 1.0})
    assert TableRow.over("one", rows[:1]).format("re-found") == ""
