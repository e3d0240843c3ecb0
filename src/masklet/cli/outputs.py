"""The formats that a command writes: which files they are, and how masks get there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from masklet.cli.items import Item, Kind

if TYPE_CHECKING:
    from masklet.cli.runs import ProgressBar
    from masklet.media import Frames, Look
    from masklet.media.writers.writer import Names
    from masklet.types import Masks

DEFAULT_FORMATS = ("palette", "masklets", "overlay")
BESIDE_VIDEO = ("cvat", "label-studio", "label-studio-video")  # tools show them on the whole video


@dataclass(frozen=True)
class OutputOptions:
    """The formats of a command.

    Attributes:
        formats: Their names.
        look: Background and edges of those that show images.
    """

    formats: tuple[str, ...]
    look: Look

    @classmethod
    def parse(cls, formats: Iterable[str], background: str = "blur", soft: float = 0.0) -> OutputOptions:
        """The options as they were typed; refused if no format uses a background or soft edges.

        Raises:
            MediaError: A format is unknown, or the background is neither a colour nor a file that can be
                opened.
        """
        from masklet.media import FORMATS, Look, find_format
        from masklet.media.writers.images import open_background

        formats = tuple(dict.fromkeys(formats))
        look, default = Look(background, soft), Look()
        used = {field for name in formats for field in find_format(name).look}
        for field in ("background", "soft"):
            if field not in used and getattr(look, field) != getattr(default, field):
                supporting = [name for name, format in FORMATS.items() if field in format.look]
                raise typer.BadParameter(
                    f"none of the formats uses it. Add --format {' or --format '.join(supporting)}.",
                    param_hint=f"--{field}",
                )
        open_background(look.background, (1, 1))  # fail now, before the model is loaded
        return cls(formats, look)

    @property
    def files(self) -> list[str]:
        """The files and folders of the formats."""
        from masklet.media import find_format

        return [find_format(name).path for name in self.formats]

    @property
    def settings(self) -> dict[str, object]:
        """The formats for `run.json`; background and edges only if they are not the defaults."""
        from masklet.media import Look
        from masklet.run_folder import digest

        look = self.look
        shown = {} if look == Look() else {"background": look.background, "soft": look.soft}
        files = Item(look.background, "", Kind.video).files() if os.path.exists(look.background) else []
        content = {"background_content": digest(look.background, files)} if shown and files else {}
        return {"formats": self.formats, **shown, **content}

    def explain_sampling(self, fps: float | None, bar: ProgressBar) -> None:
        """Print which files count the frames of a sample, and not those of the video."""
        from masklet.media import find_format

        names = [name for name in self.formats if name in BESIDE_VIDEO]
        if fps is not None and names:
            files = " and ".join(find_format(name).path for name in names)
            bar.print(
                f"{files}: frames are counted in the sample of {fps:g} a second, not in the video. Load the "
                "frames that --format frames writes, or leave --fps out."
            )

    def write(
        self,
        masks: Iterable[Masks],
        frames: Frames,
        folder: Path,
        bar: ProgressBar,
        *,
        classes: Names | None = None,
        exclusive: bool = False,
    ) -> None:
        """Write masks in all formats, in a thread; print which objects are lost."""
        from masklet.media import BackgroundWriter, writers

        with BackgroundWriter(writers(self.formats, folder, frames, classes, self.look)) as writer:
            for frame_masks in _finish(masks, bar, exclusive=exclusive):
                writer.write(frames[frame_masks.frame], frame_masks)


def _finish(masks: Iterable[Masks], bar: ProgressBar, *, exclusive: bool) -> Iterator[Masks]:
    """The same masks; on request without overlaps: each pixel goes to the highest logit."""
    from masklet.postprocess import tidy
    from masklet.sessions.visibility import VisibilityMonitor

    monitor = VisibilityMonitor()
    for frame_masks in masks:
        for event in monitor.step(frame_masks):
            if event.kind in ("lost", "found"):
                bar.print(f"object {event.id} is {event.kind} from frame {event.since}")
        yield tidy(frame_masks, exclusive=True) if exclusive else frame_masks
