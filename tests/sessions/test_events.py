"""A script is what was said and done, in order, and JSON in and out."""

from __future__ import annotations

import json

import pytest

from masklet.errors import PromptError
from masklet.sessions.events import Cleared, Prompted, Propagated, Removed, Reviewed, Script
from masklet.sessions.object_state import History
from masklet.types import Prompt
from toy_models import blob, click

DRAWN = Prompt(mask=blob())


def test_what_was_said_adds_up_and_a_mask_starts_anew() -> None:
    script = Script([Prompted(3, 1, click()), Prompted(3, 1, click(9, 9)), Prompted(0, 2, click())])
    assert script == Script(script.events) and dict(script) == {
        3: {1: click() | click(9, 9)},
        0: {2: click()},
    }
    script.events.append(Prompted(3, 1, DRAWN))
    assert script[3][1] == DRAWN
    script.events.append(Prompted(3, 1, click()))
    assert script[3][1] == DRAWN | click()


def test_what_was_taken_back_is_gone() -> None:
    prompted = [Prompted(0, 1, click()), Prompted(5, 1, click()), Prompted(5, 2, DRAWN)]
    assert dict(Script([*prompted, Cleared(5, 1)])) == {0: {1: click()}, 5: {2: DRAWN}}
    assert dict(Script([*prompted, Removed(1)])) == {5: {2: DRAWN}}
    assert dict(Script([*prompted, Removed(1), Prompted(5, 1, DRAWN)])) == {5: {2: DRAWN, 1: DRAWN}}
    assert len(Script([*prompted, Removed(1), Removed(2)])) == 0


def test_tracking_frame_by_frame_is_one_event_a_stretch() -> None:
    history = History().after(Prompted(0, 1, click()))

    def track(frame: int, *, reverse: bool) -> None:
        nonlocal history
        history = history.track_to(frame, None, reverse=reverse)

    for frame in (0, 1, 2):
        track(frame, reverse=False)
    for frame in (3, 2):
        track(frame, reverse=True)
    history = history.after(Prompted(1, 2, click()))
    track(1, reverse=True)
    track(7, reverse=True)
    events = [event for event in history.script.events if isinstance(event, Propagated)]
    assert events == [
        Propagated(0, 3, False),
        Propagated(3, 1, True),
        Propagated(1, 0, True),
        Propagated(7, 6, True),
    ]


def test_json_and_back() -> None:
    steps = [
        Prompted(3, 1, click() | DRAWN),
        Cleared(3, 1),
        Removed(1),
        Propagated(3, -1, True),
        Reviewed(2, 5, False),
    ]
    plain = json.loads(json.dumps(Script(list(steps)).to_json()))
    assert [step["do"] for step in plain] == ["prompt", "clear", "remove", "follow", "review"]
    assert Script.from_json(plain) == Script(list(steps))


@pytest.mark.parametrize(
    "step", [{}, {"do": "dance"}, {"do": "remove"}, {"do": "remove", "id": 1, "frame": 2}]
)
def test_a_step_that_is_none_is_refused(step: dict) -> None:
    with pytest.raises(PromptError, match="one of prompt, clear, remove, follow, review, with its fields"):
        Script.from_json([step])
