"""What holds of sessions holds with every policy: by name, for many objects, both ways, with corrections."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masklet.errors import MaskletError
from masklet.model import Sam2
from masklet.sessions.tracker import Tracker, track
from masklet.sessions.video import VideoSession
from masklet.tracking.policies import POLICIES, find_policy
from masklet.tracking.policies.recency import Recency
from masklet.tracking.policies.sam2long import Sam2Long
from masklet.types import Masks, Prompt
from toy_models import Fake, assert_equal, blob, click, clip, toy_network

SAID = {0: {1: click(), 2: Prompt(box=(4, 4, 40, 40))}, 3: {3: Prompt(mask=blob())}, 6: {1: click(50, 40)}}
each_policy = pytest.mark.parametrize("name", POLICIES)


@pytest.fixture(scope="module")
def network() -> Sam2:
    return toy_network()


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return clip(10)


def worked_on(network: Sam2, frames: np.ndarray, name: str) -> VideoSession:
    session = VideoSession(network, frames, policy=name)
    for frame in (0, 3):
        for id, prompt in SAID[frame].items():
            session.prompt(frame, id, prompt)
    list(session.propagate(0, 5))
    list(session.propagate(5, 7))
    session.prompt(6, 1, SAID[6][1])
    list(session.propagate(7))
    return session


@each_policy
def test_a_stream_is_a_video(network: Sam2, frames: np.ndarray, name: str) -> None:
    """Objects join midway, one is corrected, and following goes on in pieces."""
    session = worked_on(network, frames, name)
    streamed = {masks.frame: masks for masks in track(network, frames, SAID, policy=name, delay=10)}
    assert list(streamed) == list(range(10))
    for frame, masks in streamed.items():
        assert_equal(masks, session.masks(frame).select(*masks.ids), tolerance=2e-3)


@each_policy
def test_a_script_replayed_is_the_session(
    network: Sam2, frames: np.ndarray, name: str, tmp_path: Path
) -> None:
    session = worked_on(network, frames, name)
    answer = session.masks(6).select(1)
    list(session.propagate(8, 1, reverse=True))
    session.prompt(2, 2, click(40, 20))
    session.undo()
    session.clear(3, 3)
    list(session.propagate(4))
    assert_equal(session.masks(6).select(1), answer)
    session.save(tmp_path / "session.json")
    again = VideoSession.restore(network, tmp_path / "session.json", frames)
    assert json.loads((tmp_path / "session.json").read_text())["policy"] == name
    assert again.script == session.script and again.answered == session.answered
    for frame in session.answered:
        assert_equal(again.masks(frame), session.masks(frame))


@each_policy
def test_together_is_apart(network: Sam2, frames: np.ndarray, name: str) -> None:
    session = worked_on(network, frames, name)
    alone = VideoSession(network, frames, policy=name)
    alone.prompt(0, 2, SAID[0][2])
    list(alone.propagate(0))
    for frame in range(10):
        assert_equal(session.masks(frame).select(2), alone.masks(frame), tolerance=2e-3)


@each_policy
def test_backwards_is_forwards_in_a_mirror(network: Sam2, name: str) -> None:
    """Objects that joined at different times, one of them corrected midway."""
    frames = clip(11)  # so that every fifth frame stays one in the mirror
    there = worked_on(network, frames, name)
    back = VideoSession(network, np.ascontiguousarray(frames[::-1]), policy=name)
    for frame in (0, 3):
        for id, prompt in SAID[frame].items():
            back.prompt(10 - frame, id, prompt)
    for start, stop in ((10, 5), (5, 3)):
        list(back.propagate(start, stop, reverse=True))
    back.prompt(4, 1, SAID[6][1])
    list(back.propagate(3, reverse=True))
    for frame in range(11):
        assert_equal(replace(back.masks(10 - frame), frame=frame), there.masks(frame), tolerance=2e-3)


def test_answers_that_may_change_are_not_given(network: Sam2, frames: np.ndarray) -> None:
    """An answer of a session is the last word on its frame, however late it comes."""
    session = VideoSession(network, frames, policy="long")
    session.prompt(0, 1, click())
    given = {masks.frame: masks for masks in session.propagate()}
    assert list(given) == list(range(10))
    for frame, masks in given.items():
        assert_equal(masks, session.masks(frame))


def test_a_stream_waits_as_long_as_it_is_told(fake: Fake) -> None:
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    tracker = Tracker(fake, policy="long", delay=2)
    steps = [tracker.step(image, {1: click()} if frame == 0 else None) for frame in range(5)]
    assert [(masks.frame, masks.ids) for masks in steps] == [
        (-2, ()),
        (-1, ()),
        (0, (1,)),
        (1, (1,)),
        (2, (1,)),
    ]
    assert [masks.frame for masks in tracker.rest()] == [3, 4]
    with pytest.raises(ValueError, match=r"delay must be from 0 to 16 frames\. Got 17"):
        Tracker(fake, policy="long", delay=17)


def test_a_policy_is_a_name_or_what_makes_one() -> None:
    assert find_policy("long") is find_policy("sam2long") is Sam2Long and find_policy(Recency) is Recency
    with pytest.raises(
        MaskletError, match=r"policy must be one of recency, .* Got 'gatd'. Did you mean gated"
    ):
        find_policy("gatd")
    with pytest.raises(MaskletError, match=r"Got 'Samurai'\. Did you mean samurai"):
        find_policy("Samurai")
    with pytest.raises(MaskletError, match=r"Got 'xyz'\.$"):
        find_policy("xyz")


@pytest.mark.parametrize("name", ["xrecency", "lond"])
def test_a_misspelt_name_is_told_at_once(fake: Fake, frames: np.ndarray, name: str) -> None:
    for open_ in (lambda: Tracker(fake, policy=name), lambda: VideoSession(fake, frames, policy=name)):
        with pytest.raises(MaskletError, match="Did you mean"):
            open_()


def test_a_session_with_a_policy_of_its_own_says_so(fake: Fake, frames: np.ndarray, tmp_path: Path) -> None:
    session = VideoSession(fake, frames, policy=Recency)
    session.prompt(0, 1, click())
    session.save(tmp_path / "session.json")
    with pytest.raises(MaskletError, match="without a name: pass it as policy="):
        VideoSession.restore(fake, tmp_path / "session.json", frames)
    VideoSession.restore(fake, tmp_path / "session.json", frames, policy="gated")


def two_scenes() -> np.ndarray:
    """Ten frames; from the sixth on another image."""
    one, other = clip(10), clip(10, seed=7) // 3
    one[5:] = other[5:, ::-1, :, ::-1]
    return one


@pytest.mark.parametrize("reverse", [False, True])
@each_policy
def test_behind_a_cut_only_prompts_are_remembered(network: Sam2, name: str, reverse: bool) -> None:
    frames = two_scenes()
    start, border = (9, 4) if reverse else (0, 5)
    session = VideoSession(network, frames, policy=name, cuts=True)
    session.prompt(start, 1, click())
    whole: dict[int, Masks] = {masks.frame: masks for masks in session.propagate(reverse=reverse)}
    bank = session.tracked[1].bank
    assert bank.cuts == (5,)
    assert {memory.frame for memory in bank.scene(border).behind(border, reverse=reverse)} == set()
    # The first frame of the other scene is followed as if the object had just been pointed at.
    leap = VideoSession(network, frames, policy=name)
    leap.prompt(start, 1, click())
    [first] = leap.propagate(border, border - 1 if reverse else border + 1, reverse=reverse)
    assert_equal(whole[border], first, tolerance=1e-4)


@each_policy
def test_a_stream_sees_the_cuts_of_a_video(network: Sam2, name: str) -> None:
    frames = two_scenes()
    session = VideoSession(network, frames, policy=name, cuts=True)
    session.prompt(0, 1, click())
    list(session.propagate())
    for masks in track(network, frames, {0: {1: click()}}, policy=name, cuts=True, delay=10):
        assert_equal(masks, session.masks(masks.frame), tolerance=2e-3)


@pytest.fixture
def fake() -> Fake:
    return Fake()
