"""What cannot be a model, a frame, an id or a prompt is refused before anything runs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet.errors import MaskletError, PromptError
from masklet.model import check_model
from masklet.prompts import check_frame, check_id, check_prompts
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
    with pytest.raises(PromptError, match="whole number from 1;"):
        check_id(value)
    with pytest.raises(PromptError, match="whole number"):
        check_prompts({value: {1: CLICK}})


@pytest.mark.parametrize(
    ("prompts", "part"),
    [
        ({0: {1: {"positive": [(5, 5)]}}}, "object 1 on frame 0 needs a Prompt"),
        ({0: CLICK}, "given by frame and object"),
        ([CLICK], "given by frame and object"),
        ({0: {0: CLICK}}, "whole number from 1;"),
    ],
)
def test_prompts_of_another_form_are_refused(prompts: object, part: str) -> None:
    with pytest.raises(PromptError, match=part):
        check_prompts(prompts)


@pytest.mark.parametrize("model", ["nano", None, Prompt])
def test_only_a_network_is_a_model(model: object) -> None:
    with pytest.raises(MaskletError, match=r"from masklet\.load\("):
        check_model(model)


UNTYPED = """
import numpy as np, pytest, torch
from masklet import MaskletError, Prompt, Sam2, VideoSession
from masklet.config import toy
from masklet.errors import PromptError
from masklet.sessions.events import Prompted, Script

video, click = np.zeros((3, 48, 64, 3), dtype=np.uint8), Prompt(positive=[(5, 5)])
with pytest.raises(MaskletError, match="masklet.load"):
    VideoSession("nano", video)
session = VideoSession(Sam2(toy()).eval(), video)
for frame in ("0", True, 0.0):
    for call in (lambda: session.prompt(frame, 1, click), lambda: session.review(frame)):
        with pytest.raises(PromptError, match="a frame must be a whole number"):
            call()
with pytest.raises(PromptError, match="whole number from 1;"):
    session.prompt(0, True, click)
with pytest.raises(PromptError, match="must be a Prompt"):
    session.prompt(0, 1, {"positive": [(5, 5)]})
assert session.prompt(np.int64(0), np.uint8(7), click).ids == (7,)
assert session.script.events == [Prompted(0, 7, click)]

reviewed = {"do": "review", "start": 0, "stop": 1, "reviewed": True}
propagated = {"do": "follow", "start": 0, "stop": 2, "reverse": False}
assert len(Script.from_json([propagated, reviewed]).events) == 2
for event, part in [
    ({"do": "prompt", "frame": "0", "id": 1, "prompt": {}}, "a frame must be a whole number"),
    ({"do": "prompt", "frame": 0, "id": True, "prompt": {}}, "whole number from 1;"),
    ({"do": "prompt", "frame": 0, "id": 1, "prompt": [5, 5]}, "a prompt must be an object with"),
    ({**propagated, "stop": 1.5}, "a frame must be a whole number"),
    ({**propagated, "reverse": "no"}, "true or false"),
    ({**propagated, "objects": 1}, "a list of ids"),
    ({"do": ["prompt"]}, "an event of a script must be one of"),
    ("prompt", "an event of a script must be one of"),
]:
    with pytest.raises(PromptError, match=part):
        Script.from_json([event])
"""


def test_sessions_and_scripts_refuse_other_types_where_annotations_are_not_checked() -> None:
    subprocess.run([sys.executable, "-c", UNTYPED], check=True, timeout=300)
