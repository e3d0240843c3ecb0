"""What tests of stored videos do with a session: propagate through all, and compare."""

from __future__ import annotations

from masklet.sessions.video import VideoSession
from masklet.types import Masks, Prompt
from toy_models import assert_equal

FAR = Prompt(negative=[(50, 40)])


def propagate(session: VideoSession, *args: int | None, reverse: bool = False) -> dict[int, Masks]:
    return {masks.frame: masks for masks in session.propagate(*args, reverse=reverse)}


def all_masks(session: VideoSession) -> dict[int, Masks]:
    return {frame: session.masks(frame) for frame in session.answered}


def assert_all_equal(one: dict[int, Masks], other: dict[int, Masks], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for frame in one:
        assert_equal(one[frame], other[frame], tolerance=tolerance)
