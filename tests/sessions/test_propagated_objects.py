"""Tracking some objects while others keep what they have."""

import pytest

from masklet import Prompt, PromptError, Script, VideoSession
from masklet.sessions.events import Propagated
from toy_models import assert_equal, click, clip, toy_network


@pytest.fixture(scope="module")
def made() -> VideoSession:
    session = VideoSession(toy_network(), clip(6))
    session.prompt(0, 1, click())
    session.prompt(0, 2, Prompt(box=(4, 4, 30, 30)))
    list(session.propagate())
    session.prompt(2, 1, Prompt(negative=[(40, 30)]))
    list(session.propagate(2, objects=[1]))
    return session


def test_others_keep_what_they_have(made: VideoSession) -> None:
    before = VideoSession(made.model, made.frames).replay(Script(made.script.events[:3]))
    for frame in range(6):
        assert_equal(made.masks(frame).select(2), before.masks(frame).select(2))
    assert made.state.objects[2].forward == ((0, 6),)


def test_the_script_says_which_objects_were_tracked(made: VideoSession) -> None:
    assert made.script.events[-1] == Propagated(2, 6, reverse=False, objects=(1,))
    read = Script.from_json(made.script.to_json())
    assert read == made.script
    again = VideoSession(made.model, made.frames).replay(read)
    for frame in range(6):
        assert_equal(again.masks(frame), made.masks(frame))


def test_only_objects_that_there_are_can_be_tracked(made: VideoSession) -> None:
    with pytest.raises(PromptError, match="no object 7"):
        made.propagate(objects=[7])
