"""On a device of its own a network gives the masks of the CPU, and no operator mixes the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import masklet
from masklet import ImageSession, Masks, Prompt, Sam2, Tracker, VideoSession
from masklet.backends.compiled import CompiledBackend
from masklet.tracking.policies import POLICIES
from played_device import PlayedDevice, move_to_device
from toy_models import SIZE, clip, toy_network

NEAR = 1e-3  # operators are composed of others there, and round in another order
CLICK, MASK = Prompt(positive=[(20, 20)]), np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % SIZE[1] < 30
PROMPTS = {
    0: {1: CLICK},
    2: {2: Prompt(box=(5, 5, 30, 30)), 3: Prompt(mask=MASK)},
    4: {2: Prompt(negative=[(3, 3)])},
}


def stream(model: Sam2, policy: str = "recency", *, zoom: bool = False) -> Iterator[Masks]:
    tracker = Tracker(model, policy=policy, zoom=zoom, cuts=zoom)
    for frame, image in enumerate(clip(6)):
        yield tracker.step(image, PROMPTS.get(frame))


def edit_video(model: Sam2) -> Iterator[Masks]:
    video = VideoSession(model, clip(6), zoom=True)
    video.prompt(2, 1, CLICK | Prompt(negative=[(1, 1)]))
    video.prompt(2, 2, Prompt(positive=[(20, 20)], mask=MASK))
    yield from video.propagate()
    video.prompt(4, 1, Prompt(negative=[(30, 30)]))
    yield from video.propagate(reverse=True)
    video.undo()
    yield from video.propagate()


def segment_image(model: Sam2) -> Iterator[Masks]:
    session = ImageSession(model, clip(1)[0], zoom=True)
    candidates = session.segment(CLICK)
    yield candidates.as_masks(1)
    yield session.segment(CLICK | Prompt(negative=[(2, 2)]), hint=candidates).as_masks(1)


def assert_same_on_the_device(run: Callable[[Sam2], Iterator[Masks]], backend: type | None = None) -> None:
    expected = list(run(toy_network()))
    with torch.inference_mode(), PlayedDevice():
        model = move_to_device(toy_network())
        if backend is not None:
            model.backend = backend(model, sizes=(1, 4), frames=4)
        for here, there in zip(run(model), expected, strict=True):
            assert (here.frame, here.ids) == (there.frame, there.ids)
            logits = here.logits.cpu()
            assert here.low_res.device == model.device
            torch.testing.assert_close(logits, there.logits, rtol=0, atol=NEAR)
            for id, mask in here.items():
                is_clear = there.logits[there.ids.index(id)].abs().numpy() > NEAR
                assert np.array_equal(mask[is_clear], there[id][is_clear])


@pytest.mark.parametrize("policy", POLICIES)
def test_streams(policy: str) -> None:
    assert_same_on_the_device(lambda model: stream(model, policy))


def test_streams_with_zoom_and_scene_cuts() -> None:
    assert_same_on_the_device(lambda model: stream(model, zoom=True))


def test_compiled_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be compiled runs as it is written."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    assert_same_on_the_device(stream, CompiledBackend)


def test_a_video_that_is_edited() -> None:
    assert_same_on_the_device(edit_video)


def test_images() -> None:
    assert_same_on_the_device(segment_image)


def test_everything_in_an_image() -> None:
    grid = masklet.auto.Grid(points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0)
    expected = masklet.everything(toy_network(), clip(1)[0], grid)
    with torch.inference_mode(), PlayedDevice():
        segments = masklet.everything(move_to_device(toy_network()), clip(1)[0], grid)
        assert len(segments) == len(expected) > 0
