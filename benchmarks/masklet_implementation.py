"""masklet by its public API, except for filling the memory bank."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

import masklet
from benchmarks.implementation import FULL, GRID, STAGES, Workload
from benchmarks.timing import Stopwatch
from masklet import ImageCandidates, Masks, MemoryBank, Prompt, VideoSession
from masklet.auto import generate_segments


class Masklet:
    """masklet, loaded with these options."""

    def __init__(self, work: Workload, **options: Any) -> None:
        self.work = work
        self.model = masklet.load(work.weights, device=work.device, **options)
        # Without zoom, which nano has by default and the peers do not have.
        self.model.config = replace(self.model.config, zoom=False)
        self.stopwatch = Stopwatch(work.device, work.clock)
        for stage in STAGES:
            self.stopwatch.time_method(self.model, stage, stage)

    def segment_image(self) -> None:
        self.still = masklet.ImageSession(self.model, self.work.frames[0])
        self.click()

    def make_generator(self) -> Callable[[], int]:
        return lambda: len(generate_segments(self.model, self.work.frames[0], GRID))

    def open(self, objects: int) -> None:
        self.tracker = masklet.Tracker(self.model)
        prompts = {id: self._prompt(id) for id in range(1, objects + 1)}
        self.tracker.step(self.work.frames[0], prompts)
        self.session = VideoSession(self.model, self.work.frames)
        self.session.prompt(0, 1, prompts[1])

    def click(self) -> None:
        upsample(self.still.segment(self._prompt(1)))

    def fill_memory(self) -> None:
        fill_banks([obj.bank for obj in self.tracker._objects.values()])
        next(iter(self.session.propagate(0, 1)))
        fill_banks([self.session.tracked[1].bank])

    def track_frame(self, frame: int) -> Tensor:
        self.tracker.frame = frame
        return upsample(self.tracker.step(self.work.frames[frame]))

    def propagate_frame(self, frame: int) -> None:
        for masks in self.session.propagate(frame, frame + 1):
            upsample(masks)

    def _prompt(self, id: int) -> Prompt:
        return Prompt(positive=[self.work.click(id)])


def upsample(masks: Masks | ImageCandidates) -> Tensor:
    """Compute the masks at the source's size, which happens on first access."""
    return masks.logits


def fill_banks(banks: Iterable[MemoryBank]) -> None:
    """Fill banks with copies of the first memory."""
    for bank in banks:
        first = next(iter(bank.prompted.values()))
        for frame in range(1, FULL):
            tokens, pointer = first.tokens.clone(), first.pointer.clone()
            bank.keep(replace(first, frame=frame, tokens=tokens, pointer=pointer, prompted=False))
