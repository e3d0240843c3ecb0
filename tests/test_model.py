"""The five verbs are pure functions, row by row; what their numbers must be is tested under parity."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from masklet.config import toy
from masklet.model import Sam2, fill_mask, hold_clicks
from masklet.nn.layers import FEW_KEYS, attend
from masklet.types import FrameFeatures, MaskPrediction, Memory, MemorySelection
from toy_models import blob, toy_network

SIDE = 64


@pytest.fixture(scope="module", params=["2.0", "2.1"])
def network(request: pytest.FixtureRequest) -> Sam2:
    return toy_network(toy(request.param)).requires_grad_(False)


@pytest.fixture
def features(network: Sam2) -> FrameFeatures:
    return network.encode(torch.randn(1, 3, SIDE, SIDE))


def random_selection(network: Sam2, features: FrameFeatures, seed: int) -> MemorySelection:
    config, generator = network.config, torch.Generator().manual_seed(seed)
    tokens = torch.randn(config.grid**2, config.memory_channels, generator=generator)
    pointer = torch.randn(config.channels, generator=generator)
    memory = Memory(0, tokens, pointer, torch.tensor(0.9), torch.tensor(1.0), prompted=True)
    return MemorySelection(((6, memory), (0, replace(memory, tokens=-tokens))), ((3, pointer), (1, -pointer)))


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_verbs_remember_nothing(network: Sam2) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image = torch.randn(1, 3, SIDE, SIDE)
    first, other = network.encode(image), network.encode(-image)
    context = network.attend(first, [random_selection(network, first, 0)])
    network.decode(other, network.attend(other, [MemorySelection()]))
    network.memorize(other, network.adopt(other, torch.ones(1, SIDE, SIDE)))
    again = network.encode(image)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert torch.equal(network.attend(again, [random_selection(network, again, 0)]), context)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_every_object_has_its_own_row(network: Sam2, features: FrameFeatures) -> None:
    selections = [random_selection(network, features, seed) for seed in range(3)]
    points, labels = torch.rand(3, 2, 2) * SIDE, torch.tensor([[1, 0], [2, 3], [1, 1]])
    hint = torch.randn(3, network.config.mask_size, network.config.mask_size)
    context = network.attend(features, selections)
    offered = network.decode(features, context, points, labels, hint)
    prediction = offered.pick(torch.tensor([0, 1, 2]))
    tokens = network.memorize(features, prediction)
    for row in range(3):
        close(network.attend(features, [selections[row]])[0], context[row])
        here = slice(row, row + 1)
        one = network.decode(features, context[here], points[here], labels[here], hint[here])
        for name in vars(one):
            close(getattr(one, name), getattr(offered.row(row), name))
        close(network.memorize(features, prediction.row(row))[0], tokens[row])
    assert (context[0] - context[1]).abs().max() > 1e-2 and (tokens[0] - tokens[1]).abs().max() > 1e-2


def test_memories_spans_points_and_hints_count(network: Sam2, features: FrameFeatures) -> None:
    nothing = network.attend(features, [MemorySelection()])
    some = random_selection(network, features, 0)
    contexts = [
        nothing,
        network.attend(features, [some]),
        network.attend(features, [replace(some, pointers=())]),
        network.attend(features, [replace(some, spatial=some.spatial[:1])]),
    ]
    if network.config.revision == "2.1":  # 2.0 does not tell pointers' ages apart
        contexts.append(network.attend(features, [replace(some, span=7)]))
    point, on, beside = torch.full((1, 1, 2), 20.0), torch.tensor([[1]]), torch.tensor([[0]])
    answers = [
        network.decode(features, nothing).logits,
        network.decode(features, nothing, point, on).logits,
        network.decode(features, nothing, point, beside).logits,
        network.decode(features, nothing, point + 9, on).logits,
        network.decode(features, nothing, point, on, torch.randn(1, 16, 16)).logits,
    ]
    for values in (contexts, answers):
        for i, one in enumerate(values):
            assert all((one - other).abs().max() > 1e-3 for other in values[:i])


def test_three_candidates_or_one(network: Sam2, features: FrameFeatures) -> None:
    context = network.attend(features, [MemorySelection()] * 2)
    side, channels = network.config.mask_size, network.config.channels
    for count in (1, 3):
        offered = network.decode(features, context, candidates=count)
        assert offered.logits.shape == (2, count, side, side) and offered.logits.dtype is torch.float32
        assert offered.iou.shape == (2, count) and offered.pointer.shape == (2, count, channels)
        assert offered.score.shape == (2,)


def test_an_unsteady_mask_gives_way_to_the_best_of_three(network: Sam2, features: FrameFeatures) -> None:
    context = network.attend(features, [MemorySelection()])
    points, labels = torch.tensor([[[20.0, 24.0], [50.0, 9.0]]]), torch.tensor([[1, 0]])
    three = network.decode(features, context, points, labels)
    for margin, replaced in ((1e3, True), (0.0, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("masklet.model.STABLE_MARGIN", margin)
            one = network.decode(features, context, points, labels, candidates=1)
            raw = network.decode(features, context, points, labels, candidates=1, stable=False)
        best = three.logits[:, three.iou[0].argmax()]
        assert torch.equal(one.logits[:, 0], best if replaced else raw.logits[:, 0])
        assert not torch.equal(best, raw.logits[:, 0])


def test_clicks_are_held_where_the_config_says_so(network: Sam2, features: FrameFeatures) -> None:
    context = network.attend(features, [MemorySelection()] * 2)
    points = torch.tensor([[[22.0, 26.0], [50.0, 10.0]]] * 2)  # in the middle of cells
    for labels in (torch.tensor([[1, 1], [0, 0]]), torch.tensor([[0, 0], [1, 1]])):
        free = network.decode(features, context, points, labels, candidates=1)
        network.config = replace(network.config, holds_clicks=True)
        try:
            held = network.decode(features, context, points, labels, candidates=1)
            alone = network.decode(features, context, candidates=1)
            raw = network.decode(features, context, points, labels, candidates=1, stable=False)
        finally:
            network.config = replace(network.config, holds_clicks=False)
        for row in range(2):
            at_clicks = held.logits[row, 0, [6, 2], [5, 12]]
            assert torch.equal(at_clicks > 0, labels[row] == 1)
        assert torch.equal(held.iou, free.iou) and torch.equal(held.pointer, free.pointer)
        assert torch.equal(alone.logits, network.decode(features, context, candidates=1).logits)
        rejected = free.logits[:, 0, [6, 2], [5, 12]] > 0
        assert (rejected != (labels == 1)).any(), "nothing was contradicted"
        assert torch.equal(
            raw.logits, network.decode(features, context, points, labels, candidates=1, stable=False).logits
        )


def test_what_agrees_with_its_clicks_stays_as_it_is() -> None:
    logits = fill_mask(torch.from_numpy(blob((SIDE, SIDE)))[None].float(), 16)
    inside = blob((SIDE, SIDE)).nonzero()
    middle = [float(inside[1].mean()), float(inside[0].mean())]
    points, labels = torch.tensor([[middle, [1.0, 1.0], [9.0, 9.0]]]), torch.tensor([[1, 0, -1]])
    assert torch.equal(hold_clicks(logits, points, labels, SIDE), logits)


def test_a_held_click_changes_what_is_near_and_beside_another_both_hold() -> None:
    logits = torch.full((1, 96, 96), -3.0)
    points = torch.tensor(
        [[[100.0, 100.0], [116.0, 100.0], [2.0, 383.0]]]
    )  # four cells apart, and at a corner
    held = hold_clicks(logits, points, torch.tensor([[1, 0, 1]]), 384)[0]
    assert held[25, 25] > 0 > held[25, 29] and held[95, 0] > 0
    assert torch.equal(held[60:70, 60:70], logits[0, 60:70, 60:70])


def test_a_users_mask_is_taken_as_it_is(network: Sam2, features: FrameFeatures) -> None:
    mask = torch.zeros(2, SIDE, SIDE)
    mask[0, 16:48, 8:40] = 1
    prediction = network.adopt(features, mask)
    assert torch.equal(prediction.logits > 0, mask[:, 2::4, 2::4] > 0)
    assert prediction.score.tolist() == [10, -10] and prediction.iou.tolist() == [1, 1]
    assert (prediction.pointer[0] - prediction.pointer[1]).abs().max() > 1e-2


def test_a_binary_memory_forgets_how_sure_a_pixel_was(network: Sam2, features: FrameFeatures) -> None:
    logits = fill_mask(torch.from_numpy(blob((SIDE, SIDE)))[None].float(), 16)
    score, channels = torch.ones(1), network.config.channels
    sure, unsure = (
        MaskPrediction(scale * logits, score, torch.zeros(1, channels), score) for scale in (1.0, 0.1)
    )
    assert torch.equal(
        network.memorize(features, sure, binary=True), network.memorize(features, unsure, binary=True)
    )
    soft = network.memorize(features, sure), network.memorize(features, unsure)
    assert (soft[0] - soft[1]).abs().max() > 1e-2


def test_frames_can_be_encoded_in_batches(network: Sam2) -> None:
    images = torch.randn(2, 3, SIDE, SIDE)
    both = network.encode(images)
    for part, whole in zip(network.encode(images[1:]), both, strict=True):
        close(part, whole[1:])
    assert [part.shape[-1] for part in both] == [4, 8, 16]


@pytest.mark.parametrize(
    "queries, keys", [(FEW_KEYS + 1, FEW_KEYS), (FEW_KEYS, 9), (100, FEW_KEYS + 1), (9, 100)]
)
@pytest.mark.parametrize("has_bias", [False, True])
def test_attention_that_trains_has_the_numbers_and_gradients_of_torchs(
    queries: int, keys: int, has_bias: bool
) -> None:
    q, k, v = (torch.randn(2, 4, n, 8, requires_grad=True) for n in (queries, keys, keys))
    bias = torch.randn(keys) if has_bias else None
    expected = F.scaled_dot_product_attention(q, k, v, None if bias is None else bias.expand(1, 1, 1, -1))
    weight = torch.randn_like(expected)
    mine = attend(q, k, v, bias)
    close(mine, expected)
    for one, other in zip(
        torch.autograd.grad(mine, (q, k, v), weight),
        torch.autograd.grad(expected, (q, k, v), weight),
        strict=True,
    ):
        close(one, other)
