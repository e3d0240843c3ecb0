"""Policies side by side: each frame is encoded once, tables separate them, strips show where they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet.datasets import PngVideo
from masklet.errors import MaskletError
from masklet.evaluate.baselines import BASELINES
from masklet.evaluate.policy_comparison import (
    RECENCY,
    VARIANTS,
    PolicyComparison,
    PolicyVariant,
    StripPainter,
    find_extremes,
    make_markdown,
)
from masklet.evaluate.predictors import ModelPredictor
from masklet.evaluate.report import ObjectResult
from masklet.evaluate.samples import find_clips
from masklet.tracking.policies import POLICIES
from toy_models import Fake

from .small import write_moving_square

GATED = PolicyVariant("gated")


@pytest.fixture
def clip(tmp_path: Path) -> PngVideo:
    write_moving_square(tmp_path)
    (only,) = find_clips(tmp_path)
    return only


def test_every_policy_gets_a_result_and_every_frame_is_encoded_once(clip: PngVideo) -> None:
    fake = Fake()
    rows = list(PolicyComparison().run(ModelPredictor("fake", fake), clip))
    assert [row.setting for row in rows] == [rule.name for rule in VARIANTS] == [*POLICIES, "recency, cuts"]
    assert {"J", "F", "J&F", "switches", "s/frame"} <= set(rows[0].scores)
    assert fake.encoded == len(clip.frames)


def test_strips_track_with_each_policy_once(clip: PngVideo) -> None:
    fake = Fake()
    painter = StripPainter(ModelPredictor("fake", fake))
    for _ in range(2):
        assert painter.paint(clip, 1, (RECENCY, GATED)).shape == (2 * 128, 6 * 171, 3)
    assert fake.encoded == len(clip.frames) and len(fake.batches) == 2 * (len(clip.frames) - 1)


def test_a_baseline_has_no_memory(clip: PngVideo) -> None:
    with pytest.raises(MaskletError, match="need a model, but flow is a baseline: choose a model"):
        list(PolicyComparison().run(BASELINES["flow"], clip))


def row(item: str, rule: PolicyVariant, score: float) -> ObjectResult:
    return ObjectResult(item, 1, rule.name, None, {"J&F": score, "s/frame": 0.25})


def test_the_largest_win_and_loss_are_shown_where_there_are_any() -> None:
    rows = [row(item, RECENCY, 0.5) for item in ("a", "b", "c")]
    rows += [row(item, GATED, score) for item, score in (("a", 0.55), ("b", 0.502), ("c", 0.7))]
    assert list(find_extremes(rows, (RECENCY, GATED))) == ["gated-win"]
    win = find_extremes([*rows, row("d", RECENCY, 0.5), row("d", GATED, 0.1)], (GATED,))
    assert (win["gated-win"].sample, win["gated-loss"].sample) == ("c", "d")
    assert str(win["gated-loss"]) == "gated, d, object 1: -40.0 J&F"


def test_tables_say_how_many_clips_there_were() -> None:
    rows = [row(item, rule, 0.5) for item in ("a", "b") for rule in (RECENCY, GATED)]
    assert make_markdown({"cuts": rows, "returns": rows[:2]}).splitlines() == [
        "| cuts: 2 clips | objects | J&F | s/frame |",
        "| --- | --- | --- | --- |",
        "| recency | 2 | 50.0 | 0.25 |",
        "| gated | 2 | 50.0 | 0.25 |",
        "",
        "| returns: 1 clip | objects | J&F | s/frame |",
        "| --- | --- | --- | --- |",
        "| recency | 1 | 50.0 | 0.25 |",
        "| gated | 1 | 50.0 | 0.25 |",
    ]
