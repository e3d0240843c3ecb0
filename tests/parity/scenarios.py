"""What is done with a clip, alike in every implementation: two objects, prompted, tracked and corrected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from masklet import Masks, Sam2, VideoSession
from masklet.types import Prompt
from parity.agreement import Agreement, Answer, between

LENGTH = 14
Followed = Iterator[tuple[int, dict[int, Answer]]]


class Video(Protocol):
    """What a scenario asks of an implementation."""

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Answer: ...

    def propagate(self, start: int, *, reverse: bool = False) -> Followed: ...


class Ours:
    """masklet's own video session."""

    def __init__(self, model: Sam2, frames: np.ndarray) -> None:
        self.session = VideoSession(model, frames, clip_length=len(frames))

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Answer:
        return answers(self.session.prompt(frame, id, prompt))[id]

    def propagate(self, start: int, *, reverse: bool = False) -> Followed:
        for masks in self.session.propagate(start, reverse=reverse):
            yield masks.frame, answers(masks)


def answers(masks: Masks) -> dict[int, Answer]:
    return {id: Answer(masks.low_res[i], masks.iou[i], masks.score[i]) for i, id in enumerate(masks.ids)}


def oval(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((x / width - 0.4) / 0.25) ** 2 + ((y / height - 0.5) / 0.3) ** 2 < 1


CLICK = Prompt(positive=[(20, 20)])
BOX = Prompt(box=(5, 8, 50, 40))
BOX_AND_CLICKS = Prompt(box=(30, 10, 70, 45), positive=[(50, 30)], negative=[(33, 40)])
MASK = Prompt(mask=oval(48, 80))
CORRECTION = Prompt(positive=[(60, 12)], negative=[(24, 30)])

Step = tuple[str, dict[int, Answer]]


def prompted(video: Video, frame: int, *prompts: Prompt) -> Iterator[Step]:
    for id, prompt in enumerate(prompts, start=1):
        yield f"prompt {frame}", {id: video.prompt(frame, id, prompt)}


def tracked(video: Video, start: int, *, reverse: bool = False) -> Iterator[Step]:
    for frame, seen in video.propagate(start, reverse=reverse):
        yield f"frame {frame}", seen


def forwards(video: Video) -> Iterator[Step]:
    yield from prompted(video, 0, CLICK, BOX)
    yield from tracked(video, 0)


def backwards(video: Video) -> Iterator[Step]:
    yield from prompted(video, LENGTH - 1, BOX_AND_CLICKS, MASK)
    yield from tracked(video, LENGTH - 1, reverse=True)


def both_ways(video: Video) -> Iterator[Step]:
    yield from prompted(video, 6, MASK, CLICK)
    yield from tracked(video, 6)
    yield from tracked(video, 6, reverse=True)


def corrected(video: Video) -> Iterator[Step]:
    """A second prompt on a frame that was tracked through; then again from the start, and back."""
    yield from forwards(video)
    yield from prompted(video, 9, CORRECTION, CLICK)
    yield from tracked(video, 0)
    yield from tracked(video, 9, reverse=True)


def corrected_by_a_mask(video: Video) -> Iterator[Step]:
    yield from prompted(video, 0, BOX, BOX_AND_CLICKS)
    yield from tracked(video, 0)
    yield from prompted(video, 5, MASK)
    yield from tracked(video, 0)


def many_clicks(video: Video) -> Iterator[Step]:
    """Clicks one after the other on a frame, each in the light of the answer before."""
    yield from prompted(video, 0, CLICK, MASK)
    yield from prompted(video, 0, CORRECTION, CLICK)
    yield from prompted(video, 0, Prompt(negative=[(40, 40)]))
    yield from tracked(video, 0)


def many_corrections(video: Video) -> Iterator[Step]:
    """Several corrections, on two frames, before tracking again: none of them sees the memory of another."""
    yield from forwards(video)
    yield from prompted(video, 9, CORRECTION, CLICK)
    yield from prompted(video, 9, Prompt(negative=[(40, 40)]))
    yield from prompted(video, 11, CLICK, CORRECTION)
    yield from tracked(video, 0)


def prompted_again(video: Video) -> Iterator[Step]:
    """A prompted frame that was passed is prompted once more: it looks at the memory of itself."""
    yield from forwards(video)
    yield from prompted(video, 0, CORRECTION)
    yield from tracked(video, 0)


def on_the_demo(video: Video) -> Iterator[Step]:
    """The demo clip: a click and a box on the same thing, tracked, corrected and tracked both ways."""
    yield from prompted(video, 0, Prompt(positive=[(188, 140)]), Prompt(box=(140, 95, 240, 190)))
    yield from tracked(video, 0)
    yield from prompted(video, 9, Prompt(positive=[(200, 150)]), Prompt(negative=[(60, 60)]))
    yield from tracked(video, 0)
    yield from tracked(video, 9, reverse=True)


Scenario = Callable[[Video], Iterator[Step]]
SCENARIOS: tuple[Scenario, ...] = (
    forwards,
    backwards,
    both_ways,
    corrected,
    corrected_by_a_mask,
    many_clicks,
    many_corrections,
    prompted_again,
)


def compare(scenario: Scenario, ours: Video, theirs: Video) -> Iterator[tuple[str, Agreement, list[Answer]]]:
    """Run a scenario in both, step by step: the step, how near they come, and what they see."""
    for (step, mine), (same, other) in zip(scenario(ours), scenario(theirs), strict=True):
        assert step == same
        assert mine.keys() == other.keys(), step
        agreement = Agreement()
        for id, answer in mine.items():
            agreement |= between(answer, other[id])
        yield step, agreement, list(mine.values())
