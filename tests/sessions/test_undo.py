"""Taking back: what was cleared, removed or undone leaves no trace, and touches nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from masklet.errors import MaskletError, PromptError
from masklet.model import Sam2
from masklet.sessions.events import Script
from masklet.sessions.video import VideoSession
from masklet.types import Prompt
from sessions.propagated import FAR, all_masks, assert_all_equal, propagate
from toy_models import Fake, assert_equal, blob, click


def test_clearing_and_removing_touch_one_object(network: Sam2, frames: np.ndarray) -> None:
    session = VideoSession(network, frames)
    session.prompt(0, 1, click())
    session.prompt(0, 2, Prompt(mask=blob()))
    session.prompt(5, 1, FAR)
    before = propagate(session)
    session.clear(5, 1)
    assert 1 not in session.masks(5)
    assert dict(session.script) == {0: {1: click(), 2: Prompt(mask=blob())}}
    for frame in before:
        assert_equal(session.masks(frame).select(2), before[frame].select(2))
        if frame != 5:
            assert_equal(session.masks(frame).select(1), before[frame].select(1))
    session.remove(1)
    assert session.ids == (2,)
    for frame in before:
        assert_equal(session.masks(frame), before[frame].select(2))
    session.clear(0, 2)
    assert session.ids == () and session.answered == () and dict(session.script) == {}


def test_what_was_cleared_leaves_no_trace(network: Sam2, frames: np.ndarray) -> None:
    session, plain = VideoSession(network, frames), VideoSession(network, frames)
    session.prompt(0, 1, click())
    session.prompt(5, 1, Prompt(mask=blob()))
    session.clear(5, 1)
    plain.prompt(0, 1, click())
    assert_all_equal(propagate(session), propagate(plain))


CHANGES: dict[str, Callable[[VideoSession], object]] = {
    "a prompt": lambda session: session.prompt(3, 1, Prompt(mask=blob())),
    "a new object": lambda session: session.prompt(3, 9, click()),
    "a clearing": lambda session: session.clear(2, 1),
    "the last clearing": lambda session: session.clear(2, 4),
    "a removal": lambda session: session.remove(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("is_tracked", [False, True])
def test_undo_restores(
    network: Sam2, frames: np.ndarray, change: Callable[[VideoSession], object], is_tracked: bool
) -> None:
    def made() -> VideoSession:
        session = VideoSession(network, frames)
        session.prompt(2, 1, click())
        session.prompt(2, 4, Prompt(box=(4, 4, 40, 40)))
        propagate(session, 2, 6)
        session.prompt(5, 1, FAR)
        return session

    session, untouched = made(), made()
    change(session)
    if is_tracked:
        propagate(session, 2, 8)
    assert session.script != untouched.script
    session.undo()
    assert session.script == untouched.script and session.ids == untouched.ids
    assert_all_equal(all_masks(session), all_masks(untouched))
    assert_equal(session.prompt(4, 1, FAR), untouched.prompt(4, 1, FAR))
    assert_all_equal(propagate(session), propagate(untouched))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("capacity", [None, 2])
def test_tracking_right_after_an_undo(
    network: Sam2, frames: np.ndarray, change: Callable[[VideoSession], object], capacity: int | None
) -> None:
    """It has the number of the event that was taken back, and what that event ended holds all the same."""
    session, untouched = (VideoSession(network, frames, capacity=capacity) for _ in range(2))
    for each in (session, untouched):
        each.prompt(2, 1, Prompt(mask=blob()))
        each.prompt(2, 4, Prompt(box=(4, 4, 40, 40)))
        propagate(each, 2, 6)
    change(session)
    session.undo()
    for reverse in (False, True):
        assert_all_equal(propagate(session, reverse=reverse), propagate(untouched, reverse=reverse))


def test_undo_goes_back_to_the_beginning(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    session.prompt(0, 1, click())
    propagate(session)
    session.prompt(0, 1, FAR)
    session.undo()
    assert len(session.answered) == 10, "what was tracked before stays"
    session.undo()
    assert session.ids == () and session.answered == () and session.script == Script()
    with pytest.raises(PromptError, match="nothing to undo"):
        session.undo()


def test_a_refused_prompt_is_no_step(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    for bad in (lambda: session.prompt(10, 1, click()), lambda: session.prompt(0, 1, click(99, 99))):
        with pytest.raises(MaskletError):
            bad()
    assert session.script == Script() and session.ids == ()
    with pytest.raises(PromptError, match="nothing to undo"):
        session.undo()


def test_undoing_and_removing_while_tracking(fake: Fake, frames: np.ndarray) -> None:
    """The steps stay such that they can be replayed."""
    for end in (VideoSession.undo, lambda session: session.remove(1)):
        session = VideoSession(fake, frames)
        session.prompt(0, 1, click())
        masks = session.propagate()
        next(masks)
        end(session)
        assert next(masks).ids == ()
        again = VideoSession(fake, frames).replay(session.script)
        assert again.ids == () and again.script == session.script


def test_the_banks_are_those_of_the_session_as_it_is(network: Sam2, frames: np.ndarray) -> None:
    """They were missing after a clearing, and after an undo they were those of what was undone."""
    session = VideoSession(network, frames)
    session.prompt(0, 1, click())
    session.prompt(3, 1, FAR)

    def check() -> None:
        again = VideoSession(network, frames).replay(session.script)
        banks, expected = (
            {id: (list(obj.bank.prompted), list(obj.bank.tracked)) for id, obj in one.tracked.items()}
            for one in (session, again)
        )
        assert banks == expected and tuple(banks) == session.ids

    propagate(session)
    check()
    assert list(session.tracked[1].bank.prompted) == [0, 3]
    session.clear(3, 1)
    check()
    assert list(session.tracked[1].bank.prompted) == [0]
    session.prompt(4, 1, FAR)
    session.prompt(4, 2, click())
    propagate(session)
    check()
    for _ in range(3):
        session.undo()
        check()
