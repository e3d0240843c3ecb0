"""What a person says of a frame stands, and changes what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from masklet import rle
from masklet.model import Sam2
from masklet.sessions.events import Script
from masklet.sessions.video import VideoSession
from masklet.types import Masks, Prompt
from sessions.propagated import FAR, all_masks, assert_all_equal, propagate
from toy_models import assert_equal, blob, click, differ


def test_prompted_frames_keep_their_answers(network: Sam2, frames: np.ndarray) -> None:
    session = VideoSession(network, frames)
    answered = {(0, 1): session.prompt(0, 1, click()), (7, 2): session.prompt(7, 2, Prompt(mask=blob()))}
    propagate(session)
    answered[4, 1] = session.prompt(4, 1, FAR)
    answered[9, 1] = session.prompt(9, 1, click(40, 40))
    for reverse in (False, True, True, False):
        propagate(session, reverse=reverse)
        for (frame, id), masks in answered.items():
            assert_equal(session.masks(frame).select(id), masks.select(id))


def test_prompted_frames_keep_their_answers_in_a_small_bank(network: Sam2, frames: np.ndarray) -> None:
    session = VideoSession(network, frames, capacity=2)
    answered = {frame: session.prompt(frame, 1, click(10 * frame, 20)) for frame in (0, 2, 4, 6)}
    for reverse in (False, True):
        found = propagate(session, reverse=reverse)
        for frame, masks in answered.items():
            assert_equal(found[frame], masks)


def test_a_correction_sticks_and_changes_what_follows(network: Sam2, frames: np.ndarray) -> None:
    session = VideoSession(network, frames)
    session.prompt(0, 1, click())
    before = propagate(session)
    corrected = session.prompt(5, 1, Prompt(mask=blob()))
    assert_all_equal(all_masks(session), {**before, 5: corrected})
    after = propagate(session)
    assert_equal(after[5], corrected)
    assert differ(after[5], before[5]) and all(differ(after[i], before[i], by=1e-2) for i in (6, 7, 8, 9))
    assert_equal(after[0], before[0])


def test_a_drawn_mask_stands_as_it_was_drawn(network: Sam2, frames: np.ndarray, tmp_path: Path) -> None:
    """To the pixel, wherever masks are read; but clicks upon it start from what the network made of it."""
    stripes = np.zeros(blob().shape, dtype=bool)
    stripes[::5, ::3] = True
    session = VideoSession(network, frames)
    session.prompt(0, 2, click())
    shown = session.prompt(2, 1, Prompt(mask=stripes))
    assert np.array_equal(shown[1], stripes) and not shown.exact.keys() - {1}
    for reverse in (False, True):
        assert np.array_equal(propagate(session, reverse=reverse)[2][1], stripes)
    stands = session.masks(2)
    assert np.array_equal(stands[1], stripes) and np.array_equal(stands.select(1).logits[0] > 0, stripes)
    assert np.array_equal(rle.decode(stands.rle()[stands.ids.index(1)]), stripes)
    assert not np.array_equal(Masks.__getitem__(replace(stands, exact={}), 1), stripes)

    session.save(tmp_path / "session.json")
    assert_equal(VideoSession.restore(network, tmp_path / "session.json", frames).masks(2), stands)
    session.prompt(2, 1, FAR)
    assert not session.masks(2).exact
    session.undo()
    assert_equal(session.masks(2), stands)
    session.clear(2, 1)
    assert 1 not in session.masks(2)


def test_a_correction_starts_from_what_stands(network: Sam2, frames: np.ndarray) -> None:
    """Later clicks see the earlier answer and, where the object was followed, the memory."""
    followed, unseen = VideoSession(network, frames), VideoSession(network, frames)
    for session in (followed, unseen):
        session.prompt(0, 1, click())
    propagate(followed)
    assert differ(followed.prompt(3, 1, click(40, 40)), unseen.prompt(3, 1, click(40, 40)))

    at_once, in_two = VideoSession(network, frames), VideoSession(network, frames)
    in_two.prompt(0, 1, click())
    assert at_once.script == Script() and differ(
        at_once.prompt(0, 1, click() | FAR), in_two.prompt(0, 1, FAR)
    )
    assert at_once.script[0][1] == in_two.script[0][1]


def test_objects_do_not_touch_one_another(network: Sam2, frames: np.ndarray) -> None:
    alone, shared = VideoSession(network, frames), VideoSession(network, frames)
    alone.prompt(2, 1, click())
    alone.prompt(6, 1, FAR)
    shared.prompt(0, 5, Prompt(box=(4, 4, 40, 40)))
    shared.prompt(2, 1, click())
    shared.prompt(2, 3, Prompt(mask=blob()))
    shared.prompt(6, 1, FAR)
    shared.prompt(8, 3, Prompt(mask=~blob()))
    expected = propagate(alone)
    for masks in (propagate(shared), all_masks(shared)):
        for frame in expected:
            assert_equal(masks[frame].select(1), expected[frame], tolerance=2e-3)
    shared.clear(8, 3)
    shared.remove(5)
    for frame, masks in propagate(shared).items():
        assert_equal(masks.select(1), expected[frame], tolerance=2e-3)
