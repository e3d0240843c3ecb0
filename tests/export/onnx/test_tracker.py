"""The tracker without torch gives the masks of the one with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import masklet
from masklet.config import TINY
from masklet.errors import CheckpointError, MediaError, OptionError, PromptError
from masklet.model import Sam2
from masklet.onnx import ImageSession, Masks, Network, Tracker, track
from masklet.onnx.network import MemoryRule
from masklet.onnx.tracker import Memory, MemoryBank
from masklet.prompts import Prompt
from masklet.tracking.policies.recency import Recency
from toy_models import blob, clip, toy_network

SIZE = (96, 128)
SCRIPT = {
    0: {1: Prompt(positive=[(60, 40)]), 2: Prompt(box=(70, 30, 110, 80))},
    8: {1: Prompt(positive=[(60, 40)], negative=[(20, 20)])},
}


@pytest.fixture(scope="module")
def fp32(exported: Path) -> Network:
    return Network(exported / "fp32", threads=1)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return clip(20, SIZE)


def assert_near(mine: Masks, theirs: masklet.Masks, *, rounded: bool = False) -> None:
    """The same masks: every logit to 1e-3, and only a pixel whose logit is that near to 0 may change side.

    Where memories are rounded, to bfloat16 on both sides, a difference in the seventh digit tips some of them
    over: one logit in a hundred may then differ by more, none by 1e-2.
    """
    tolerance = 1e-2 if rounded else 1e-3
    assert (mine.frame, mine.ids, mine.size) == (theirs.frame, theirs.ids, theirs.size)
    for name in ("low_res", "logits", "iou", "score"):
        difference = np.abs(getattr(mine, name) - getattr(theirs, name).numpy())
        assert difference.max(initial=0) < tolerance, name
        assert (difference > 1e-3).sum() <= difference.size / 100, name
    assert (np.abs(theirs.logits.numpy()[find_flipped(mine, theirs)]) < tolerance).all()
    assert mine.exact.keys() == theirs.exact.keys()


def find_flipped(mine: Masks, theirs: masklet.Masks) -> np.ndarray:
    """The pixels, (n, H, W), that belong to an object on one side only."""
    return (mine.logits > 0) != (theirs.logits.numpy() > 0)


def find_lead(masks: masklet.Masks) -> np.ndarray:
    """By how much the highest logit of each pixel, (H, W), leads the next. The ground's is 0."""
    logits = np.sort(np.concatenate([np.zeros((1, *masks.size)), masks.logits.numpy()]), axis=0)
    lead: np.ndarray = logits[-1] - logits[-2]
    return lead


def assert_same_tracks(
    mine: Iterable[Masks], theirs: Iterable[masklet.Masks], *, rounded: bool = False
) -> list[Masks]:
    """Twenty frames of the same masks, of objects that are there: without them all logits are one number."""
    pairs = list(zip(mine, theirs, strict=True))
    assert len(pairs) == 20
    for one, other in pairs:
        assert_near(one, other, rounded=rounded)
    assert sum((one.score > 0).all() for one, _ in pairs) >= 10
    return [one for one, _ in pairs]


@pytest.mark.parametrize("zoom", [True, False])
def test_every_logit_of_twenty_frames_two_objects_and_a_correction_agrees_to_a_thousandth(
    network: Sam2, fp32: Network, frames: np.ndarray, zoom: bool
) -> None:
    mine = track(fp32, frames, SCRIPT, zoom=zoom)
    masks = assert_same_tracks(mine, masklet.track(network, frames, SCRIPT, zoom=zoom))
    assert any(masks.exact for masks in masks) == zoom, "a small object is refined by zoom, and only then"


def test_memories_that_are_rounded_on_both_sides_give_the_same_masks(
    toy: Sam2, exported: Path, frames: np.ndarray
) -> None:
    mine = track(Network(exported / "toy", threads=1), frames, SCRIPT)
    assert_same_tracks(mine, masklet.track(toy, frames, SCRIPT), rounded=True)


def test_masks_join_leave_and_are_adopted_alike(network: Sam2, fp32: Network, frames: np.ndarray) -> None:
    steps: list[tuple[int, dict[int, Prompt]]] = [
        (0, {4: Prompt(mask=blob(SIZE))}),
        (1, {2: Prompt(positive=[(30, 30)], mask=blob(SIZE))}),
        (2, {4: Prompt(mask=np.zeros(SIZE, dtype=bool))}),
        (3, {4: Prompt(mask=blob(SIZE), negative=[(30, 20)])}),
    ]
    mine, theirs = Tracker(fp32, clip_length=5), masklet.Tracker(network, clip_length=5)
    for frame, prompts in steps:
        one, other = mine.step(frames[frame], prompts), theirs.step(frames[frame], prompts)
        assert_near(one, other)
        flipped = find_flipped(one, other).any(axis=(1, 2))
        assert np.array_equal(one.label_map() == 0, (one.logits <= 0).all(axis=0))
        assert (find_lead(other)[one.label_map() != other.label_map()] < 2e-2).all()
        for index in np.flatnonzero(~flipped):
            assert one.rle()[index] == other.rle()[index]
            assert np.array_equal(one.boxes[index], other.boxes[index])
    mine.forget(4)
    theirs.forget(4)
    assert mine.ids == theirs.ids == (2,)
    assert_near(mine.step(frames[5]), theirs.step(frames[5]))
    mine.forget(2)
    assert mine.step(frames[6]).ids == ()


@pytest.mark.parametrize("zoom", [True, False])
def test_an_image_is_answered_alike(network: Sam2, fp32: Network, frames: np.ndarray, zoom: bool) -> None:
    mine, theirs = (
        ImageSession(fp32, frames[0], zoom=zoom),
        masklet.ImageSession(network, frames[0], zoom=zoom),
    )
    click = Prompt(positive=[(60, 40)])
    more = click | Prompt(negative=[(20, 20)])
    first, expected = mine.segment(click), theirs.segment(click)
    one, drawn = np.full(1, 0.1, dtype=np.float32), {1: blob(SIZE)}
    answers = [
        (first, expected),
        (mine.segment(more, hint=first.select(1)), theirs.segment(more, hint=expected.select(1))),
        (mine.segment(more, hint=first.as_masks()), theirs.segment(more, hint=expected.as_masks())),
        (
            mine.segment(more, hint=Masks(0, (1,), one[:, None, None], SIZE, one, one, exact=drawn)),
            theirs.segment(more, hint=masklet.Masks.from_arrays(0, drawn, SIZE)),
        ),
        (mine.segment(Prompt(mask=blob(SIZE))), theirs.segment(Prompt(mask=blob(SIZE)))),
        (
            mine.segment(Prompt(box=(5, 5, 120, 90)), hint=first, candidates=3),
            theirs.segment(Prompt(box=(5, 5, 120, 90)), hint=expected, candidates=3),
        ),
    ]
    for one, other in answers:
        assert [c.window for c in one.ranked] == [c.window for c in other.ranked]
        for name in ("logits", "low_res", "iou", "score"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name).numpy(), rtol=0, atol=2e-3)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.one_of(st.none(), st.integers(1, 20)))
def test_the_bank_selects_what_recency_selects(prompted: list[bool], clip_length: int | None) -> None:
    mine, theirs = MemoryBank(MemoryRule(), 16), masklet.MemoryBank()
    zero = np.zeros(1)
    for frame, is_prompted in enumerate([True, *prompted]):
        selected = mine.select(frame, clip_length=clip_length)
        expected = Recency().select_memories(theirs, frame, reverse=False, clip_length=clip_length)
        assert [(row, memory.frame) for row, memory in selected.tokens] == [
            (row, memory.frame) for row, memory in expected.spatial
        ]
        assert [(age, memory.frame) for age, memory in selected.pointers] == [
            (age, int(pointer)) for age, pointer in expected.pointers
        ]
        assert selected.span == expected.span
        mine.keep(Memory(frame, zero, zero), prompted=is_prompted)
        theirs.keep(_memory(frame, is_prompted))


def _memory(frame: int, prompted: bool) -> masklet.Memory:
    """A memory whose pointer is its frame's number."""
    number = torch.tensor(float(frame))
    return masklet.Memory(frame, number.view(1, 1), number.view(1), number, number, prompted)


def test_what_cannot_be_meant_is_refused(
    fp32: Network, frames: np.ndarray, tmp_path: Path, unchecked: None
) -> None:
    tracker = Tracker(fp32)
    with pytest.raises(PromptError, match="no object 3 is tracked"):
        tracker.forget(3)
    with pytest.raises(PromptError, match="whole number from 1;"):
        tracker.step(frames[0], {0: SCRIPT[0][1]})
    with pytest.raises(MediaError, match="uint8 array"):
        tracker.step(frames[0].astype(float))
    with pytest.raises(PromptError, match="at least one prompt"):
        track(fp32, frames, {0: {}})
    with pytest.raises(PromptError, match=r"frame numbers must be 0 or more\. Got a prompt on frame -1"):
        track(fp32, frames, {-1: SCRIPT[0]})
    with pytest.raises(PromptError, match="ended before frame 30"):
        list(track(fp32, frames[:1], {30: SCRIPT[0]}))
    with pytest.raises(CheckpointError, match="masklet export onnx"):
        Tracker(tmp_path)
    with pytest.raises(OptionError, match=r"capacity must be at least 1\. Got 0"):
        Tracker(fp32, capacity=0)
    with pytest.raises(OptionError, match="clip_length must be a whole number"):
        Tracker(fp32, clip_length=2.5)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="prompts must be given by object"):
        tracker.step(frames[0], [SCRIPT[0][1]])  # type: ignore[arg-type]
    with pytest.raises(MediaError, match=r"frames must be images in order.*Got the path clip\.mp4"):
        track(fp32, "clip.mp4", SCRIPT)
    small = ImageSession(fp32, frames[0][:40, :50]).segment(Prompt(positive=[(9, 9)]))
    with pytest.raises(PromptError, match=r"Got masks of \(40, 50\)"):
        ImageSession(fp32, frames[0]).segment(Prompt(positive=[(9, 9)]), hint=small)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_tiny_gives_the_same_masks(run_export: Callable[..., str], tmp_path: Path, dtype: str) -> None:
    """With random weights, and a quarter of the published side: 1024 px take minutes."""
    network = toy_network(replace(TINY, image_size=256))
    network.state_dict()["mask_decoder.score_head.layers.2.bias"].fill_(10)  # objects stay in the frame
    masklet.save(network, tmp_path / "tiny.safetensors")
    options = () if dtype == TINY.memory_dtype else ("--memories", dtype)
    run_export(str(tmp_path / "tiny.safetensors"), tmp_path / "out", *options)
    network.memory_dtype = getattr(torch, dtype)
    frames = clip(20, SIZE)
    mine, theirs = track(tmp_path / "out", frames, SCRIPT), masklet.track(network, frames, SCRIPT)
    assert_same_tracks(mine, theirs, rounded=dtype == "bfloat16")
