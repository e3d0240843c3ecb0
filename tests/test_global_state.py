"""Whatever torch's global state is, the public face gives the same masks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import masklet
from masklet import ImageSession, Prompt, Sam2, Tracker, VideoSession
from masklet.auto import Grid
from masklet.backends import Setting
from masklet.backends.native import library
from masklet.backends.native.kernels import address
from masklet.masks import Masks

needs_kernels = pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")
MODELS = [
    pytest.param("torch", "exact", id="torch"),
    pytest.param("auto", "exact", id="native", marks=needs_kernels),
    pytest.param("auto", "balanced", id="native-balanced", marks=needs_kernels),
]
BOX = Prompt(box=(44, 14, 86, 56))
CLICK = Prompt(positive=[(64, 36)])
GRID = Grid(points_per_side=2, pred_iou_thresh=0.1, stability_score_thresh=0.1)


def image(x: int = 65, y: int = 35) -> np.ndarray:
    """A red disc on a noisy ground."""
    height, width = 96, 128
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([60 + 60 * columns / width, 110 + 60 * rows / height, 90 + 0 * rows], -1)
    ground += np.random.default_rng(0).normal(0, 6, ground.shape)
    ground[(columns - x) ** 2 + (rows - y) ** 2 <= 400] = (220, 40, 30)
    return ground.clip(0, 255).astype(np.uint8)


FRAMES = np.stack([image(x) for x in (65, 67, 69)])


def run_public_face(model: Sam2) -> list[np.ndarray]:
    """The masks of an image's session, a stream, a video's session and everything."""
    session = ImageSession(model, FRAMES[0])
    first = session.segment(CLICK)
    offered = [first, session.segment(BOX), session.segment(BOX | CLICK, hint=first)]
    answers: list[Masks] = []

    tracker = Tracker(model)
    answers += [
        tracker.step(FRAMES[0], {3: CLICK}),
        tracker.step(FRAMES[1], {5: BOX}),
        tracker.step(FRAMES[2]),
    ]

    video = VideoSession(model, FRAMES)
    answers.append(video.prompt(1, 1, BOX))
    answers.append(video.prompt(1, 2, Prompt(mask=first.best)))
    answers += [*video.propagate(1), *video.propagate(1, reverse=True)]

    answers.append(masklet.everything(model, FRAMES[0], GRID))
    masks = [masks[id] for masks in answers for id in masks.ids]
    return [mask for candidates in offered for mask in candidates] + masks


@cache
def network(engine: Any, setting: Setting) -> Sam2:
    return masklet.load(device="cpu", engine=engine, setting=setting)


@cache
def expected(engine: str, setting: Setting) -> list[np.ndarray]:
    return run_public_face(network(engine, setting))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast to bfloat16": partial(torch.autocast, "cpu", torch.bfloat16),
    "autocast to float16": partial(torch.autocast, "cpu", torch.float16),
    "default dtype float64": partial(default_dtype, torch.float64),
    "default dtype float16": partial(default_dtype, torch.float16),
    "default dtype bfloat16": partial(default_dtype, torch.bfloat16),
    "default device meta": partial(default_device, "meta"),
    "default device cpu": partial(default_device, "cpu"),
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "inference mode": torch.inference_mode,
    "deterministic algorithms": deterministic,
    "three threads": partial(threads, 3),
}


def check_same_masks(engine: str, setting: Setting, states: list[str]) -> None:
    wanted = expected(engine, setting)
    with ExitStack() as stack:
        for name in states:
            stack.enter_context(STATES[name]())
        masks = run_public_face(network(engine, setting))
    assert len(masks) == len(wanted)
    for number, (mask, same) in enumerate(zip(masks, wanted, strict=True)):
        # Threads and deterministic algorithms sum in another order, which moves a pixel at an edge.
        assert (mask != same).mean() <= 1e-3, f"mask {number} of {len(masks)} under {', '.join(states)}"


@pytest.mark.parametrize("engine, setting", MODELS)
@pytest.mark.parametrize("state", STATES)
def test_masks_are_the_same_under_every_state(state: str, engine: str, setting: Setting) -> None:
    check_same_masks(engine, setting, [state])


@pytest.mark.parametrize("engine, setting", MODELS)
@settings(max_examples=6)
@given(states=st.lists(st.sampled_from(list(STATES)), min_size=2, max_size=4, unique=True))
def test_masks_are_the_same_under_several_states_at_once(
    engine: str, setting: Setting, states: list[str]
) -> None:
    check_same_masks(engine, setting, states)


@pytest.mark.parametrize("state", ["default dtype float16", "default dtype float64", "default device meta"])
@pytest.mark.parametrize("engine, setting", MODELS)
def test_a_model_loaded_under_another_state_is_the_same(state: str, engine: Any, setting: Setting) -> None:
    with STATES[state]():
        model = masklet.load(device="cpu", engine=engine, setting=setting)
        (one, other) = (
            ImageSession(each, FRAMES[0]).segment(BOX) for each in (model, network(engine, setting))
        )
    assert np.array_equal(one.best, other.best)
    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(model.buffers(), network(engine, setting).buffers(), strict=True)
    )


SOURCE = Path(__file__).parents[1] / "src" / "masklet"
FACTORIES = {"arange", "as_tensor", "empty", "full", "linspace", "ones", "rand", "randn", "tensor", "zeros"}
OWN_STATE = {"nn", "train"}  # modules follow the state that they are built under, and Sam2 then its own


def factory_calls(source: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(source)):
        if (
            (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in FACTORIES
            )
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "torch"
        ):
            yield node


def test_tensors_without_memory_never_reach_the_kernels() -> None:
    """As torch.export makes them: their addresses are nowhere, and reading there ends the process."""

    class Fake(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, *_: object) -> None: ...

    with pytest.raises(masklet.MaskletError, match="a Fake has none"):
        address(torch.Tensor._make_wrapper_subclass(Fake, (3,), dtype=torch.float32))


def test_tensors_are_made_with_their_own_dtype_and_device() -> None:
    """Else they take torch's defaults, which any library in the process may have changed."""
    paths = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in OWN_STATE]
    implicit = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path in paths
        for call in factory_calls(path.read_text(encoding="utf-8"))
        if not {"dtype", "device"} <= {keyword.arg for keyword in call.keywords}
    ]
    assert not implicit
