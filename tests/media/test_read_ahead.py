"""Frames that are decoded while the caller works."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from masklet.media import open_frames
from masklet.media.readers.frames import read_ahead


def test_the_next_value_is_made_while_the_last_one_is_used() -> None:
    begun = [threading.Event() for _ in range(20)]

    def decode() -> Iterator[int]:
        for frame, event in enumerate(begun):
            event.set()
            yield frame

    for frame in read_ahead(decode(), 2):
        assert begun[min(frame + 1, 19)].wait(60)


def test_no_more_is_made_than_asked_for() -> None:
    made: list[int] = []
    asked = threading.Event()

    def decode() -> Iterator[int]:
        for frame in range(10):
            made.append(frame)
            if frame == 2:
                asked.set()
            yield frame

    values = read_ahead(decode(), 2)
    assert next(values) == 0
    assert asked.wait(60)
    time.sleep(0.05)
    assert made == [0, 1, 2]


def test_an_error_comes_where_its_value_would_have_come() -> None:
    def decode() -> Iterator[int]:
        yield from (0, 1)
        raise ValueError("the file breaks off")

    values = read_ahead(decode(), 4)
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(ValueError, match="breaks off"):
        next(values)


def test_an_iterator_that_is_left_closes_its_source_and_its_thread() -> None:
    closed = []

    def decode() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    others = set(threading.enumerate())  # what another test left to the garbage collector, too
    values = read_ahead(decode(), 2)
    next(values)
    values.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert set(threading.enumerate()) <= others


def test_a_frame_that_is_asked_for_again_is_the_one_that_was_played() -> None:
    """Not one that was read ahead of it."""
    video = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 4, 4, 3), dtype=np.uint8)
    frames = open_frames(video)
    for number, image in enumerate(frames.play()):
        assert (image == number).all() and (frames[number] == number).all()


def test_what_is_drawn_into_a_frame_is_not_in_the_next_copy_of_it() -> None:
    """People draw their prompts into a frame, show it, and then track from it."""
    video = np.full((3, 4, 4, 3), 7, dtype=np.uint8)
    frames = open_frames(video)
    for number, image in enumerate(frames):
        image[:] = 0
        frames[number][:] = 1
        assert (frames[number] == 7).all()
    assert (video == 7).all()
