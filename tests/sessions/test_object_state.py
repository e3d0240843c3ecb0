"""The reducer under random events: a session is its script, whatever was taken back on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masklet.model import Sam2
from masklet.sessions.events import Prompted, Propagated, Reviewed
from masklet.sessions.object_state import History, apply_event, join_spans
from masklet.sessions.video import VideoSession
from sessions.events_machine import LENGTH, actions, histories, resolve
from toy_models import assert_equal, click, clip

FRAMES = clip(LENGTH)
policies = st.sampled_from(["recency", "sam2long", "samurai"])
often = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def play(session: VideoSession, history: list[tuple]) -> None:
    for action in history:
        if (change := resolve(session, action)) is not None:
            change(session)


def assert_same(one: VideoSession, other: VideoSession) -> None:
    assert one.script == other.script and one.ids == other.ids
    assert one.answered == other.answered and one.reviewed == other.reviewed
    for id, obj in one.state.objects.items():
        assert obj.prompts == other.state.objects[id].prompts
        assert obj.pending == other.state.objects[id].pending
    for frame in one.answered:
        assert_equal(one.masks(frame), other.masks(frame))


@often
@given(
    history=histories,
    policy=st.sampled_from(["recency", "sam2long", "samurai"]),
    capacity=st.sampled_from([None, 2]),
)
def test_a_script_replayed_is_its_session(
    network: Sam2, history: list[tuple], policy: str, capacity: int | None
) -> None:
    """After everything that is done; and both give the same from there on."""
    session = VideoSession(network, FRAMES, policy=policy, capacity=capacity)
    play(session, history)
    again = VideoSession(network, FRAMES, policy=policy, capacity=capacity).replay(session.script)
    assert_same(session, again)
    if session.ids:
        for each in (session, again):
            list(each.propagate(0))
            list(each.propagate(LENGTH - 1, reverse=True))
        assert_same(session, again)


@often
@given(history=histories, more=st.lists(actions, min_size=1, max_size=5))
def test_undo_and_redo_lead_to_the_same_masks(network: Sam2, history: list[tuple], more: list[tuple]) -> None:
    session = VideoSession(network, FRAMES)
    play(session, [action for action in history if action[0] not in ("undo", "redo")])
    state, masks = session.state, {frame: session.masks(frame) for frame in session.answered}
    before = len(session.script.events)
    play(session, [action for action in more if action[0] in ("prompt", "clear", "review")])
    done = len(session.script.events) - before
    for _ in range(done):
        session.undo()
    assert session.state is state, "nothing is made anew"
    for frame, earlier in masks.items():
        assert_equal(session.masks(frame), earlier)
    for _ in range(done):
        session.redo()
    assert_same(session, VideoSession(network, FRAMES).replay(session.script))


@settings(often, max_examples=10)
@given(history=histories)
def test_restored_is_saved(network: Sam2, tmp_path: Path, history: list[tuple]) -> None:
    session = VideoSession(network, FRAMES)
    play(session, history)
    session.save(tmp_path / "session.json")
    assert_same(session, VideoSession.restore(network, tmp_path / "session.json", FRAMES))


def test_what_does_not_change_is_shared() -> None:
    history = History().after(Prompted(0, 1, click())).after(Prompted(0, 2, click()))
    later = history.after(Prompted(4, 1, click()))
    assert later.before is history
    assert later.state.objects[2] is history.state.objects[2]
    assert later.state.objects[1] is not history.state.objects[1]


def test_prompts_join_the_bank_when_the_object_is_tracked() -> None:
    history = History().after(Prompted(0, 1, click())).after(Prompted(5, 1, click()))
    assert history.state.objects[1].pending == (0, 5) and not history.state.objects[1].bank.conditioning
    history = history.after(Propagated(3, 8, reverse=False))
    obj = history.state.objects[1]
    assert obj.bank.conditioning == (0, 5) and not obj.pending and obj.position == (7, False)
    assert obj.forward == ((3, 8),) and obj.answered == ((0, 1), (3, 8))
    assert history.after(Prompted(0, 1, click())).state.objects[1].position is None


def test_an_object_is_passed_from_its_first_prompt_on() -> None:
    state = History().after(Prompted(5, 1, click())).state
    forward = apply_event(state, Propagated(2, 9, reverse=False), 2).objects[1]
    assert forward.forward == ((5, 9),)
    before = apply_event(state, Propagated(2, 4, reverse=False), 2).objects[1]
    assert before.forward == () and before.position is None and before.bank.settled == 2


def test_a_frame_tracked_next_extends_the_last_event() -> None:
    """Only in the same direction, with the same objects and without a gap."""
    history = History().after(Prompted(2, 1, click())).after(Propagated(2, 5, reverse=False))
    assert history.track_to(5, None, reverse=False).event == Propagated(2, 6, reverse=False)
    assert history.track_to(6, None, reverse=False).event == Propagated(6, 7, reverse=False)
    assert history.track_to(5, (1,), reverse=False).event == Propagated(5, 6, False, (1,))
    assert history.track_to(5, None, reverse=True).event == Propagated(5, 4, reverse=True)


def test_only_masks_that_are_there_are_reviewed() -> None:
    history = History().after(Prompted(2, 1, click())).after(Propagated(2, 5, reverse=False))
    history = history.after(Reviewed(0, 4))
    assert history.state.reviewed == ((0, 4),) and history.state.objects[1].reviewed == ((2, 4),)
    history = history.after(Reviewed(3, 4, reviewed=False))
    assert history.state.reviewed == ((0, 3),) and history.state.objects[1].reviewed == ((2, 3),)


@pytest.mark.parametrize("spans", [[(0, 2), (1, 4)], [(3, 4), (0, 1)], []])
def test_spans_joined_cover_the_same_frames(spans: list[tuple[int, int]]) -> None:
    frames = {frame for span in spans for frame in range(*span)}
    assert {frame for span in join_spans(spans) for frame in range(*span)} == frames
