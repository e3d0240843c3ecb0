"""masklet, by its public face; only the bank is filled by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

import masklet
from benchmarks.subject import FULL, GRID, STAGES, Work
from benchmarks.timing import Stopwatch
from masklet import Masks, MemoryBank, Prompt, VideoSession
from masklet.auto import generate_segments


class Masklet:
    """masklet as `load` makes it with these options."""

    def __init__(self, work: Work, **options: Any) -> None:
        self.work = work
        self.model = masklet.load(work.weights, device=work.device, **options)
        # The peers look once; nano by default once more, from close up, at what is small.
        self.model.config = replace(self.model.config, closer=False)
        self.watch = Stopwatch(work.device)
        for stage in STAGES:
            self.watch.watch(self.model, stage, stage)

    def picture(self) -> None:
        self.seen = masklet.ImageSession(self.model, self.work.frames[0])
        self.click()

    def generator(self) -> Callable[[], int]:
        return lambda: len(generate_segments(self.model, self.work.frames[0], GRID))

    def open(self, objects: int) -> None:
        self.tracker = masklet.Tracker(self.model)
        said = {id: self._said(id) for id in range(1, objects + 1)}
        self.tracker.step(self.work.frames[0], said)
        self.session = VideoSession(self.model, self.work.frames)
        self.session.prompt(0, 1, said[1])

    def click(self) -> None:
        enlarged(self.seen.segment(self._said(1)))

    def remember(self) -> None:
        followed = self.tracker._objects.values()
        fill([each.bank for each in followed])
        next(iter(self.session.propagate(0, 1)))
        fill([self.session._objects[1].bank])

    def follow(self, frame: int) -> None:
        self.tracker.frame = frame
        enlarged(self.tracker.step(self.work.frames[frame]))

    def edit(self, frame: int) -> None:
        for masks in self.session.propagate(frame, frame + 1):
            enlarged(masks)

    def _said(self, id: int) -> Prompt:
        return Prompt(positive=[self.work.click(id)])


def enlarged(masks: Masks) -> Tensor:
    """Masks in the size of the source, which are made when first asked for."""
    return masks.logits


def fill(banks: Iterable[MemoryBank]) -> None:
    """Copies of the first memory as those of the frames that follow."""
    for bank in banks:
        first = next(iter(bank.prompted.values()))
        for frame in range(1, FULL):
            tokens, pointer = first.tokens.clone(), first.pointer.clone()
            bank.keep(replace(first, frame=frame, tokens=tokens, pointer=pointer, prompted=False))
