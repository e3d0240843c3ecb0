"""Prompts add up, and masks are what their logits say."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from masklet.errors import MaskletError, PromptError
from masklet.prompts import _mask
from masklet.types import ABSENT, Candidates, MaskPrediction, Masks, Prompt

numbers = st.floats(-1e6, 1e6, allow_nan=False)
clicks = st.lists(st.tuples(numbers, numbers), max_size=3)
sides = st.tuples(numbers, st.floats(1, 1e3))
boxes = st.builds(lambda x, y: (x[0], y[0], x[0] + x[1], y[0] + y[1]), sides, sides)
masks = arrays(bool, (3, 5))
# Prompts are built in the tests, since the type checker that tests switch on draws random numbers.
said = st.fixed_dictionaries(
    {"positive": clicks, "negative": clicks, "box": st.none() | boxes, "mask": st.none() | masks}
)


@given(said, said, said)
def test_adding_prompts_is_associative(one: dict, two: dict, three: dict) -> None:
    a, b, c = Prompt(**one), Prompt(**two), Prompt(**three)
    assert (a | b) | c == a | (b | c)


@given(said)
def test_an_empty_prompt_adds_nothing(one: dict) -> None:
    prompt = Prompt(**one)
    assert prompt | Prompt() == prompt == Prompt() | prompt
    assert not Prompt()


@given(said, said)
def test_clicks_add_up_and_the_later_box_and_mask_count(one: dict, two: dict) -> None:
    a, b = Prompt(**one), Prompt(**two)
    both = a | b
    assert both.clicks == a.clicks + b.clicks
    assert both.positive[: len(a.positive)] == a.positive
    assert both.box == (b.box or a.box)
    assert np.array_equal(both.mask, a.mask if b.mask is None else b.mask)


@given(said)
def test_a_prompt_survives_json(one: dict) -> None:
    prompt = Prompt(**one)
    back = Prompt.from_json(json.loads(json.dumps(prompt.to_json())))
    assert back == prompt and hash(back) == hash(prompt)


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"positive": (5, 5)}, r"one click is \[\(x, y\)\]"),
        ({"positive": [(1, 2), (3,)]}, "list of"),
        ({"negative": "here"}, "negative must be a list"),
        ({"positive": [(float("nan"), 1)]}, "finite"),
        ({"box": (5, 5, 5, 9)}, r"area.*Got \(5, 5, 5, 9\)"),
        ({"box": (9, 5, 5, 9)}, "x0 < x1"),
        ({"box": (1, 2, 3)}, "four finite numbers"),
        ({"box": "a box"}, "four finite numbers"),
        ({"box": (0, 0, float("inf"), 5)}, "four finite numbers"),
        ({"mask": np.zeros((2, 3, 3))}, r"\(H, W\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict, part: str) -> None:
    prompt = object.__new__(Prompt)  # past the type checker that tests switch on
    for name, value in {**dict.fromkeys(vars(Prompt()), ()), "box": None, "mask": None, **said}.items():
        object.__setattr__(prompt, name, value)
    with pytest.raises(PromptError, match=part) as caught:
        prompt.__post_init__()
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, MaskletError)


def test_prompts_from_json_know_their_fields() -> None:
    with pytest.raises(PromptError, match="Got point"):
        Prompt.from_json({"point": [[1, 2]]})


def two() -> Masks:
    low_res = torch.full((2, 2, 2), -1.0)
    low_res[0, :, 0] = 2.0  # object 4: the left half
    low_res[1, 0] = 3.0  # object 9: the upper half, and surer
    return Masks(5, (4, 9), low_res, (4, 4), torch.tensor([0.5, 0.7]), torch.tensor([1.0, 2.0]))


def test_masks_are_found_by_id() -> None:
    masks = two()
    assert (masks[4][:, 0]).all() and not masks[4][:, -1].any()
    assert list(masks) == [4, 9] and 9 in masks and 0 not in masks and len(masks) == 2
    assert {id: mask.shape for id, mask in masks.items()} == {4: (4, 4), 9: (4, 4)}
    for look in (lambda: masks[1], lambda: masks.select(1)):
        with pytest.raises(KeyError, match="no object 1 on frame 5; there are 4, 9"):
            look()


def test_where_masks_overlap_the_surer_one_wins() -> None:
    labels = two().label_map()
    assert labels.dtype == np.int32
    assert labels[0, 0] == 9 and labels[3, 0] == 4 and labels[3, 3] == 0


def test_boxes_are_tight() -> None:
    masks = two()
    for id, box in zip(masks, masks.boxes, strict=True):
        x0, y0, x1, y1 = box.astype(int)
        assert masks[id].sum() > 0
        assert masks[id][y0:y1, x0:x1].sum() == masks[id].sum()
        for side in (masks[id][y0], masks[id][y1 - 1], masks[id][:, x0], masks[id][:, x1 - 1]):
            assert side.any()


def test_nothing_to_see_is_no_error() -> None:
    none = Masks(0, (), torch.zeros(0, 2, 2), (3, 5), torch.zeros(0), torch.zeros(0))
    assert none.logits.shape == (0, 3, 5) and none.boxes.shape == (0, 4) and none.rle() == []
    assert none.label_map().shape == (3, 5) and not none.label_map().any()
    empty = Masks(0, (1,), torch.full((1, 2, 2), ABSENT), (3, 5), torch.zeros(1), torch.zeros(1))
    assert empty.boxes.tolist() == [[0, 0, 0, 0]]


@pytest.mark.usefixtures("unchecked")
def test_selected_masks_have_plain_ids_each_once() -> None:
    masks = Masks.from_arrays(0, {3: np.eye(2, dtype=bool), 7: ~np.eye(2, dtype=bool)}, (2, 2))
    chosen = masks.select(np.int64(7), 3, 7)  # type: ignore[arg-type]
    assert chosen.ids == (7, 3) and [type(id) for id in chosen.ids] == [int, int]
    assert [row["object_id"] for row in json.loads(json.dumps(chosen.to_coco()))] == [7, 3]


def test_selected_and_joined_masks_keep_their_numbers() -> None:
    masks = two()
    swapped = masks.select(9, 4)
    assert swapped.ids == (9, 4) and swapped.iou.tolist() == masks.iou.flip(0).tolist()
    again = Masks.join({4: swapped.select(4), 9: swapped.select(9)})
    assert again.ids == masks.ids and torch.equal(again.low_res, masks.low_res)
    assert torch.equal(again.score, masks.score)


def test_each_object_gets_the_candidate_that_was_picked_for_it() -> None:
    logits = torch.arange(6.0)[:, None, None].expand(6, 2, 2).reshape(2, 3, 2, 2)
    offered = Candidates(logits, torch.rand(2, 3), torch.rand(2, 3, 4), torch.tensor([1.0, -1.0]))
    picked = offered.pick(torch.tensor([2, 0]))
    assert picked.logits[:, 0, 0].tolist() == [2, 3]
    assert picked.iou.tolist() == [offered.iou[0, 2], offered.iou[1, 0]]
    assert torch.equal(picked.pointer[1], offered.pointer[1, 0])
    hidden = picked.hide_absent()
    assert hidden.logits[:, 0, 0].tolist() == [2, ABSENT] and torch.equal(hidden.score, picked.score)


def test_rows_make_the_batch_again() -> None:
    batch = MaskPrediction(torch.rand(3, 2, 2), torch.rand(3), torch.rand(3, 4), torch.rand(3))
    again = MaskPrediction.stack([batch.row(row) for row in range(3)])
    assert all(torch.equal(getattr(again, name), getattr(batch, name)) for name in vars(batch))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.int64])
def test_a_tensor_of_any_kind_is_a_mask(dtype: torch.dtype) -> None:
    mask = torch.eye(4).to(dtype).requires_grad_(dtype.is_floating_point)
    assert (_mask(mask) == np.eye(4, dtype=bool)).all()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({1: np.ones((3, 2), bool)}, r"frame's size, .* \(2, 3\)\. Got \(3, 2\)"),
        ({1: np.full((2, 3), -4)}, "0 or below"),
        ({0: np.ones((2, 3), bool)}, "0 is the background"),
        ({True: np.ones((2, 3), bool)}, "whole number from 1;"),
        ({"car": np.ones((2, 3), bool)}, "whole number from 1;"),
        ([np.ones((2, 3), bool)], "by object id"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(arrays: dict, reason: str, unchecked: None) -> None:
    with pytest.raises(PromptError, match=reason):
        Masks.from_arrays(0, arrays, (2, 3))


@pytest.mark.parametrize("scale", [np.uint8(1), np.uint8(255), 0.75, torch.tensor(3.0)])
def test_arrays_are_read_as_a_prompt_reads_a_mask(scale: Any) -> None:
    """Numbers were taken for rows of the label map."""
    shown = np.array([[True, False, True], [False, False, True]])
    values = torch.from_numpy(shown) * scale if isinstance(scale, torch.Tensor) else shown * scale
    masks = Masks.from_arrays(0, {7: values}, (2, 3))
    assert np.array_equal(masks[7], shown) and np.array_equal(masks.label_map(), shown * 7)


def test_each_mask_has_a_quality() -> None:
    with pytest.raises(MaskletError, match=r"1 masks need one score each\. Got 2"):
        Masks.from_arrays(0, {1: np.ones((2, 3), bool)}, (2, 3), iou=[1, 0.5])


def test_ids_that_no_label_map_holds_are_refused() -> None:
    masks = Masks.from_arrays(0, {2**31: np.ones((2, 3), bool)}, (2, 3))
    with pytest.raises(MaskletError, match=r"ids up to 2147483647\. Got 2147483648"):
        masks.label_map()
