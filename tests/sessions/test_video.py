"""The laws of a stored video's session, on a toy network."""

from __future__ import annotations

import copy
import itertools
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from masklet.errors import MaskletError, MediaError, OptionError, PromptError
from masklet.media import Frames
from masklet.media.readers.source import Metadata
from masklet.model import Sam2
from masklet.sessions.events import Script
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.tracker import Tracker
from masklet.sessions.video import VideoSession
from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies import dam4sam
from masklet.tracking.policies.dam4sam import Dam4Sam
from masklet.types import Memory, Prompt
from sessions.candidates import assert_same
from sessions.propagated import FAR, all_masks, assert_all_equal, propagate
from toy_models import Fake, assert_equal, blob, click, clip, differ, toy_network


def worked_on(network: Sam2, frames: object) -> VideoSession:
    """A session in which everything was done."""
    session = VideoSession(network, frames)
    session.prompt(2, 1, click())
    session.prompt(2, 4, Prompt(box=(4, 4, 40, 40)))
    propagate(session, None, 6)
    session.prompt(4, 1, FAR)
    session.prompt(8, 2, Prompt(mask=blob()))
    session.prompt(8, 4, click(50, 10))
    session.clear(8, 4)
    propagate(session)
    propagate(session, reverse=True)
    session.prompt(1, 4, click(30, 30))
    session.remove(2)
    session.prompt(9, 9, click())
    session.undo()
    for _, _ in zip(range(3), session.propagate(5), strict=False):
        pass
    return session


def test_a_stream_is_a_video(network: Sam2, frames: np.ndarray) -> None:
    """Objects join midway; a frame that was followed is corrected, by clicks and by a mask."""
    script = {
        0: {1: click(), 2: Prompt(box=(4, 4, 40, 40))},
        3: {3: Prompt(mask=blob())},
        5: {1: FAR, 2: Prompt(mask=blob())},
    }
    tracker = Tracker(network)
    streamed = {frame: tracker.step(image, script.get(frame)) for frame, image in enumerate(frames)}

    session = VideoSession(network, frames)
    stored = {}
    for start, stop in ((0, 4), (4, 6), (6, len(frames))):
        for frame in (frame for frame in script if start <= frame < stop and frame < 5):
            for id, prompt in script[frame].items():
                session.prompt(frame, id, prompt)
        stored |= propagate(session, start, stop)
        if stop == 6:
            for id, prompt in script[5].items():
                stored[5] = session.prompt(5, id, prompt)
    assert_all_equal(streamed, stored, tolerance=2e-3)


def test_a_script_replayed_is_the_session(network: Sam2, frames: np.ndarray) -> None:
    session = worked_on(network, frames)
    script = Script.from_json(session.script.to_json())
    again = VideoSession(network, frames).replay(script)
    assert again.script == session.script and again.ids == session.ids
    assert_all_equal(all_masks(again), all_masks(session))
    assert_all_equal(propagate(again), propagate(session))


@pytest.mark.parametrize("capacity", [None, 3])
def test_restored_is_saved(network: Sam2, frames: np.ndarray, tmp_path: Path, capacity: int | None) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame, image in enumerate(frames):
        PIL.Image.fromarray(image).save(folder / f"{frame}.png")
    session = VideoSession(network, folder, capacity=capacity, clip_length=len(frames))
    session.prompt(0, 1, click())
    session.prompt(3, 2, Prompt(mask=blob()))
    propagate(session)
    session.prompt(6, 1, FAR)
    propagate(session)
    session.save(tmp_path / "session.json")
    again = VideoSession.restore(network, tmp_path / "session.json")
    assert again.script == session.script
    assert_all_equal(all_masks(again), all_masks(session))
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "session.json").read_text()


def test_a_session_of_arrays_is_restored_with_them(fake: Fake, frames: np.ndarray, tmp_path: Path) -> None:
    session = VideoSession(fake, frames)
    session.prompt(0, 1, click())
    session.save(tmp_path / "session.json")
    with pytest.raises(MediaError, match="pass them as video="):
        VideoSession.restore(fake, tmp_path / "session.json")
    with pytest.raises(MediaError, match="made on a video 64 wide and 48 high"):
        VideoSession.restore(fake, tmp_path / "session.json", frames[:, :, :32])
    with pytest.raises(MediaError, match="no saved session"):
        VideoSession.restore(fake, tmp_path / "other.json", frames)
    for text in ("{", "[]", '{"masklet": 99}', '{"masklet": 1}'):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(MaskletError, match=r"broken\.json is not a"):
            VideoSession.restore(fake, tmp_path / "broken.json", frames)


@pytest.mark.parametrize(
    ("args", "reverse", "expected"),
    [
        ((), False, range(3, 10)),
        ((), True, range(6, -1, -1)),
        ((5,), False, range(5, 10)),
        ((None, 5), False, range(3, 5)),
        ((0, 99), False, range(10)),
        ((9,), True, range(9, -1, -1)),
        ((8, 4), True, range(8, 4, -1)),
        ((4, 0), True, range(4, 0, -1)),
        ((4, -1), True, range(4, -1, -1)),
        ((4, 4), False, range(0)),
    ],
)
def test_from_and_to_any_frame(
    fake: Fake, frames: np.ndarray, args: tuple, reverse: bool, expected: range
) -> None:
    session = VideoSession(fake, frames)
    session.prompt(3, 1, click())
    session.prompt(6, 2, click())
    assert [masks.frame for masks in session.propagate(*args, reverse=reverse)] == list(expected)


def test_objects_appear_from_their_first_prompt_on(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    session.prompt(3, 1, click())
    session.prompt(6, 2, click())
    assert {at: masks.ids for at, masks in propagate(session, 0).items()} == {
        **dict.fromkeys(range(3), ()),
        **dict.fromkeys(range(3, 6), (1,)),
        **dict.fromkeys(range(6, 10), (1, 2)),
    }
    assert {at: masks.ids for at, masks in propagate(session, 9, reverse=True).items()} == {
        **dict.fromkeys(range(9, 6, -1), ()),
        **dict.fromkeys(range(6, 3, -1), (2,)),
        **dict.fromkeys(range(3, -1, -1), (1, 2)),
    }


def test_a_frame_is_encoded_once_whatever_is_asked(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    for id in range(1, 6):
        session.prompt(0, id, click())
    assert fake.encoded == 1
    for _ in range(2):
        propagate(session)
        propagate(session, reverse=True)
    session.prompt(7, 1, FAR)
    session.undo()
    session.prompt(7, 9, Prompt(mask=blob()))
    propagate(session)
    assert fake.encoded == len(frames)


def test_a_frame_is_encoded_again_only_for_want_of_room(
    fake: Fake, frames: np.ndarray, tmp_path: Path
) -> None:
    def encodings(cache: FeatureCache) -> int:
        fake.encoded = 0
        session = VideoSession(fake, frames, features=cache)
        session.prompt(0, 1, click())
        for _ in range(2):
            propagate(session)
        return fake.encoded

    one = fake.encode(None).nbytes  # type: ignore[arg-type]
    assert encodings(FeatureCache(10 * one)) == 10
    assert encodings(FeatureCache(2 * one)) == 19, "every frame again, but for the prompted"
    assert encodings(FeatureCache(2 * one, spill=tmp_path)) == 10


@pytest.mark.parametrize("duplicate", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy])
def test_a_session_can_be_pickled_and_copied(network: Sam2, frames: np.ndarray, duplicate) -> None:
    session = VideoSession(network, frames)
    session.prompt(0, 1, click())
    before = {masks.frame: masks for masks in session.propagate()}
    other = duplicate(session)
    assert_all_equal({masks.frame: masks for masks in other.propagate()}, before)
    other.prompt(2, 1, click(30, 30))
    assert len(other.script.events) == 4 and len(session.script.events) == 2, "they go on apart"


class Endless:
    """A reader of two hours of video that counts what is decoded."""

    name, size, fps = "two hours", (48, 64), 30.0
    pixel_aspect, intensity_range = Fraction(1), None

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def metadata(self) -> Metadata:
        return Metadata()

    def count(self) -> int:
        return 216_000

    def time(self, frame: int) -> float:
        return frame / self.fps

    def file_name(self, frame: int) -> str:
        return f"{frame}.jpg"

    def read(self, wanted: range) -> dict[int, np.ndarray]:
        self.decoded.append(wanted[-1])
        return {wanted[-1]: np.zeros((*self.size, 3), dtype=np.uint8)}

    def play(self, start: int) -> None:
        raise AssertionError("a session has no need to play")


def test_opening_a_long_video_decodes_nothing(fake: Fake) -> None:
    reader = Endless()
    session = VideoSession(fake, Frames(reader))
    assert reader.decoded == []
    session.prompt(100_000, 1, click())
    assert reader.decoded == [100_000]
    assert [masks.frame for masks in itertools.islice(session.propagate(), 3)] == [100_000, 100_001, 100_002]
    assert reader.decoded == [100_000, 100_001, 100_002]


def test_the_masks_of_some_objects_are_shown_alone(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    for id, frame in ((1, 0), (7, 0), (3, 2)):
        session.prompt(frame, id, click())
    together, alone = session.masks(0), session.masks(0, objects=[7, 3, 99])
    assert together.ids == (1, 7) and alone.ids == (7,)
    assert (alone[7] == together[7]).all() and (alone.low_res == together.low_res[1:]).all()
    assert session.masks(0, objects=[]).ids == () and session.masks(5).ids == ()


def test_what_goes_wrong_is_said(fake: Fake, frames: np.ndarray) -> None:
    session = VideoSession(fake, frames)
    with pytest.raises(PromptError, match="tracking needs at least one prompt"):
        session.propagate()  # at once, not with the first frame
    session.prompt(0, 1, click())
    for wrong, part in (
        (lambda: session.propagate(10), "10 frames, 0 to 9. Got frame 10"),
        (lambda: session.propagate(-1), "Got frame -1"),
        (lambda: session.prompt(12, 1, click()), "Got frame 12"),
        (lambda: session.prompt(0, 0, click()), "0 is the background"),
        (lambda: session.clear(3, 1), "no prompt on frame 3. It has prompts on frames 0"),
        (lambda: session.clear(3, 8), "It has no prompts"),
        (lambda: session.remove(8), "there is no object 8. There are: 1"),
    ):
        with pytest.raises(MaskletError, match=part):
            wrong()


def test_a_new_mask_replaces_what_is_on_the_frame(network: Sam2, frames: np.ndarray) -> None:
    """Its clicks start from the mask, and not from the answer that was there."""
    prompt = Prompt(mask=blob(), positive=[(20, 20)])
    first, second = VideoSession(network, frames), VideoSession(network, frames)
    first.prompt(0, 1, click(50, 40))
    assert_equal(first.prompt(0, 1, prompt), second.prompt(0, 1, prompt))
    propagate(second)
    other = Prompt(mask=np.roll(blob(), 20, axis=1), positive=[(20, 20)])
    tracked = copy.deepcopy(second)
    assert differ(second.prompt(4, 1, prompt), tracked.prompt(4, 1, other))


def test_anchors_are_loaded_again_with_a_bank_that_forgets(
    network: Sam2, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undo loads it, and a run that was interrupted."""

    class Anchored(Dam4Sam):
        def _may_be_anchor(self, bank: MemoryBank, memory: Memory, area: int) -> bool:
            return memory.frame in (1, 2, 3, 5)

    monkeypatch.setattr(dam4sam, "has_distractor", lambda logits, selected: True)
    session = VideoSession(network, frames, policy=Anchored, capacity=3)
    session.prompt(0, 1, click())
    propagate(session, None, 8)
    before = copy.deepcopy(session.tracked[1].bank)
    assert list(before.anchors) == [2, 3, 5] and 2 not in before.tracked
    session.prompt(9, 1, click(30, 30))
    propagate(session)
    session.undo()
    propagate(session, 8, 9)
    bank = session.tracked[1].bank
    assert [list(bank.prompted), list(bank.tracked), list(bank.anchors)] == [[0], [6, 7, 8], [2, 3, 5]]


def test_a_session_is_restored_with_its_budget(network: Sam2, tmp_path: Path) -> None:
    """Memories beyond it are made of the masks again, so it decides on masks."""
    frames, sessions = clip(40), {}
    for budget in (0, float("inf")):
        session = sessions[budget] = VideoSession(network, frames, budget=budget)
        session.prompt(0, 1, click())
        propagate(session)
        session.prompt(5, 1, FAR)
        propagate(session, 5)
        session.save(tmp_path / "session.json")
        again = VideoSession.restore(network, tmp_path / "session.json", frames)
        assert_all_equal(all_masks(again), all_masks(session))
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_text() == (tmp_path / "session.json").read_text()
    small, large = (all_masks(session) for session in sessions.values())
    assert any(differ(small[frame], large[frame]) for frame in large), "a test of equal masks is none"


def test_a_cache_tells_networks_and_videos_apart(frames: np.ndarray) -> None:
    cache, (one, other) = FeatureCache(), (toy_network(seed=seed) for seed in (0, 1))
    for model in (one, other):
        shared = VideoSession(model, frames, features=cache)
        assert_equal(shared.prompt(0, 1, click()), VideoSession(model, frames).prompt(0, 1, click()))
        preview = VideoSession(model, frames, features=cache, zoom=True).preview(0, click())
        assert_same(preview, VideoSession(model, frames, zoom=True).preview(0, click()))
    with pytest.raises(OptionError, match="make a FeatureCache for each video"):
        VideoSession(one, frames[:4], features=cache)


def test_a_preview_of_a_mask_is_not_kept(network: Sam2, frames: np.ndarray) -> None:
    cache = FeatureCache()
    session = VideoSession(network, frames, features=cache, zoom=True)
    assert list(session.preview_steps(0, Prompt(mask=blob()))) == []
    session.preview(0, Prompt(mask=blob()))
    assert not len(cache.previews._previews)
