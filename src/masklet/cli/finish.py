"""What is done with masks on their way to a file: overlaps parted on request, losses and finds told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import typer

from masklet.postprocess import tidy
from masklet.sessions.visibility import VisibilityMonitor
from masklet.types import Masks


def finished(found: Iterable[Masks], *, exclusive: bool) -> Iterator[Masks]:
    """The same masks; without overlaps where that was asked for: the highest logit has the pixel."""
    watch = VisibilityMonitor()
    for masks in found:
        for event in watch.step(masks):
            if event.kind in ("lost", "found"):
                typer.echo(f"object {event.id} is {event.kind} from frame {event.since} on", err=True)
        yield tidy(masks, exclusive=True) if exclusive else masks


def late(policy: str) -> int:
    """Frames to wait for the answers of a policy that decides later; a file has the time."""
    from masklet.tracking.bank import POINTERS

    return POINTERS if policy == "long" else 0
