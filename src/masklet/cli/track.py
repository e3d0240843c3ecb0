"""masklet track: follow what was pointed at through a video."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.network import Device, Dtype, Model, Precision, Setting, Speed, load_network
from masklet.cli.prompts import Box, Mask, Negatives, Points, read_prompts
from masklet.cli.results import USUAL, Formats, Results, progress_bar, told

if TYPE_CHECKING:
    from rich.progress import Progress

    from masklet.media import Frames
    from masklet.sessions.saved import SavedSession
    from masklet.sessions.video import VideoSession
    from masklet.types import Masks, Prompt


class Direction(StrEnum):
    forward = "forward"
    backward = "backward"
    both = "both"


def track(
    video: Annotated[str, typer.Argument(help="A video file or URL, or a folder or glob of pictures.")],
    out: Annotated[Path, typer.Option(help="The folder that takes what is written.")],
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
    model: Model = "nano",
    device: Device = None,
    dtype: Precision = Dtype.float32,
    setting: Speed = Setting.exact,
    fps: Annotated[float | None, typer.Option(help="Take so many frames of each second.")] = None,
    policy: Annotated[
        str, typer.Option(help="The memory policy: recency, gated, samurai, dam4sam or long.")
    ] = "recency",
    cuts: Annotated[bool, typer.Option("--cuts", help="Watch for scene cuts.")] = False,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Let no two masks overlap: the surest has the pixel.")
    ] = False,
    formats: Formats = None,
) -> None:
    """Follow objects through a video, and write their masks on every frame."""
    import masklet
    from masklet.cli.finish import late
    from masklet.files import make_folder
    from masklet.media import find_format, open_frames
    from masklet.sessions.saved import SavedSession
    from masklet.sessions.video import VideoSession
    from masklet.tracking.policies import find_policy

    # All that can be wrong with what was asked is found before anything slow is done, or anything written.
    saved = None if script is None else SavedSession.read(script)
    if saved is not None and (point or negative or box or mask):
        raise typer.BadParameter(
            "it says itself what to follow: leave the pointing out.", param_hint="--script"
        )
    find_policy(policy)
    results = Results(out, [find_format(name) for name in dict.fromkeys(formats or USUAL)], exclusive)
    prompts = read_prompts(point, negative, box, mask) if saved is None else {}
    frames = open_frames(video, fps=fps)
    if saved is None:
        _check(frames, frame, prompts)
    else:
        saved.check(frames)
    make_folder(out)
    network = load_network(model, device, dtype, setting)

    with told(results), progress_bar() as progress:
        if saved is not None:
            session = VideoSession(
                network,
                frames,
                policy=saved.policy_or(None),
                cuts=saved.cuts,
                capacity=saved.capacity,
                clip_length=saved.clip_length,
            )
            _again(session, saved, results, progress)
        elif direction is Direction.forward:
            found = masklet.track(
                network, frames, {frame: prompts}, policy=policy, cuts=cuts, delay=late(policy)
            )
            _stream(found, len(frames) - frame, frames, results, progress)
        else:
            session = VideoSession(network, frames, policy=policy, cuts=cuts)
            _both_ways(session, frame, prompts, direction, results, progress)


def _check(frames: Frames, frame: int, prompts: dict[int, Prompt]) -> None:
    from masklet.media import NoSuchFrame
    from masklet.transforms import check_prompt

    if not 0 <= frame < len(frames):
        raise NoSuchFrame(frames.name, frame, len(frames))
    for prompt in prompts.values():
        check_prompt(prompt, frames.size)


def _stream(found: Iterator[Masks], count: int, frames: Frames, results: Results, progress: Progress) -> None:
    """Forwards, in constant memory; a thread writes each frame while the next one is looked at."""
    import torch

    from masklet.cli.finish import finished

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # fighting over a core costs more than it has
    followed = progress.track(found, count, description=frames.name)
    with results.writers(frames) as writers:
        for masks in finished(followed, exclusive=results.exclusive):
            writers.write(frames[masks.frame], masks)


def _both_ways(
    session: VideoSession,
    frame: int,
    prompts: dict[int, Prompt],
    direction: Direction,
    results: Results,
    progress: Progress,
) -> None:
    """Backwards and perhaps forwards; whatever was done is written, also when the work is interrupted."""
    try:
        for id, prompt in prompts.items():
            session.prompt(frame, id, prompt)
        _follow(session, frame, -1, progress, reverse=True)
        if direction is Direction.both:
            _follow(session, frame, len(session.frames), progress, reverse=False)
    finally:
        _write(session, results, progress)


def _again(session: VideoSession, saved: SavedSession, results: Results, progress: Progress) -> None:
    """What was done in a saved session; whatever was done is written, also when the work is interrupted."""
    from masklet.sessions.events import Followed, Script

    try:
        for step in saved.script.steps:
            if isinstance(step, Followed):
                _follow(session, step.start, step.stop, progress, reverse=step.reverse, objects=step.objects)
            else:
                session.replay(Script([step]))
    finally:
        _write(session, results, progress)


def _follow(
    session: VideoSession,
    start: int,
    stop: int,
    progress: Progress,
    *,
    reverse: bool,
    objects: tuple[int, ...] | None = None,
) -> None:
    found = session.propagate(start, stop, reverse=reverse, objects=objects)
    way = "backward" if reverse else "forward"
    for _ in progress.track(found, abs(stop - start), description=f"{session.frames.name} {way}"):
        pass


def _write(session: VideoSession, results: Results, progress: Progress) -> None:
    """All the masks that stand in a session, in the order of frames."""
    from masklet.cli.finish import finished

    frames = session.frames
    found = (session.masks(frame) for frame in progress.track(session.answered, description="writing"))
    with results.writers(frames) as writers:
        for masks in finished(found, exclusive=results.exclusive):
            writers.write(frames[masks.frame], masks)
