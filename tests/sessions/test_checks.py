"""What cannot be a model, a frame, an id or a prompt is refused before anything runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet.errors import MaskletError, PromptError
from masklet.sessions.checks import check_frame, check_id, check_model, check_prompts
from masklet.types import Prompt

CLICK = Prompt(positive=[(5, 5)])
not_whole = st.one_of(st.text(), st.floats(), st.booleans(), st.none(), st.tuples(st.integers()))


@given(st.integers(0, 10**9))
def test_whole_numbers_of_any_kind_are_frames_and_ids(number: int) -> None:
    for kind in (int, np.int64, np.uint32):
        assert type(check_frame(kind(number))) is int and check_frame(kind(number)) == number
        assert type(check_id(kind(number + 1))) is int


@given(not_whole)
def test_nothing_else_is_a_frame_or_an_id(value: object) -> None:
    with pytest.raises(PromptError, match="whole number"):
        check_frame(value)
    with pytest.raises(PromptError, match="whole number from 1 on"):
        check_id(value)
    with pytest.raises(PromptError, match="whole number"):
        check_prompts({value: {1: CLICK}})


@pytest.mark.parametrize(
    ("prompts", "part"),
    [
        ({0: {1: {"positive": [(5, 5)]}}}, "object 1 on frame 0 needs a Prompt"),
        ({0: CLICK}, "given by frame and object"),
        ([CLICK], "given by frame and object"),
        ({0: {0: CLICK}}, "whole number from 1 on"),
    ],
)
def test_prompts_of_another_form_are_refused(prompts: object, part: str) -> None:
    with pytest.raises(PromptError, match=part):
        check_prompts(prompts)


@pytest.mark.parametrize("model", ["nano", None, Prompt])
def test_only_a_network_is_a_model(model: object) -> None:
    with pytest.raises(MaskletError, match=r"as masklet.load\(...\) returns it"):
        check_model(model)
