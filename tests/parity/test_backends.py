"""Engines round, or sum in another order: their masks beside those of plain torch, over whole clips."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from masklet import Sam2
from masklet.backends import EngineName, Setting, fit
from masklet.backends.native import library
from masklet.config import Revision
from masklet.types import Prompt
from parity.agreement import Answer, shown
from parity.scenarios import LENGTH, Ours, Scenario, Step, Video, forwards, prompted, tracked
from parity.trio import nano, trio_of
from parity.weights import clip

ENGINES = [
    pytest.param(
        "kernels",
        "balanced",
        marks=pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}"),
    ),
    pytest.param(
        "openvino",
        "exact",
        marks=pytest.mark.skipif(
            not importlib.util.find_spec("openvino"), reason="openvino is not installed"
        ),
    ),
]


def demo(video: Video) -> Iterator[Step]:
    yield from prompted(video, 0, Prompt(positive=[(188, 140)]), Prompt(box=(140, 95, 240, 190)))
    yield from tracked(video, 0)


def agreement(
    network: Sam2, frames: np.ndarray, scenario: Scenario, engine: EngineName, setting: Setting
) -> np.ndarray:
    """The IoU of every mask with that of the same network in plain torch."""
    exact = answers(network, frames, scenario)
    fit(network, engine, setting)
    try:
        rounded = answers(network, frames, scenario)
    finally:
        fit(network, "torch")
    return np.array([iou(*pair) for pair in zip(exact, rounded, strict=True)])


def answers(network: Sam2, frames: np.ndarray, scenario: Scenario) -> list[Answer]:
    return [answer for _, seen in scenario(Ours(network, frames)) for answer in seen.values()]


def iou(one: Answer, other: Answer) -> float:
    a, b = shown(one.logits), shown(other.logits)
    either = (a | b).sum().item()
    return (a & b).sum().item() / either if either else 1.0


@pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")
@pytest.mark.parametrize("revision", ["2.0", "2.1"])
def test_exact_kernels_give_the_same_logits(revision: Revision) -> None:
    """What the published weights are held to: logits to 1e-3 of the largest, and scores to 1e-4."""
    network, frames = trio_of(revision).ours, clip(LENGTH)
    plain = answers(network, frames, forwards)
    fit(network)
    try:
        ours = answers(network, frames, forwards)
    finally:
        fit(network, "torch")
    for mine, theirs in zip(ours, plain, strict=True):
        assert (mine.logits - theirs.logits).abs().max() <= 1e-3 * theirs.logits.abs().max()
        torch.testing.assert_close(mine.score, theirs.score, atol=1e-4, rtol=0)
        torch.testing.assert_close(mine.iou, theirs.iou, atol=1e-4, rtol=0)


@pytest.mark.parametrize("engine, setting", ENGINES)
def test_trained_weights_give_the_same_masks(engine: EngineName, setting: Setting) -> None:
    network, _, frames = nano()
    assert agreement(network, frames[:8], demo, engine, setting).min() >= 0.99


@pytest.mark.parametrize("engine, setting", ENGINES)
@pytest.mark.parametrize("revision", ["2.0", "2.1"])
def test_random_weights_give_the_same_masks(revision: Revision, engine: EngineName, setting: Setting) -> None:
    """In bfloat16, as the published predictor runs, a tenth to a quarter of these masks falls below 0.99."""
    assert agreement(trio_of(revision).ours, clip(LENGTH), forwards, engine, setting).min() >= 0.99
