"""Arguments that cannot be are refused in a sentence, from every public call, whatever type they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import masklet
from masklet import ImageSession, MaskletError, Prompt, Script, Tracker, VideoSession, VisibilityMonitor
from masklet.auto import everything
from masklet.config import toy
from masklet.media import open_frames
from toy_models import SIZE, clip, toy_network

CLICK = Prompt(positive=[(9, 9)])
VIDEO = Path(__file__).parents[2] / "examples" / "demo.mp4"
ODD = [None, "x", b"x", 1.5, [1], {"a": 1}, object(), np.zeros((2, 2)), torch.tensor([1, 2]), len, slice(1)]
NETWORK = toy_network()
IMAGE = clip(1)[0]


def session() -> VideoSession:
    video = VideoSession(NETWORK, [IMAGE] * 3)
    video.prompt(0, 1, CLICK)
    return video


def tracker() -> Tracker:
    tracker = Tracker(NETWORK)
    tracker.step(IMAGE, {1: CLICK})
    return tracker


# The call, and which of the odd values it takes.
CALLS: dict[str, tuple[Callable[[Any], object], tuple[type, ...]]] = {
    "zoom": (lambda odd: ImageSession(NETWORK, IMAGE, zoom=odd), (type(None),)),
    "features": (lambda odd: ImageSession(NETWORK, IMAGE, features=odd), (type(None),)),
    "candidates": (lambda odd: ImageSession(NETWORK, IMAGE).segment(CLICK, candidates=odd), (type(None),)),
    "images": (lambda odd: list(masklet.segment_many(NETWORK, odd, [CLICK])), (np.ndarray,)),
    "prompts": (lambda odd: list(masklet.segment_many(NETWORK, [IMAGE], odd)), ()),
    "batch": (lambda odd: masklet.segment_many(NETWORK, [IMAGE], [CLICK], batch=odd), (type(None),)),
    "delay": (lambda odd: Tracker(NETWORK, delay=odd), ()),
    "capacity": (lambda odd: Tracker(NETWORK, capacity=odd), (type(None),)),
    "clip_length": (lambda odd: VideoSession(NETWORK, [IMAGE], clip_length=odd), (type(None),)),
    "a video's capacity": (lambda odd: VideoSession(NETWORK, [IMAGE], capacity=odd), (type(None),)),
    "step": (lambda odd: tracker().step(IMAGE, odd), (type(None),)),
    "step's features": (lambda odd: tracker().step(IMAGE, features=odd), (type(None),)),
    "forget": (lambda odd: tracker().forget(odd), ()),
    "prompt's frame": (lambda odd: session().prompt(odd, 1, CLICK), ()),
    "prompt's id": (lambda odd: session().prompt(0, odd, CLICK), ()),
    "prompt": (lambda odd: session().prompt(0, 1, odd), ()),
    "start": (lambda odd: session().propagate(odd), (type(None),)),
    "clear": (lambda odd: session().clear(0, odd), ()),
    "clear's frame": (lambda odd: session().clear(odd, 1), ()),
    "remove": (lambda odd: session().remove(odd), ()),
    "objects to track": (lambda odd: session().propagate(objects=odd), (type(None), list)),
    "objects to show": (lambda odd: session().masks(0, objects=odd), (type(None), list, torch.Tensor)),
    "budget": (lambda odd: VideoSession(NETWORK, [IMAGE], budget=odd), (float,)),
    "fps": (lambda odd: open_frames(VIDEO, fps=odd), (type(None), float)),
    "masks": (lambda odd: session().masks(odd), ()),
    "replay": (lambda odd: session().replay(odd), ()),
    "save": (lambda odd: session().save(odd), (str,)),
    "restore": (lambda odd: VideoSession.restore(NETWORK, odd), ()),
    "script": (lambda odd: Script.from_json(odd), ()),
    "grid": (lambda odd: everything(NETWORK, IMAGE, odd), ()),
    "tiles": (lambda odd: everything(NETWORK, IMAGE, tiles=odd), (type(None),)),
    "patience": (lambda odd: VisibilityMonitor(patience=odd), ()),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_odd_argument_is_refused_in_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    monkeypatch.chdir(tmp_path)
    call, fitting = CALLS[name]
    for odd in ODD:
        if not isinstance(odd, fitting):
            with pytest.raises(MaskletError) as failure:
                call(odd)
            assert len(str(failure.value)) < 400, "the value is not printed whole"


@pytest.mark.parametrize("frame", [-1, 3, 10**9])
def test_masks_of_a_frame_that_the_video_does_not_have(frame: int) -> None:
    with pytest.raises(MaskletError, match=f"3 frames, 0 to 2. Got frame {frame}"):
        session().masks(frame)


def test_numbers_of_numpy_and_torch_are_taken(unchecked: None) -> None:
    video = session()
    video.prompt(np.int64(1), np.uint8(2), CLICK)
    video.prompt(2, 3, CLICK)
    video.clear(torch.tensor(2), torch.tensor(3))  # type: ignore[arg-type]
    video.prompt(2, 3, CLICK)
    video.remove(torch.tensor(3))  # type: ignore[arg-type]
    assert video.ids == (1, 2)
    assert video.masks(torch.tensor(1)).ids == (2,)  # type: ignore[arg-type]
    assert Tracker(NETWORK, delay=np.int32(1)).step(IMAGE, {np.int16(1): CLICK}).size == SIZE


def test_a_sequence_of_images_is_no_path(unchecked: None) -> None:
    with pytest.raises(MaskletError, match=r"images must be a list.*Got PosixPath"):
        masklet.segment_many(NETWORK, Path("folder"), [CLICK])  # type: ignore[arg-type]


def test_features_of_another_network_are_refused() -> None:
    other = ImageSession(toy_network(replace(toy(), channels=64)), IMAGE).features
    with pytest.raises(
        MaskletError, match=r"features must be from this network.*32, 4, 4\)\. Got .*64, 4, 4\)"
    ):
        ImageSession(NETWORK, IMAGE, features=other)


def test_objects_are_given_in_any_collection_and_in_any_order(unchecked: None) -> None:
    video = session()
    video.prompt(0, 2, CLICK)
    assert video.masks(0, objects=iter([2, 1])).ids == (1, 2)  # type: ignore[arg-type]
    with pytest.raises(MaskletError, match="objects must be a list of the ids to track"):
        video.propagate(objects=[])


def test_a_prompt_is_added_to_prompts_only() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        CLICK | {"box": (1, 2, 3, 4)}


def test_an_object_is_forgotten_once() -> None:
    live = tracker()
    live.forget(1, 1)
    assert live.ids == ()


@pytest.mark.parametrize(
    ("start", "stop", "reverse"), [(0, -1, False), (2, 1, False), (None, -3, False), (1, 2, True)]
)
def test_a_way_without_a_frame_is_refused(start: int | None, stop: int, reverse: bool) -> None:
    """-1 is not the last frame, as it is in slices."""
    with pytest.raises(MaskletError, match="there is no frame between start and stop"):
        session().propagate(start, stop, reverse=reverse)
    assert list(session().propagate(1, 1)) == []
