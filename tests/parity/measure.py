"""Print the tables of docs/parity.md: `PYTHONPATH=tests python -m parity.measure`."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table

from masklet.types import Prompt
from parity import original, transformers_reference
from parity.agreement import Agreement
from parity.details import DETAILS
from parity.scenarios import (
    CLICK,
    CORRECTION,
    LENGTH,
    MASK,
    SCENARIOS,
    Ours,
    Scenario,
    Step,
    Video,
    compare,
    corrected,
    forwards,
    on_the_demo,
    prompted,
    tracked,
)
from parity.trio import REVISIONS, nano, trio_of
from parity.weights import clip


def worst(scenario: Scenario, one: Video, other: Video) -> Agreement:
    seen = Agreement()
    with contextlib.redirect_stderr(io.StringIO()):  # the original's progress bars
        for _, agreement, _ in compare(scenario, one, other):
            seen |= agreement
    return seen


def table(title: str, rows: Iterator[tuple[str, Agreement]]) -> Table:
    printed = Table("", "logits, relative", "IoU", "object score", "pixels", title=title)
    for name, seen in rows:
        pixels = f"{100 * seen.pixels:.2g} %"
        printed.add_row(name, f"{seen.logits:.0e}", f"{seen.iou:.0e}", f"{seen.score:.0e}", pixels)
    return printed


def agreements() -> Iterator[tuple[str, Agreement]]:
    for scenario in SCENARIOS:
        for revision in REVISIONS:
            trio, frames = trio_of(revision, scenario), clip(LENGTH)
            seen = worst(scenario, Ours(trio.ours, frames), original.Video(trio.original, frames))
            yield f"{scenario.__name__.replace('_', ' ')}, {revision}", seen


def details() -> Iterator[tuple[str, Agreement]]:
    for detail in DETAILS:
        seen = Agreement()
        for revision in REVISIONS:
            trio, frames = trio_of(revision, detail.scenario), clip(LENGTH)
            with detail.otherwise():
                seen |= worst(detail.scenario, Ours(trio.ours, frames), original.Video(trio.original, frames))
        yield detail.name, seen


def with_nano() -> Iterator[tuple[str, Agreement]]:
    """Trained weights on the demo clip: how near, and what each detail is worth."""
    ours, theirs, frames = nano()
    yield "everything", worst(on_the_demo, Ours(ours, frames), original.Video(theirs, frames))
    for detail in DETAILS:
        with detail.otherwise():
            yield detail.name, worst(on_the_demo, Ours(ours, frames), original.Video(theirs, frames))


def between_the_published() -> Iterator[tuple[str, Agreement]]:
    """transformers against the original."""

    def start(*prompts: Prompt) -> Scenario:
        def scenario(video: Video) -> Iterator[Step]:
            yield from prompted(video, 0, *prompts)
            yield from tracked(video, 0)

        return scenario

    def correct(video: Video) -> Iterator[Step]:
        yield from start(CLICK)(video)
        yield from prompted(video, 9, CORRECTION)

    def correct_and_track(video: Video) -> Iterator[Step]:
        yield from correct(video)
        yield from tracked(video, 9)

    cases = {
        "a click, tracked": start(CLICK),
        "a mask: the answer": lambda video: prompted(video, 0, MASK),
        "a mask, tracked": start(MASK),
        "a click, tracked, corrected: the answer": correct,
        "and tracked again": correct_and_track,
    }
    for name, scenario in cases.items():
        seen = Agreement()
        for revision in REVISIONS:
            trio, frames = trio_of(revision), clip(LENGTH)
            theirs = transformers_reference.Video(trio.transformers, frames)
            seen |= worst(scenario, theirs, original.Video(trio.original, frames))
        yield name, seen


def with_itself() -> Iterator[tuple[str, Agreement]]:
    """The original against itself with weights changed by a rounding: what float32 cannot promise."""
    for scenario in (forwards, corrected):
        for revision in REVISIONS:
            theirs, frames = trio_of(revision).original, clip(LENGTH)
            nudged = copy.deepcopy(theirs)
            torch.manual_seed(0)
            for weight in nudged.parameters():
                weight.mul_(1 + 1e-7 * torch.randn_like(weight))
            seen = worst(scenario, original.Video(nudged, frames), original.Video(theirs, frames))
            yield f"{scenario.__name__}, {revision}", seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    console = Console()
    with torch.inference_mode(), contextlib.redirect_stderr(io.StringIO()):
        console.print(table("masklet and the original", agreements()))
        console.print(table("masklet without a detail, and the original", details()))
        console.print(table("nano, without a detail, and the original with its weights", with_nano()))
        console.print(table("transformers and the original", between_the_published()))
        console.print(table("the original, weights changed by 1e-7, and itself", with_itself()))
