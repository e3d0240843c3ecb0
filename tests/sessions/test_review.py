"""A reviewed frame keeps its masks, and is remembered as a prompted one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masklet.errors import MediaError, PromptError
from masklet.model import Sam2
from masklet.sessions.events import Reviewed
from masklet.sessions.video import VideoSession
from masklet.tracking.policies import POLICIES
from masklet.types import Prompt
from sessions.propagated import FAR, all_masks, assert_all_equal, propagate
from toy_models import Fake, assert_equal, blob, click, differ


def reviewed_session(network: Sam2, frames: np.ndarray, policy: str = "recency") -> VideoSession:
    session = VideoSession(network, frames, policy=policy)
    session.prompt(0, 1, click())
    propagate(session)
    session.review(5, 7)
    return session


@pytest.mark.parametrize("policy", POLICIES)
def test_a_reviewed_frame_keeps_its_masks(network: Sam2, frames: np.ndarray, policy: str) -> None:
    session = reviewed_session(network, frames, policy)
    before = all_masks(session)
    session.prompt(0, 1, Prompt(mask=blob()))
    for reverse in (False, True):
        propagate(session, 9 if reverse else 0, reverse=reverse)
        for frame in (5, 6):
            assert_equal(session.masks(frame), before[frame])
    assert differ(session.masks(3), before[3])


def test_a_reviewed_frame_is_remembered_as_a_prompted_one(network: Sam2, frames: np.ndarray) -> None:
    session, plain = reviewed_session(network, frames), VideoSession(network, frames)
    plain.prompt(0, 1, click())
    propagate(plain)
    for video in (session, plain):
        video.prompt(0, 1, Prompt(mask=blob()))
        propagate(video)
    assert session.tracked[1].bank.prompted.keys() == {0, 5, 6}
    assert differ(session.masks(8), plain.masks(8)), "it is looked at"


def test_a_long_reviewed_span_counts_with_its_ends(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    session.prompt(0, 1, click())
    propagate(session)
    session.review(2, 8)
    propagate(session)
    assert session.tracked[1].bank.prompted.keys() == {0, 2, 7}
    assert session.tracked[1].bank.tracked.keys() == {1, 3, 4, 5, 6, 8, 9}


def test_a_mark_can_be_taken_back(network: Sam2, frames: np.ndarray) -> None:
    session = reviewed_session(network, frames)
    before = all_masks(session)
    session.review(5, 7, reviewed=False)
    assert session.reviewed == ()
    session.prompt(0, 1, Prompt(mask=blob()))
    propagate(session)
    assert differ(session.masks(5), before[5]) and session.tracked[1].bank.prompted.keys() == {0}


def test_undo_and_redo_of_a_review(network: Sam2, frames: np.ndarray) -> None:
    session = reviewed_session(network, frames)
    session.undo()
    assert session.reviewed == ()
    session.redo()
    assert session.reviewed == ((5, 7),)
    session.undo()
    session.prompt(0, 1, FAR)
    with pytest.raises(PromptError, match="nothing to redo"):
        session.redo()


def test_a_prompt_changes_a_reviewed_frame(network: Sam2, frames: np.ndarray) -> None:
    session = reviewed_session(network, frames)
    corrected = session.prompt(5, 1, Prompt(mask=blob()))
    propagate(session)
    assert_equal(session.masks(5), corrected)
    assert session.reviewed == ((5, 7),)


def test_an_object_that_comes_later_gets_masks_on_reviewed_frames(network: Sam2, frames: np.ndarray) -> None:
    session = reviewed_session(network, frames)
    before = session.masks(5)
    session.prompt(0, 2, Prompt(mask=blob()))
    propagate(session)
    assert session.masks(5).ids == (1, 2)
    assert_equal(session.masks(5).select(1), before)


def test_reviews_are_saved(network: Sam2, frames: np.ndarray, tmp_path: Path) -> None:
    session = reviewed_session(network, frames)
    session.prompt(0, 1, Prompt(mask=blob()))
    propagate(session)
    session.save(tmp_path / "session.json")
    again = VideoSession.restore(network, tmp_path / "session.json", frames)
    assert again.reviewed == session.reviewed and Reviewed(5, 7) in again.script.events
    assert_all_equal(all_masks(again), all_masks(session))


def test_only_frames_of_the_video_can_be_reviewed(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    for span in ((-1,), (10,), (3, 11), (3, 3)):
        with pytest.raises(MediaError):
            session.review(*span)
