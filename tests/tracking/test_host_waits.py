"""What tracking reads back from the device: the loop must not wait for a GPU.

On the `meta` device, which holds no numbers, the same code runs: reading one is an error. Copies are counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from masklet import Prompt, Sam2, Tracker, VideoSession
from masklet.config import toy
from toy_models import SIZE, clip, toy_network

aten = torch.ops.aten
READS = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)
CLICK = Prompt(positive=[(20, 24)])


class HostTraffic(TorchDispatchMode):
    """Counts reads of single numbers, and copies between host and device, by whether they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in READS:
            self.counts["reads"] += 1
        elif function is aten._to_copy.default and kwargs.get("device") is not None:
            self._count_copy(args[0].device, torch.device(kwargs["device"]), kwargs.get("non_blocking"))
        elif function is aten.copy_.default:
            self._count_copy(args[1].device, args[0].device, args[2] if len(args) > 2 else False)
        return function(*args, **kwargs)

    def _count_copy(self, source: torch.device, target: torch.device, non_blocking: bool | None) -> None:
        if source.type != target.type:
            self.counts["waiting" if target.type == "cpu" or not non_blocking else "copies"] += 1


class HostReads(TorchFunctionMode):
    """Counts the calls that bring a tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function in (torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.item)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def model() -> Sam2:
    return Sam2(toy()).eval().to("meta")


def test_a_stream_never_waits_for_the_device(model: Sam2) -> None:
    frames = clip(10)
    with HostTraffic() as traffic:
        tracker = Tracker(model, zoom=False)
        tracker.step(frames[0], {1: CLICK, 2: Prompt(box=(4, 4, 30, 30))})
        for image in frames[1:]:
            tracker.step(image)
        tracker.step(frames[0], {1: Prompt(negative=[(3, 3)])})
    assert set(traffic.counts) == {"copies"}


@pytest.mark.parametrize("frames_per_batch", [1, 4])
def test_a_stored_video_never_waits_for_the_device(model: Sam2, frames_per_batch: int) -> None:
    model.backend.frames_per_batch = frames_per_batch
    with HostTraffic() as traffic:
        video = VideoSession(model, clip(8), zoom=False)
        video.prompt(3, 1, CLICK)
        for reverse in (False, True):
            for _ in video.propagate(reverse=reverse):
                pass
    assert set(traffic.counts) == {"copies"}


def test_what_waits_is_seen(model: Sam2) -> None:
    with HostTraffic() as traffic, pytest.raises(NotImplementedError):
        torch.zeros(3, dtype=torch.float32, device="cpu").to("meta")
        Tracker(model, zoom=False).step(clip(1)[0], {1: CLICK}).score.cpu()
    assert traffic.counts["waiting"] == 2


@pytest.mark.parametrize(("policy", "reads"), [("recency", 0), ("gated", 1), ("dam4sam", 2)])
def test_policies_read_once_for_all_objects_or_as_often_as_they_say(policy: str, reads: int) -> None:
    tracker = Tracker(toy_network(), policy=policy, zoom=False)
    height, width = SIZE
    tracker.step(clip(1)[0], {1: CLICK})
    for image in np.zeros((4, height, width, 3), dtype=np.uint8):
        with HostReads() as host:
            tracker.step(image)
        assert host.count <= reads, policy
