"""A script is what was said and done, in order, and JSON in and out."""

from __future__ import annotations

import json

import pytest

from masklet.errors import PromptError
from masklet.sessions.events import Cleared, Followed, Prompted, Removed, Script
from masklet.types import Prompt
from toys import blob, click

DRAWN = Prompt(mask=blob())


def test_what_was_said_adds_up_and_a_mask_starts_anew() -> None:
    script = Script([Prompted(3, 1, click()), Prompted(3, 1, click(9, 9)), Prompted(0, 2, click())])
    assert script == Script(script.steps) and dict(script) == {3: {1: click() | click(9, 9)}, 0: {2: click()}}
    assert script.said(3, 1, click(1, 1)) == click() | click(9, 9) | click(1, 1)
    assert script.said(3, 1, DRAWN) == DRAWN and script.said(4, 1, click()) == click()
    script.steps.append(Prompted(3, 1, DRAWN))
    assert script[3][1] == DRAWN
    script.steps.append(Prompted(3, 1, click()))
    assert script[3][1] == DRAWN | click()


def test_what_was_taken_back_is_gone() -> None:
    said = [Prompted(0, 1, click()), Prompted(5, 1, click()), Prompted(5, 2, DRAWN)]
    assert dict(Script([*said, Cleared(5, 1)])) == {0: {1: click()}, 5: {2: DRAWN}}
    assert dict(Script([*said, Removed(1)])) == {5: {2: DRAWN}}
    assert dict(Script([*said, Removed(1), Prompted(5, 1, DRAWN)])) == {5: {2: DRAWN, 1: DRAWN}}
    assert len(Script([*said, Removed(1), Removed(2)])) == 0


def test_following_is_noted_in_stretches() -> None:
    script = Script([Prompted(0, 1, click())])
    for frame in (0, 1, 2):
        script.followed(frame, reverse=False)
    for frame in (3, 2):
        script.followed(frame, reverse=True)
    script.steps.append(Removed(1))
    script.followed(1, reverse=True)
    script.followed(7, reverse=True)
    follows = [step for step in script.steps if isinstance(step, Followed)]
    assert follows == [
        Followed(0, 3, False),
        Followed(3, 1, True),
        Followed(1, 0, True),
        Followed(7, 6, True),
    ]


def test_json_and_back() -> None:
    steps = [Prompted(3, 1, click() | DRAWN), Cleared(3, 1), Removed(1), Followed(3, -1, True)]
    said = json.loads(json.dumps(Script(list(steps)).to_json()))
    assert [step["do"] for step in said] == ["prompt", "clear", "remove", "follow"]
    assert Script.from_json(said) == Script(list(steps))


@pytest.mark.parametrize(
    "step", [{}, {"do": "dance"}, {"do": "remove"}, {"do": "remove", "id": 1, "frame": 2}]
)
def test_a_step_that_is_none_is_refused(step: dict) -> None:
    with pytest.raises(PromptError, match="one of prompt, clear, remove, follow"):
        Script.from_json([step])
