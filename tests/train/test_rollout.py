"""The simulated user follows the paper, and gradients reach every part of the network."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from masklet.config import toy
from masklet.model import Sam2
from masklet.tracking.bank import MemoryBank
from masklet.train.rollout import Batch, Plan, compute_losses, rollout
from masklet.train.state import initialise
from masklet.types import Candidates, FrameFeatures, Memory, MemorySelection
from train.toy_data import discs

DRAWS = 4000


@pytest.fixture
def model() -> Sam2:
    model = Sam2(toy())
    initialise(model, 0.1)
    return model


def plans(frames: int) -> list[Plan]:
    rng = np.random.default_rng(0)
    return [Plan.draw(frames, rng) for _ in range(DRAWS)]


def shares(values: Sequence[Any]) -> dict[Any, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


def test_prompts_are_masks_half_the_time_and_clicks_and_boxes_a_quarter_each() -> None:
    starts = shares([plan.start for plan in plans(8)])
    assert starts == pytest.approx({"mask": 0.5, "click": 0.25, "box": 0.25}, abs=0.03)


def test_of_two_frames_one_is_left_to_track() -> None:
    assert {plan.prompted for plan in plans(2)} == {(0,)}


def test_a_still_gets_a_click_or_a_box_and_corrections() -> None:
    assert shares([plan.start for plan in plans(1)]) == pytest.approx({"click": 0.5, "box": 0.5}, abs=0.03)
    assert all(plan.prompted == plan.corrected == (0,) for plan in plans(1))


def test_one_or_two_frames_are_prompted_the_first_always_the_other_anywhere() -> None:
    drawn = plans(8)
    assert all(plan.prompted[0] == 0 and len(set(plan.prompted)) == len(plan.prompted) for plan in drawn)
    assert shares([len(plan.prompted) for plan in drawn]) == pytest.approx({1: 0.5, 2: 0.5}, abs=0.03)
    second = shares([plan.prompted[1] for plan in drawn if len(plan.prompted) == 2])
    assert second == pytest.approx(dict.fromkeys(range(1, 8), 1 / 7), abs=0.03)


def test_as_many_frames_as_are_prompted_or_two_are_corrected_and_none_after_a_mask() -> None:
    drawn = plans(8)
    assert not any(plan.corrected for plan in drawn if plan.start == "mask")
    pointed = [plan for plan in drawn if plan.start != "mask"]
    assert all(set(plan.prompted) <= set(plan.corrected) for plan in pointed)
    counts = shares([(len(plan.prompted), len(plan.corrected)) for plan in pointed])
    assert counts == pytest.approx({(1, 1): 0.25, (1, 2): 0.25, (2, 2): 0.5}, abs=0.03)


def test_batches_keep_frames_masks_and_owners_together() -> None:
    clips = [discs(3, 2)(0), discs(3, 1)(1)]
    batch = Batch.collate(clips)
    assert batch.owner.tolist() == [0, 0, 1] and len(batch) == 3
    assert batch.images.shape == (2, 3, 64, 64, 3) and batch.masks.shape == (3, 3, 64, 64)
    assert (batch.masks[1].numpy() == clips[0].masks[:, 1]).all()
    assert (batch.masks[2].numpy() == clips[1].masks[:, 0]).all()


class Spy:
    """Records the calls of `decode`, `attend` and `keep`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hints: list[Tensor | None] = []
        self.candidates: list[Candidates] = []
        self.points: list[int] = []
        self.selections: list[MemorySelection] = []
        self.stored: list[tuple[int, bool]] = []
        decode, attend, keep = Sam2.decode, Sam2.attend, MemoryBank.keep

        def record_decode(
            model: Sam2,
            features: FrameFeatures,
            context: Tensor,
            points: Tensor | None = None,
            labels: Tensor | None = None,
            hint: Tensor | None = None,
            **options: Any,
        ) -> Candidates:
            self.hints.append(hint)
            self.points.append(0 if points is None else points.shape[1])
            self.candidates.append(decode(model, features, context, points, labels, hint, **options))
            return self.candidates[-1]

        def record_attend(
            model: Sam2, features: FrameFeatures, selections: Sequence[MemorySelection]
        ) -> Tensor:
            self.selections.append(selections[0])
            return attend(model, features, selections)

        def record_keep(bank: MemoryBank, memory: Memory) -> None:
            self.stored.append((memory.frame, memory.prompted))
            keep(bank, memory)

        monkeypatch.setattr(Sam2, "decode", record_decode)
        monkeypatch.setattr(Sam2, "attend", record_attend)
        monkeypatch.setattr(MemoryBank, "keep", record_keep)


def play(model: Sam2, plan: Plan, frames: int, corrections: int = 2) -> list[Any]:
    batch = Batch.collate([discs(frames)(3)])
    return rollout(model, batch, plan, torch.Generator().manual_seed(0), corrections)


def test_the_logits_of_the_best_candidate_are_fed_back_with_each_correction(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    answers = play(model, Plan("click", (0,), (0,)), 1, corrections=3)
    assert [answer.points for answer in answers] == spy.points == [1, 2, 3, 4]
    assert [answer.candidates.logits.shape[1] for answer in answers] == [3, 1, 1, 1]
    assert spy.hints[0] is None
    for hint, before in zip(spy.hints[1:], spy.candidates, strict=False):
        assert hint is not None and not hint.requires_grad
        assert torch.equal(hint, before.logits[:, before.iou[0].argmax()].detach())


def test_corrected_frames_become_conditioning_frames(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    play(model, Plan("box", (0,), (0, 2)), 4)
    assert spy.stored == [(0, True), (1, False), (2, True)]  # the last frame needs no memory
    assert [memory.frame for _, memory in spy.selections[-1].spatial] == [0, 2, 1]
    assert spy.points == [2, 3, 4, 0, 0, 1, 2, 0]


def test_prompted_frames_come_first_without_memory(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    answers = play(model, Plan("click", (0, 2), ()), 4)
    assert [answer.frame for answer in answers] == [0, 2, 1, 3]
    assert [len(selection.spatial) for selection in spy.selections] == [0, 0, 2, 3]


def test_a_mask_prompt_is_taken_as_it_is(model: Sam2) -> None:
    assert [answer.frame for answer in play(model, Plan("mask", (0,), ()), 3)] == [1, 2]


def test_gradients_reach_every_part(model: Sam2) -> None:
    """Together, the kinds of prompts train everything except parameters that only absent objects use."""
    torch.nn.init.constant_(model.mask_decoder.score_head.layers[-1].bias, 5.0)  # it is sure of what it sees
    for start in ("mask", "click", "box"):
        plan = Plan(start, (0,), () if start == "mask" else (0, 2))
        batch = Batch.collate([discs(4)(3)])
        answers = rollout(model, batch, plan, torch.Generator().manual_seed(0), 1)
        sum(
            compute_losses(answer.candidates, batch.masks[:, answer.frame], 32).total() for answer in answers
        ).backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    # Of the three candidates only the best learns its mask.
    silent = {name for name in silent if "mask_heads" not in name}
    unused = {"memory_attention.no_memory_position", "memory_encoder.absent", "mask_decoder.absent_pointer"}
    assert silent == unused
