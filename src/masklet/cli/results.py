"""How masks get from a model to files: writers of the chosen formats, events, overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from masklet.cli.runs import ProgressBar

if TYPE_CHECKING:
    from masklet.media import Frames, Look
    from masklet.media.writers.writer import Names
    from masklet.types import Masks

DEFAULT_FORMATS = ("palette", "masklets", "overlay")


def format_files(formats: Sequence[str]) -> list[str]:
    """The files and folders of formats; an unknown format is refused."""
    from masklet.media import find_format

    return [find_format(name).path for name in dict.fromkeys(formats)]


def make_look(background: str, soft: float) -> Look:
    """Background and edges of the formats that show pictures."""
    from masklet.media import Look

    return Look(background, soft)


def look_settings(look: Look) -> dict[str, object]:
    """What `run.json` says of the background and edges, where they are not the usual ones."""
    usual = make_look("blur", 0.0)
    return {} if look == usual else {"background": look.background, "soft": look.soft}


def write_masks(
    masks: Iterable[Masks],
    frames: Frames,
    folder: Path,
    formats: Sequence[str],
    bar: ProgressBar,
    *,
    classes: Names | None = None,
    exclusive: bool = False,
    look: Look | None = None,
) -> None:
    """Write masks in several formats, in a thread of its own; say which objects are lost."""
    from masklet.media import BackgroundWriter, writers

    with BackgroundWriter(writers(formats, folder, frames, classes, look)) as writer:
        for frame_masks in _finish(masks, bar, exclusive=exclusive):
            writer.write(frames[frame_masks.frame], frame_masks)


def _finish(masks: Iterable[Masks], bar: ProgressBar, *, exclusive: bool) -> Iterator[Masks]:
    """The same masks; on request without overlaps, the highest logit having the pixel."""
    from masklet.postprocess import tidy
    from masklet.sessions.visibility import VisibilityMonitor

    monitor = VisibilityMonitor()
    for frame_masks in masks:
        for event in monitor.step(frame_masks):
            if event.kind in ("lost", "found"):
                bar.print(f"object {event.id} is {event.kind} from frame {event.since} on")
        yield tidy(frame_masks, exclusive=True) if exclusive else frame_masks


def print_intensity_range(frames: Frames, bar: ProgressBar) -> None:
    """Say which intensities of a source of more than 8 bits became black and white."""
    if frames.intensity_range is not None:
        low, high = frames.intensity_range
        bar.print(
            f"{frames.name}: {low:g} becomes black and {high:g} white; --intensity-range chooses others"
        )


def parse_intensity_range(text: str | None) -> tuple[float, float] | None:
    """LOW,HIGH"""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"expected two numbers, LOW,HIGH. Got '{text}'.", param_hint="--intensity-range"
        ) from None
    return low, high
