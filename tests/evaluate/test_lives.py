"""Identity switches and returns, counted by hand and by a plain restatement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet.evaluate.lives import WITHIN, Life
from masklet.evaluate.report import Line
from masklet.evaluate.rows import Row


def at(place: int | None) -> np.ndarray:
    """One of four places in a row, or nowhere."""
    mask = np.zeros((2, 8), dtype=bool)
    if place is not None:
        mask[:, 2 * place : 2 * place + 2] = True
    return mask


def lived(truth: list[int | None], answer: list[int | None], other: int | None = 3) -> Life:
    life = Life(1)
    for true, answered in zip(truth, answer, strict=True):
        life.live({1: at(true), 2: at(other)}, at(answered))
    return life


def test_going_over_and_coming_back_are_two_switches() -> None:
    assert lived([0] * 6, [0, 0, 3, 3, None, 0]).switches == 2
    assert lived([0] * 3, [3, 3, 3]).switches == 1, "the wrong object from the start"
    assert lived([0] * 4, [0, 1, None, 0]).switches == 0, "losing an object is no switch"


def test_returns_are_found_in_time_or_not() -> None:
    away = [0, 0, None, None, *[0] * 20]
    assert lived(away, [0, 0, None, None, None, *[0] * 19]).scores["re-found"] == 1.0
    late = [0, 0, None, None, *[None] * WITHIN, *[0] * (20 - WITHIN)]
    assert lived(away, late).scores["re-found"] == 0.0
    assert "re-found" not in lived([0, 0, 0], [0, 0, 0]).scores
    assert "re-found" not in lived([None, None, 0, 0], [None, None, 0, 0]).scores, (
        "the first time is no return"
    )


PLACES = st.sampled_from([0, 0, 1, None, None])


@given(st.lists(st.tuples(PLACES, st.sampled_from([0, 1, 3, None])), min_size=1, max_size=40))
def test_lives_are_counted_as_said(frames: list[tuple[int | None, int | None]]) -> None:
    truth, answer = [list(each) for each in zip(*frames, strict=True)]
    on = 1
    switches = returns = found = 0
    for now, (true, answered) in enumerate(frames):
        held = {true: 1, 3: 2}.get(answered) if answered is not None else None
        switches += held is not None and held != on
        on = held or on
        if true is not None and now and truth[now - 1] is None and any(t is not None for t in truth[:now]):
            returns += 1
            stretch = [*truth[now:], None]
            window = range(now, now + min(stretch.index(None), WITHIN))
            found += any(answer[at_] == truth[at_] for at_ in window)
    life = lived(truth, answer)
    assert (life.switches, life.returns, life.found) == (switches, returns, found)


def test_a_score_that_some_have_is_averaged_over_those() -> None:
    rows = [Row("a", 1, "mask", None, {"J": 0.2}), Row("b", 1, "mask", None, {"J": 0.4, "re-found": 1.0})]
    line = Line.over("both", rows)
    assert line.scores == pytest.approx({"J": 0.3, "re-found": 1.0})
    assert Line.over("one", rows[:1]).shown("re-found") == ""
