"""The camera's tracker: objects come and go without touching one another, and memory stays flat."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.errors import MediaError, PromptError
from masklet.media import open_frames
from masklet.model import Sam2
from masklet.prompts import check_id
from masklet.sessions.tracker import Tracker, track
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.policies.recency import Recency
from masklet.types import Candidates, Masks, Memory, Prompt
from toy_models import SIZE, Fake, assert_equal, blob, click, differ

GREY = np.full((*SIZE, 3), 128, dtype=np.uint8)
# Every kind of prompt, objects that join later, corrections of one and of several at once.
PROMPTS = {
    0: {3: click(), 1: Prompt(box=(4, 4, 40, 40))},
    2: {7: Prompt(mask=blob())},
    4: {3: Prompt(negative=[(50, 40)]), 7: Prompt(positive=[(30, 20)])},
    6: {1: Prompt(mask=blob()), 2: Prompt(positive=[(9, 9)], negative=[(60, 40)])},
}


def run(model: Sam2, frames: np.ndarray, prompts: dict[int, dict[int, Prompt]]) -> list[Masks]:
    tracker = Tracker(model)
    return [tracker.step(image, prompts.get(frame)) for frame, image in enumerate(frames)]


def test_together_is_apart(network: Sam2, frames: np.ndarray) -> None:
    together = run(network, frames, PROMPTS)
    for id in (3, 1, 7, 2):
        apart = run(network, frames, {at: {id: given[id]} for at, given in PROMPTS.items() if id in given})
        for one, all in zip(apart, together, strict=True):
            assert one.ids == ((id,) if id in all else ())
            if id in all:
                assert_equal(all.select(id), one, tolerance=2e-3)
    last = together[-1]
    assert differ(last.select(3), Masks.join({3: last.select(7)}), by=2e-2), "a test of equal objects is none"


def test_the_order_of_prompts_is_no_identity(network: Sam2, frames: np.ndarray) -> None:
    turned = {at: dict(reversed(given.items())) for at, given in PROMPTS.items()}
    for one, other in zip(run(network, frames, PROMPTS), run(network, frames, turned), strict=True):
        assert set(one.ids) == set(other.ids)
        assert_equal(one.select(*other.ids), other, tolerance=2e-3)


def test_a_forgotten_object_leaves_the_others_as_they_were(network: Sam2, frames: np.ndarray) -> None:
    alone, left = Tracker(network), Tracker(network)
    for frame, image in enumerate(frames):
        if frame == 5:
            left.forget(1)
            assert left.ids == (2,)
        others = {} if frame else {1: Prompt(box=(4, 4, 40, 40))}
        given = {} if frame else {2: click()}
        one, other = alone.step(image, given), left.step(image, {**others, **given})
        assert_equal(other.select(2), one, tolerance=2e-3)


def test_a_forgotten_id_starts_anew(network: Sam2, frames: np.ndarray) -> None:
    tracker, fresh = Tracker(network), Tracker(network)
    tracker.step(frames[0], {1: Prompt(mask=blob())})
    tracker.forget(1)
    again, first = (each.step(frames[1], {1: click()}) for each in (tracker, fresh))
    assert torch.equal(again.low_res, first.low_res)


def test_a_correction_changes_this_frame_and_the_next(network: Sam2, frames: np.ndarray) -> None:
    plain = run(network, frames, {0: {1: click()}})
    corrected = run(network, frames, {0: {1: click()}, 4: {1: Prompt(mask=blob())}})
    assert all(torch.equal(plain[i].low_res, corrected[i].low_res) for i in range(4))
    assert np.array_equal(corrected[4][1], blob())
    assert all(differ(plain[i], corrected[i], by=1e-2) for i in range(4, len(frames)))


def test_a_frame_is_encoded_once_and_only_for_somebody(fake: Fake) -> None:
    tracker = Tracker(fake)
    tracker.step(GREY)
    assert fake.encoded == 0 and tracker.frame == 1
    tracker.step(GREY, {id: click() for id in range(1, 6)})
    tracker.step(GREY, {1: Prompt(negative=[(1, 1)]), 6: click()})
    assert fake.encoded == 2


def test_objects_run_in_batches(fake: Fake) -> None:
    tracker = Tracker(fake)
    tracker.step(GREY, {id: click() for id in range(1, 41)})
    fake.batches.clear()
    masks = tracker.step(GREY)
    assert fake.batches == [16, 16, 8] and masks.ids == tuple(range(1, 41))


def test_each_object_answers_with_its_own_memory(fake: Fake) -> None:
    """The fake says of an object for ever what was said of it: swapped rows would show."""

    def values(masks: Masks) -> dict[int, float]:
        return dict(zip(masks.ids, masks.low_res[:, 0, 0].tolist(), strict=True))

    tracker = Tracker(fake)
    given = {id: Prompt(positive=[(k, 5) for k in range(id)]) for id in (5, 1, 9, 2)}
    for prompts in (given, {}, {}):
        assert values(tracker.step(GREY, prompts)) == {5: 5, 1: 1, 9: 9, 2: 2}
    tracker.forget(1)
    tracker.step(GREY, {9: Prompt(negative=[(1, 1)] * 3), 4: Prompt(positive=[(1, 1)] * 4)})
    assert values(tracker.step(GREY)) == {5: 5, 9: -3, 2: 2, 4: 4}


class Watching(Recency):
    """Notes what it is asked, and takes the worst candidate."""

    made: list[Watching]

    def __init__(self) -> None:
        self.calls: list[str] = []
        type(self).made.append(self)

    def select_mask(self, candidates: Candidates) -> torch.Tensor:
        assert len(candidates.iou) == 1
        self.calls.append("choose")
        return candidates.iou.argmin(dim=1)

    def store(self, bank: MemoryBank, memory: Memory, candidates: Candidates) -> None:
        self.calls.append("adopted" if candidates.iou.tolist() == [[1.0]] else "admit")
        super().store(bank, memory, candidates)


def test_each_object_has_a_policy_of_its_own(fake: Fake) -> None:
    Watching.made = []
    tracker = Tracker(fake, policy=Watching)
    first = tracker.step(GREY, {1: click(), 2: Prompt(mask=blob())})
    assert first.iou.tolist() == pytest.approx([0.7, 1.0]), "the policy's choice is taken"
    tracker.step(GREY, {3: click()})
    one, two, three = Watching.made
    assert one.calls == ["choose", "admit"] * 2
    assert two.calls == ["adopted", "choose", "admit"]
    assert three.calls == ["choose", "admit"]


@pytest.mark.parametrize(
    ("prompts", "part"),
    [
        ({0: click()}, "from 1; 0 is the background. Got 0"),
        ({1: click(64, 0)}, "must lie in the frame"),
        ({1: Prompt()}, "Got an empty one"),
        ({2: click(), 1: Prompt(mask=np.ones((4, 4)))}, "the size of the frame"),
    ],
)
def test_a_refused_prompt_changes_nothing(fake: Fake, prompts: dict[int, Prompt], part: str) -> None:
    tracker = Tracker(fake)
    with pytest.raises(PromptError, match=part):
        tracker.step(GREY, prompts)
    assert tracker.frame == 0 and tracker.ids == () and fake.encoded == 0


def test_who_is_not_there_cannot_be_forgotten(fake: Fake) -> None:
    tracker = Tracker(fake)
    tracker.step(GREY, {1: click(), 2: click()})
    with pytest.raises(PromptError, match=r"no object 5 is tracked\. Tracked are objects 1, 2"):
        tracker.forget(1, 5)
    assert tracker.ids == (1, 2)


def test_memory_is_bounded_while_objects_come_and_go(fake: Fake) -> None:
    tracker = Tracker(fake)
    tracker.step(GREY, {1: click()})
    for frame in range(1, 120):
        joining = {frame + 1: click()} if frame % 10 == 0 else {}
        corrected = {1: click()} if frame % 5 == 3 else {}
        tracker.step(GREY, joining | corrected)
        if len(tracker.ids) > 3:
            tracker.forget(tracker.ids[1])
        banks = [each.bank for each in tracker._objects.values()]
        assert all(len(bank.tracked) <= POINTERS and len(bank.prompted) <= POINTERS for bank in banks)
    assert len(tracker._objects[1].bank.prompted) == POINTERS


@pytest.mark.slow
def test_memory_is_flat_over_two_thousand_frames(network: Sam2, frames: np.ndarray) -> None:
    def held() -> np.ndarray:
        """Bytes in tensors, and Python's objects."""
        objects = gc.get_objects()
        return np.array([sum(each.nbytes for each in objects if type(each) is torch.Tensor), len(objects)])

    given = {0: {1: click(), 2: Prompt(mask=blob())}, 500: {1: Prompt(negative=[(60, 40)])}}
    tracker = Tracker(network)
    peaks = [np.zeros(2), np.zeros(2)]
    for frame in range(2000):
        tracker.step(frames[frame % len(frames)], given.get(frame))
        if frame % 50 == 49:
            peaks[frame // 1000] = np.maximum(peaks[frame // 1000], held())
    assert (peaks[0] > 0).all() and (peaks[1] <= 1.02 * peaks[0]).all()


@pytest.mark.slow
def test_resident_memory_is_flat_over_ten_thousand_frames() -> None:
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, tests / "sessions" / "endless.py"],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent / 'src'}", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    after_a_thousand, at_the_end = map(int, done.stdout.split())
    assert at_the_end <= 1.02 * after_a_thousand


def test_track_is_stepping(network: Sam2, frames: np.ndarray) -> None:
    expected = run(network, frames, PROMPTS)
    for video in (frames, open_frames(frames), iter(frames)):
        for one, other in zip(track(network, video, PROMPTS), expected, strict=True):
            assert_equal(one, other)


def test_track_begins_with_the_first_prompt(fake: Fake, frames: np.ndarray) -> None:
    for video in (frames, iter(frames)):
        found = list(track(fake, video, {0: {}, 4: {1: click()}, 6: {2: click()}}))
        assert [masks.frame for masks in found] == [4, 5, 6, 7, 8, 9]
        assert [len(masks) for masks in found] == [1, 1, 2, 2, 2, 2]
    assert fake.encoded == 12, "what lies before is not encoded"


def test_track_takes_frames_as_they_come(fake: Fake) -> None:
    """A camera never ends: nothing may be read ahead."""
    read = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield GREY

    found = track(fake, camera(), {0: {1: click()}})
    assert next(found).frame == 0 and next(found).frame == 1 and read <= 2


@pytest.mark.parametrize("frame", [10, -1, 500])
def test_a_prompt_beyond_the_end_is_refused(fake: Fake, frames: np.ndarray, frame: int) -> None:
    with pytest.raises(MediaError, match=f"10 frames, 0 to 9. Got frame {frame}"):
        track(fake, frames, {frame: {1: click()}})


def test_a_prompt_before_a_streams_first_frame_is_refused(fake: Fake, frames: np.ndarray) -> None:
    with pytest.raises(PromptError, match=r"frames count from 0\. Got a prompt on frame -1"):
        track(fake, iter(frames), {-1: {1: click()}})


def test_a_stream_that_ends_before_a_prompt_says_so(fake: Fake, frames: np.ndarray) -> None:
    found = track(fake, iter(frames), {8: {1: click()}, 12: {2: click()}})
    assert [next(found).frame for _ in range(2)] == [8, 9]
    with pytest.raises(PromptError, match="ended before frame 12"):
        next(found)


@pytest.mark.parametrize("prompts", [{}, {0: {}}])
def test_tracking_nothing_is_refused(fake: Fake, frames: np.ndarray, prompts: dict) -> None:
    with pytest.raises(PromptError, match="at least one prompt"):
        track(fake, frames, prompts)


def test_numpys_numbers_are_ids() -> None:
    assert [(type(id), id) for id in map(check_id, np.unique([5, 3]))] == [(int, 3), (int, 5)]
    for wrong in (np.int64(0), -1, True, 1.5, "1"):
        with pytest.raises(PromptError, match="whole number from 1;"):
            check_id(wrong)


def test_a_new_mask_replaces_the_tracked_one(network: Sam2, frames: np.ndarray) -> None:
    masks = blob(), np.roll(blob(), 20, axis=1)
    answers = [
        run(network, frames[:3], {0: {1: click()}, 2: {1: Prompt(mask=mask, positive=[(20, 20)])}})[-1]
        for mask in masks
    ]
    assert differ(*answers)


def test_a_step_that_fails_adds_no_object(
    network: Sam2, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, expected = Tracker(network), run(network, frames[:2], {0: {1: click()}})
    tracker.step(frames[0], {1: click()})

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("masklet.sessions.tracker.track_objects", interrupt)
        tracker.step(frames[1], {2: click(50, 40)})
    assert tracker.ids == (1,) and tracker.frame == 1
    assert_equal(tracker.step(frames[1]), expected[1])
