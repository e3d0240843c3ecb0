"""What tracking reads back from the device: the loop must not wait for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from masklet import Prompt, Sam2, Tracker, VideoSession
from masklet.backends import TorchBackend
from masklet.backends.compiled import CompiledBackend
from played_device import PlayedDevice, move_to_device
from toy_models import SIZE, clip, toy_network

CLICK = Prompt(positive=[(20, 24)])


class HostReads(TorchFunctionMode):
    """Counts the calls that bring a tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function in (torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.item)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def device() -> Iterator[PlayedDevice]:
    with torch.inference_mode(), PlayedDevice() as device:
        yield device


@pytest.fixture(params=["torch", "compiled"])
def model(device: PlayedDevice, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sam2:
    """A network on the device. What would be compiled runs as it is written."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = move_to_device(toy_network())
    is_compiled = request.param == "compiled"
    model.backend = CompiledBackend(model, sizes=(1, 4), frames=4) if is_compiled else TorchBackend(model)
    return model


def test_a_stream_never_waits_for_the_device(model: Sam2, device: PlayedDevice) -> None:
    frames = clip(10)
    tracker = Tracker(model, zoom=False)
    tracker.step(frames[0], {1: CLICK, 2: Prompt(box=(4, 4, 30, 30))})
    for image in frames[1:]:
        tracker.step(image)
    tracker.step(frames[0], {1: Prompt(negative=[(3, 3)]), 3: Prompt(mask=np.ones(SIZE, dtype=bool))})
    assert set(device.counts) == {"copies"}


@pytest.mark.parametrize("frames_per_batch", [1, 4])
def test_a_stored_video_never_waits_for_the_device(
    model: Sam2, device: PlayedDevice, frames_per_batch: int
) -> None:
    model.backend.frames_per_batch = frames_per_batch
    video = VideoSession(model, clip(8), zoom=False)
    video.prompt(3, 1, CLICK)
    for reverse in (False, True):
        for _ in video.propagate(reverse=reverse):
            pass
    assert set(device.counts) == {"copies"}


def test_what_waits_is_seen(model: Sam2, device: PlayedDevice) -> None:
    masks = Tracker(model, zoom=False).step(clip(1)[0], {1: CLICK})
    torch.zeros(3, dtype=torch.float32, device="cpu").to(model.device)
    masks.score.cpu()
    assert masks.score.tolist() and masks.score[0].item()
    assert (device.counts["waiting"], device.counts["reads"]) == (3, 1)


@pytest.mark.parametrize(("policy", "reads"), [("recency", 0), ("gated", 1), ("dam4sam", 2)])
def test_policies_read_once_for_all_objects_or_as_often_as_they_say(policy: str, reads: int) -> None:
    tracker = Tracker(toy_network(), policy=policy, zoom=False)
    height, width = SIZE
    tracker.step(clip(1)[0], {1: CLICK})
    for image in np.zeros((4, height, width, 3), dtype=np.uint8):
        with HostReads() as host:
            tracker.step(image)
        assert host.count <= reads, policy
