"""Three hypotheses that share what they have in common, against three that are followed apart to the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from masklet.tracking.bank import MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies.sam2long import Sam2Long
from masklet.tracking.step import EncodedFrame, TrackedObject
from masklet.types import Candidates, FrameFeatures, Memory, MemorySelection
from toy_models import Fake

few = settings(max_examples=8, phases=[Phase.generate])


class ScriptedFake(Fake):
    """A network whose offers are made up from the frame and from what is remembered.

    A pointer's first value says which answer it is of; that is what a hypothesis is told apart by.
    """

    def __init__(self, seed: int, doubt: float) -> None:
        super().__init__()
        self.seed, self.doubt, self.frame = seed, doubt, 0
        self.weighed: list[tuple[float, ...]] = []
        self.presents: list[tuple[int, float]] = []  # of each decode: objects, threshold of presence

    def attend(self, features: FrameFeatures, selections: Sequence[MemorySelection]) -> Tensor:
        self.batches.append(len(selections))
        self.weighed += [selection.weights for selection in selections]
        context = torch.zeros(len(selections), *features.coarse.shape[1:])
        for row, selection in zip(context, selections, strict=True):
            row[:] = seen([int(pointer[0]) for _, pointer in selection.pointers])
        return context

    def decode(self, features: FrameFeatures, context: Tensor, *args: Any, **options: Any) -> Candidates:
        self.presents.append((len(context), options.get("present", 0.0)))
        offers = [offered(self.seed, self.doubt, self.frame, int(row.flatten()[0])) for row in context]
        pointers = torch.zeros(len(offers), 3, self.config.channels)
        pointers[..., 0] = torch.tensor([pointer for _, _, pointer in offers], dtype=torch.float32)
        side = self.config.mask_size
        logits = pointers[..., :1, None].expand(-1, -1, side, side) + 1.0
        iou, score = torch.tensor([iou for iou, _, _ in offers]), torch.tensor([s for _, s, _ in offers])
        return Candidates(logits, iou, pointers, score)


def seen(pointers: list[int]) -> int:
    return sum((place + 1) * pointer for place, pointer in enumerate(pointers)) % 9973


def offered(seed: int, doubt: float, frame: int, context: int) -> tuple[list[float], float, list[int]]:
    rng = np.random.default_rng([seed, frame, context])
    ious = [float(np.float32(iou)) for iou in rng.choice([0.05, 0.3, 0.301, 0.5, 0.8, 0.9], 3, replace=False)]
    score = float(np.float32(rng.uniform(-2, 2) if rng.random() < doubt else rng.choice([6.0, -5.0])))
    return ious, score, [frame * 100 + int(number) for number in rng.permutation(90)[:3]]


def apart(seed: int, doubt: float, length: int) -> dict[int, int]:
    """Three whole hypotheses, by the description; the pointers of the answers, read off at the end."""
    # ((pointer, iou, score) by frame, total)
    hypotheses: list[tuple[list[tuple[int, float, float]], float]] = []
    ious, score, pointers = offered(seed, doubt, 1, seen([0]))
    first = int(np.argmax(ious))
    hypotheses = [([(0, 1.0, 10.0), (pointers[first], ious[first], score)], 0.0)] * 3
    for frame in range(2, length):
        options = []
        for number, (past, total) in enumerate(hypotheses):
            kept: list[int] = []
            good = 0
            for at in range(frame - 1, 0, -1):
                worthy = past[at][1] > 0.1 and past[at][2] > 0
                if (worthy and good < 15) or at == frame - 1:
                    kept.append(past[at][0])
                good += worthy
            ious, score, pointers = offered(seed, doubt, frame, seen([0, *kept[:15]]))
            for iou, pointer in zip(ious, pointers, strict=True):
                options.append((number, total + math.log(iou + 1e-5), iou, score, pointer))
        ranked = sorted(options, key=lambda option: -option[1])
        if max(abs(option[3]) for option in options) > 2:
            chosen = ranked[:3]
        else:
            chosen, values = [], []
            for option in ranked:
                value = (round(option[2], 2), option[3] > 0)
                if value not in values and len(chosen) < 3:
                    chosen.append(option)
                    values.append(value)
            for number in range(3):
                if len(chosen) < 3 and number not in [option[0] for option in chosen]:
                    chosen.append(next(option for option in ranked if option[0] == number))
        hypotheses = [([*hypotheses[n][0], (pointer, iou, s)], total) for n, total, iou, s, pointer in chosen]
    best = max(hypotheses, key=lambda one: one[1])
    return {frame: pointer for frame, (pointer, _, _) in enumerate(best[0]) if frame}


def together(network: ScriptedFake, length: int, capacity: int | None = None) -> dict[int, int]:
    features = network.encode(torch.zeros(1, 3, 64, 64))
    obj = TrackedObject(1, MemoryBank(capacity), Sam2Long())
    pointer, iou, score = torch.zeros(network.config.channels), torch.tensor(1.0), torch.tensor(10.0)
    obj.bank.keep(Memory(0, torch.zeros(16, 8), pointer, iou, score, prompted=True))
    answers: dict[int, int] = {}
    for network.frame in range(1, length):
        undecided = set(obj.undecided)
        track_objects(network, EncodedFrame(features, network.frame), [obj])
        assert obj.last is not None
        assert obj.revised.keys() <= undecided, "what is decided stays"
        answers |= {frame: int(answer.pointer[0, 0]) for frame, answer in obj.revised.items()}
        answers[network.frame] = int(obj.last.pointer[0, 0])
    return answers


@few
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0]), st.integers(2, 40))
def test_hypotheses_that_share_are_hypotheses_apart(seed: int, doubt: float, length: int) -> None:
    assert together(ScriptedFake(seed, doubt), length) == apart(seed, doubt, length)


@few
@given(st.integers(0, 10**6))
def test_in_a_stream_its_memory_is_as_good_and_its_past_is_bounded(seed: int) -> None:
    endless, bounded = (
        together(ScriptedFake(seed, 0.3), 60),
        together(ScriptedFake(seed, 0.3), 60, capacity=Sam2Long.capacity),
    )
    assert bounded[59] == endless[59]


def test_equal_hypotheses_are_computed_once() -> None:
    network = ScriptedFake(5, 0.0)
    together(network, 20)
    assert set(network.batches) == {1}


def test_many_objects_branch_in_batches() -> None:
    network = ScriptedFake(1, 1.0)
    features = network.encode(torch.zeros(1, 3, 64, 64))
    objects = [TrackedObject(id, MemoryBank(None), Sam2Long()) for id in range(1, 5)]
    for obj in objects:
        obj.policy.store(obj.bank, _memory(0, prompted=True), _candidates())
        obj.policy.store(obj.bank, _memory(1), _candidates())
    network.frame = 2
    track_objects(network, EncodedFrame(features, 2), objects)
    assert network.batches == [4]
    assert all(weights[0] == pytest.approx(1.05) for weights in network.weighed)


def test_hypotheses_are_decoded_with_the_threshold_of_their_policy() -> None:
    class Lenient(Sam2Long):
        present = -1.0

    network = ScriptedFake(1, 1.0)
    features = network.encode(torch.zeros(1, 3, 64, 64))
    objects = [
        TrackedObject(id, MemoryBank(None), make()) for id, make in enumerate([Sam2Long, Lenient, Lenient])
    ]
    for obj in objects:
        obj.policy.store(obj.bank, _memory(0, prompted=True), _candidates())
        obj.policy.store(obj.bank, _memory(1), _candidates())
    network.frame = 2
    track_objects(network, EncodedFrame(features, 2), objects)
    assert network.presents == [(1, 0.0), (2, -1.0)]


def _memory(frame: int, *, prompted: bool = False) -> Memory:
    return Memory(frame, torch.zeros(16, 8), torch.zeros(32), torch.tensor(0.9), torch.tensor(5.0), prompted)


def _candidates() -> Candidates:
    return Candidates(torch.ones(1, 3, 4, 4), torch.ones(1, 3), torch.zeros(1, 3, 32), torch.ones(1))
