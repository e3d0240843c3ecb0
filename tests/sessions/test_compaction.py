"""Long videos: what there is no room for shrinks to masks, and comes back where a person goes back to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.model import Sam2
from masklet.sessions.memory_store import CompactAnswer, InMemoryStore, MemoryRecord
from masklet.sessions.video import VideoSession
from masklet.tracking.bank import POINTERS, WINDOW
from masklet.types import MaskPrediction, Prompt
from toy_models import Fake, assert_equal, blob, click, clip

LENGTH = 60
FAR = Prompt(negative=[(50, 40)])


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    return clip(LENGTH)


def tight(network: Sam2, frames: np.ndarray) -> VideoSession:
    """A session without room, in which one object was tracked from frame 2."""
    session = VideoSession(network, frames, budget=0)
    session.prompt(2, 1, click())
    session.seen = {masks.frame: masks for masks in session.propagate()}  # type: ignore[attr-defined]
    return session


def stored(session: VideoSession) -> dict[int, MemoryRecord]:
    """The first object's records that hold now, by frame."""
    obj = session.state.objects[1]
    records = {frame: session._store.record(obj, frame) for frame in session.answered}
    return {frame: record for frame, record in records.items() if record is not None}


def compact(session: VideoSession) -> set[int]:
    records = stored(session).items()
    return {frame for frame, record in records if isinstance(record.answer, CompactAnswer)}


def held(session: VideoSession) -> int:
    assert isinstance(session._store, InMemoryStore)
    return session._store.nbytes


def answer(value: float = 1.0) -> MaskPrediction:
    return MaskPrediction(torch.full((1, 16, 16), value), torch.ones(1), torch.zeros(1, 32), torch.ones(1))


def test_masks_are_those_that_were_seen(network: Sam2, long: np.ndarray) -> None:
    session = tight(network, long)
    assert compact(session) == set(range(3, LENGTH - POINTERS)), "all but the prompted and the newest"
    assert session.tracked[1].bank.tracked.keys() == set(range(LENGTH - POINTERS, LENGTH))
    for frame, before in session.seen.items():  # type: ignore[attr-defined]
        after = session.masks(frame)
        assert after.ids == before.ids and after[1].shape == before[1].shape
        np.testing.assert_array_equal(after[1], before[1])
        torch.testing.assert_close((after.iou, after.score), (before.iou, before.score))


def test_packed_and_full_masks_share_a_frame(network: Sam2, long: np.ndarray) -> None:
    session = tight(network, long)
    session.prompt(10, 2, Prompt(mask=blob()))
    assert session.masks(10).ids == (1, 2)
    np.testing.assert_array_equal(session.masks(10)[1], session.seen[10][1])  # type: ignore[attr-defined]
    assert (session.masks(10)[2] == blob()).mean() > 0.98


def test_memories_come_back_where_they_are_looked_at(network: Sam2, long: np.ndarray) -> None:
    """Close to what they were, not the same: of the answer only the mask was left."""
    session, roomy = tight(network, long), VideoSession(network, long)
    roomy.prompt(2, 1, click())
    for _ in roomy.propagate():
        pass
    before = set(session.tracked[1].bank.tracked)
    session.prompt(30, 1, FAR)
    roomy.prompt(30, 1, FAR)
    again = set(session.tracked[1].bank.tracked) - before
    assert again == set(range(30 - WINDOW, 30))
    for frame in again:
        one, other = (each.tracked[1].bank.tracked[frame].tokens.float() for each in (session, roomy))
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.9
    one, other = session.masks(30)[1], roomy.masks(30)[1]
    assert (one & other).sum() >= 0.5 * (one | other).sum()
    after = {masks.frame for masks in session.propagate(30)}
    assert after == set(range(30, LENGTH))


def test_prompts_are_never_packed(network: Sam2, long: np.ndarray) -> None:
    session = tight(network, long)
    answered = {frame: session.prompt(frame, 1, Prompt(mask=blob())) for frame in (8, 20, 31)}
    for reverse in (False, True):
        for _ in session.propagate(reverse=reverse):
            pass
    for frame, masks in answered.items():
        assert_equal(session.masks(frame), masks)
        assert session.tracked[1].bank.prompted[frame].prompted


def test_the_past_is_packed_too(network: Sam2, long: np.ndarray) -> None:
    """What only an undo could bring back takes no more room than what stands."""
    session = tight(network, long)
    session.prompt(40, 1, Prompt(mask=blob()))
    for _ in session.propagate():
        pass
    assert held(session) <= 2 * POINTERS * answer().logits.nbytes
    session.undo()
    for frame, before in session.seen.items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(session.masks(frame)[1], before[1])


def test_with_room_nothing_is_packed(fake: Fake, long: np.ndarray) -> None:
    session = VideoSession(fake, long)
    session.prompt(0, 1, click())
    for _ in session.propagate():
        pass
    assert compact(session) == set() and len(session.tracked[1].bank.tracked) == LENGTH - 1


@pytest.mark.slow
def test_two_hours_fit_and_their_middle_is_at_hand() -> None:
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, tests / "sessions" / "two_hours.py", "1"],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent / 'src'}", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    frames, early, late, decoded, _ = done.stdout.split()
    assert int(late) - int(early) < 1000 * int(frames), "less than a kilobyte a frame"
    assert int(decoded) < 200, "the middle is jumped to, not decoded to"
