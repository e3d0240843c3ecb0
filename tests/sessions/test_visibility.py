"""Objects are lost and found as a plain restatement of the rule says; cuts are told from motion and light."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from masklet.media import open_frames
from masklet.sessions.scene_cuts import is_cut, thumbnail
from masklet.sessions.visibility import Event, VisibilityMonitor
from masklet.types import Masks

SCORES = st.lists(st.sampled_from([-9.0, -0.1, 0.0, 0.5, 1.0, 4.0]), max_size=40)


def answer(frame: int, scores: dict[int, float], *, empty: bool = False) -> Masks:
    logits = torch.full((len(scores), 4, 4), -1.0 if empty else 1.0)
    object_scores = torch.tensor(list(scores.values()))
    return Masks(frame, tuple(scores), logits, (8, 8), object_scores, object_scores)


def changes(scores: list[float], watch: VisibilityMonitor | None = None) -> list[tuple[int, str, int]]:
    watch = watch or VisibilityMonitor()
    events = [event for frame, score in enumerate(scores) for event in watch.step(answer(frame, {3: score}))]
    return [(event.frame, event.kind, event.since) for event in events]


def changes_by_definition(
    scores: list[float], low: float = 0.0, high: float = 1.0, patience: int = 3
) -> list[object]:
    """The rule once more: each state from the whole past."""
    states: list[str] = []
    events: list[object] = []
    for now, score in enumerate(scores):
        lately = scores[max(0, now - patience + 1) : now + 1]
        whole = len(lately) == patience
        before = states[-1] if states else None
        begun = now - patience + 1
        if before is None:
            state, kind, since = ("doubtful",) * 2 + (now,) if score <= low else ("seen", "appeared", now)
        elif before == "lost":
            turned = (
                whole
                and all(value >= high for value in lately)
                and states[begun:] == ["lost"] * len(states[begun:])
            )
            state, kind, since = ("seen", "found", begun) if turned else ("lost", "", 0)
        elif whole and max(lately) <= low:
            state, kind, since = "lost", "lost", begun
        elif before == "seen" and score <= low:
            state, kind, since = "doubtful", "doubtful", now
        elif before == "doubtful" and score >= high:
            state, kind, since = "seen", "sure", now
        else:
            state, kind, since = before, "", 0
        states.append(state)
        if kind:
            events.append((now, kind, since))
    return events


@given(SCORES)
def test_the_rule_is_what_it_says(scores: list[float]) -> None:
    assert changes(scores) == changes_by_definition(scores)


@given(SCORES, st.integers(1, 5))
def test_a_trembling_score_tells_no_tales(scores: list[float], patience: int) -> None:
    between = [min(max(score, 0.1), 0.9) for score in scores]
    assert [kind for _, kind, _ in changes(between, VisibilityMonitor(patience=patience))] == ["appeared"][
        : len(scores)
    ]


def test_an_object_leaves_and_returns() -> None:
    scores = [5.0, 5.0, -2.0, -2.0, -2.0, -2.0, 0.5, 3.0, -1.0, 3.0, 3.0, 3.0, -1.0, 0.5, 2.0]
    assert changes(scores) == [
        (0, "appeared", 0),
        (2, "doubtful", 2),
        (4, "lost", 2),
        (11, "found", 9),
        (12, "doubtful", 12),
        (14, "sure", 14),
    ]


def test_an_empty_mask_is_a_missing_object() -> None:
    monitor = VisibilityMonitor()
    events = [event for frame in range(5) for event in monitor.step(answer(frame, {1: 6.0}, empty=frame > 0))]
    assert [(event.frame, event.kind) for event in events] == [(0, "appeared"), (1, "doubtful"), (3, "lost")]


def test_objects_are_watched_apart() -> None:
    watch = VisibilityMonitor(patience=1)
    assert watch.step(answer(0, {})) == []
    watch.step(answer(0, {1: 5.0, 2: 5.0}))
    assert watch.step(answer(1, {1: 5.0, 2: -5.0})) == [Event(1, 2, "lost", 1)]
    assert watch.states == {1: "seen", 2: "lost"}
    watch.forget(2, 77)
    assert watch.step(answer(2, {2: 5.0})) == [Event(2, 2, "appeared", 2)]


@pytest.mark.parametrize("wrong", [{"low": 2.0}, {"patience": 0}])
def test_thresholds_that_cannot_be_meant(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must .* Got"):
        VisibilityMonitor(**wrong)


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    coarse = random.uniform(0, 255, (2, 6, 6, 3)) * ((1.0, 0.6, 0.3), (0.2, 0.7, 1.0))[0]
    coarse[1] = coarse[1][..., ::-1]
    one, other = (image.repeat(20, axis=0).repeat(20, axis=1).astype(np.uint8) for image in coarse)
    return one, other


def test_another_scene_is_a_cut() -> None:
    one, other = map(thumbnail, images())
    assert is_cut(one, other) and is_cut(other, one) and not is_cut(one, one)


def test_motion_and_light_are_no_cuts() -> None:
    one, _ = images()
    panned = np.roll(one, 30, axis=1)
    darker = (one * 0.5).astype(np.uint8)
    plain = np.full_like(one, 7)
    assert not is_cut(thumbnail(one), thumbnail(panned))
    assert not is_cut(thumbnail(one), thumbnail(darker))
    assert not is_cut(thumbnail(plain), thumbnail(plain))


def test_real_clips_have_none_and_their_seams_are_some(data: Path) -> None:
    folders = sorted((data / "videos").iterdir())[:4]
    clips = []
    for folder in folders:
        frames = open_frames(folder / "frames")
        clips.append([thumbnail(frames[at]) for at in range(0, 24, 4)])
    for clip in clips:
        assert not any(is_cut(*pair) for pair in pairwise(clip))
    seams = [is_cut(one[-1], other[0]) for one in clips for other in clips if one is not other]
    assert sum(seams) >= len(seams) - 1
