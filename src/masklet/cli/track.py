"""masklet track: follow what was pointed at through a video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.prompts import Box, Mask, Negatives, Points, read_prompts

if TYPE_CHECKING:
    from rich.progress import Progress

    from masklet.media import Frames
    from masklet.model import Sam2
    from masklet.sessions.video import VideoSession
    from masklet.types import Prompt


class Direction(StrEnum):
    forward = "forward"
    backward = "backward"
    both = "both"


def track(
    video: Annotated[str, typer.Argument(help="A video file or URL, or a folder or glob of pictures.")],
    out: Annotated[Path, typer.Option(help="The folder that takes masks/, masklets.json and overlay.mp4.")],
    point: Points = None,
    negative: Negatives = None,
    box: Box = None,
    mask: Mask = None,
    frame: Annotated[int, typer.Option(help="The frame that is pointed at, from 0.")] = 0,
    direction: Annotated[Direction, typer.Option(help="Where to, from that frame.")] = Direction.forward,
    script: Annotated[
        Path | None,
        typer.Option(help="A saved session (VideoSession.save) to do again, in place of pointing."),
    ] = None,
    model: Annotated[str, typer.Option(help="A name (see masklet models), path or hub id.")] = "nano",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    fps: Annotated[float | None, typer.Option(help="Take so many frames of each second.")] = None,
) -> None:
    """Follow objects through a video, and write their masks on every frame."""
    from masklet import VideoSession, load
    from masklet.media import open_frames

    prompts = {} if script is not None else read_prompts(point, negative, box, mask)
    frames = open_frames(video, fps=fps)
    network = load(model, device=device, dtype=dtype)
    with _progress() as progress, _told(out):
        if script is not None:
            _write(VideoSession.restore(network, script, frames), out)
        elif direction is Direction.forward:
            _stream(network, frames, {frame: prompts}, out, progress)
        else:
            session = VideoSession(network, frames)
            for id, prompt in prompts.items():
                session.prompt(frame, id, prompt)
            _both_ways(session, frame, direction, out, progress)


def _stream(
    model: Sam2, frames: Frames, prompts: dict[int, dict[int, Prompt]], out: Path, progress: Progress
) -> None:
    """Forwards, in constant memory, writing each frame as it is done."""
    import masklet
    from masklet.media import MaskletsJson, OverlayVideo, PalettePngs, Writers

    found = masklet.track(model, frames, prompts)
    writers = Writers(
        PalettePngs(out / "masks"),
        MaskletsJson(out / "masklets.json", frames),
        OverlayVideo(out / "overlay.mp4", frames),
    )
    with writers:
        for masks in progress.track(found, len(frames) - min(prompts), description=frames.name):
            writers.write(frames[masks.frame], masks)


def _both_ways(
    session: VideoSession, frame: int, direction: Direction, out: Path, progress: Progress
) -> None:
    """Backwards and perhaps forwards; whatever was done is written, also when the work is interrupted."""
    try:
        for _ in progress.track(session.propagate(frame, reverse=True), frame + 1, description="backward"):
            pass
        if direction is Direction.both:
            ahead = len(session.frames) - frame
            for _ in progress.track(session.propagate(frame), ahead, description="forward"):
                pass
    finally:
        _write(session, out)


def _write(session: VideoSession, out: Path) -> None:
    """All the masks that stand in a session, in the order of frames."""
    from masklet.media import MaskletsJson, OverlayVideo, PalettePngs, Writers

    frames = session.frames
    writers = Writers(
        PalettePngs(out / "masks"),
        MaskletsJson(out / "masklets.json", frames),
        OverlayVideo(out / "overlay.mp4", frames),
    )
    with writers:
        for frame in session.answered:
            writers.write(frames[frame], session.masks(frame))


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Say where the results are, also after Ctrl-C: what was written until then is whole."""
    results = [out / "masks", out / "masklets.json", out / "overlay.mp4"]
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; what was done is kept:", err=True)
        raise typer.Exit(130) from None
    finally:
        for path in results:
            if path.exists():
                typer.echo(path)
