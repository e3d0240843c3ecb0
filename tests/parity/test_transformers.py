"""masklet against transformers, where transformers does what the original does.

It does something else, and is not compared, where a click corrects an answer (it feeds no hint), where one
object of several is prompted on a frame, and in the memory of a mask prompt: see docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masklet.types import Prompt
from parity import transformers_reference
from parity.scenarios import (
    BOX,
    BOX_AND_CLICKS,
    CLICK,
    LENGTH,
    MASK,
    Ours,
    Step,
    Video,
    compare,
    prompted,
    tracked,
)
from parity.trio import Trio
from parity.weights import clip


@pytest.mark.parametrize("prompt", [CLICK, BOX, BOX_AND_CLICKS], ids=["click", "box", "box and clicks"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_a_clip_gives_the_numbers_of_transformers(trio: Trio, prompt: Prompt, reverse: bool) -> None:
    def scenario(video: Video) -> Iterator[Step]:
        start = LENGTH - 1 if reverse else 0
        yield from prompted(video, start, prompt, CLICK)
        yield from tracked(video, start, reverse=reverse)

    frames = clip(LENGTH)
    videos = Ours(trio.ours, frames), transformers_reference.Video(trio.transformers, frames)
    for step, agreement, _ in compare(scenario, *videos):
        assert agreement.good, f"{step}: {agreement}"


def test_the_answer_to_a_mask_is_the_same_mask(trio: Trio) -> None:
    frames = clip(LENGTH)
    videos = Ours(trio.ours, frames), transformers_reference.Video(trio.transformers, frames)
    for step, agreement, _ in compare(lambda video: prompted(video, 0, MASK), *videos):
        assert agreement.good, f"{step}: {agreement}"
