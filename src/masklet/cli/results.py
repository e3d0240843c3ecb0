"""What a command that follows writes: in which forms, with which progress, and where it says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from masklet.media import Format, Frames, Writer

Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="How to write the masks. May be repeated; without it palette, masklets and overlay. "
        "Others are coco, youtube-vis, sa-v, yolo, polygons, objects, cvat, cvat-images, label-studio, "
        "label-studio-video, cutout-webm, cutout-png and frames.",
    ),
]

USUAL = ("palette", "masklets", "overlay")


@dataclass(frozen=True)
class Results:
    """What is written, and where.

    exclusive : let no two masks overlap
    """

    folder: Path
    formats: Sequence[Format]
    exclusive: bool = False

    @property
    def paths(self) -> list[Path]:
        return [self.folder / each.path for each in self.formats]

    def writers(self, frames: Frames) -> Writer:
        from masklet.media import BackgroundWriter, writers

        return BackgroundWriter(writers([each.name for each in self.formats], self.folder, frames))


def progress_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


@contextmanager
def told(results: Results) -> Iterator[None]:
    """Say where the results are, also after Ctrl-C: what was written until then is whole."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; what was done is kept:", err=True)
        raise typer.Exit(130) from None
    finally:
        for path in results.paths:
            if path.exists():
                typer.echo(path)
