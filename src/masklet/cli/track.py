"""masklet track: track objects through videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.items import Item, Kind, SourceOptions, find_items
from masklet.cli.outputs import DEFAULT_FORMATS, OutputOptions
from masklet.cli.prompts import NO_PROMPT, Box, Mask, Negatives, Objects, Points, PromptTable, read_prompts
from masklet.cli.runs import ProgressBar, Runner, print_intensity_range

if TYPE_CHECKING:
    from masklet.masks import Masks
    from masklet.media import Frames
    from masklet.media.readers.prompt_files import ObjectPrompts
    from masklet.model import Sam2
    from masklet.sessions.saved import SavedSession
    from masklet.sessions.video import VideoSession


class Direction(StrEnum):
    forward = "forward"
    backward = "backward"
    both = "both"


SESSION_SETTINGS = ("channel", "policy", "cuts", "capacity", "clip_length", "zoom")  # which decide the masks


def track(
    out: options.Out,
    videos: Annotated[
        list[str] | None,
        typer.Argument(help="Video files, folders, globs or URLs. A folder of images is one video."),
    ] = None,
    point: Points = None,
    negative: Negatives = None,
    box: Box = None,
    mask: Mask = None,
    objects: Objects = None,
    prompts: options.PromptFile = None,
    frame: Annotated[
        int | None, typer.Option(help="The frame of the prompts, from 0.", show_default="0")
    ] = None,
    direction: Annotated[
        Direction | None, typer.Option(help="Direction of tracking from that frame.", show_default="forward")
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="A saved session (VideoSession.save) to repeat instead of prompts."),
    ] = None,
    names: options.ListFile = None,
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    model: options.Model = "nano",
    device: options.Device = None,
    dtype: options.Precision = options.Dtype.float32,
    setting: options.Speed = options.Setting.balanced,
    image_size: options.ImageSize = None,
    engine: options.Engine = "auto",
    fps: Annotated[float | None, typer.Option(help="Sample this many frames per second.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="The memory policy: {policies}.",
            autocompletion=options.policy_names,
            show_default="recency",
        ),
    ] = None,
    cuts: Annotated[bool, typer.Option("--cuts", help="Detect scene cuts.")] = False,
    exclusive: Annotated[
        bool,
        typer.Option(
            "--exclusive", help="Remove overlaps: each pixel goes to the mask with the highest logit."
        ),
    ] = False,
    channels: options.Channels = None,
    intensity_range: options.IntensityRange = None,
    pixel_size: options.PixelSize = None,
    max_pixels: options.MaxPixels = None,
    formats: options.Formats = None,
    background: options.Background = "blur",
    soft: options.SoftEdges = 0.0,
) -> None:
    """Track objects through videos and write their masks on every frame."""
    with ProgressBar() as bar:
        from masklet.media.readers.prompt_files import ObjectPrompts
        from masklet.sessions.saved import SavedSession
        from masklet.tracking.policies import find_policy

        saved = None if script is None else SavedSession.read(script)
        typed = read_prompts(point, negative, box, mask, objects, frame=frame or 0)
        if saved is not None and (typed or prompts):
            raise typer.BadParameter(
                "a session has its own prompts: remove the options for prompts.", param_hint="--script"
            )
        own = {"--frame": frame, "--direction": direction, "--policy": policy, "--cuts": cuts or None}
        given = [name for name, value in own.items() if value is not None]
        if saved is not None and given:
            raise typer.BadParameter(
                f"a session has its own frames, policy and cuts: remove {' and '.join(given)}.",
                param_hint="--script",
            )
        if prompts is not None and typed is None and frame is not None:
            raise typer.BadParameter(
                f"the frames of {prompts} are in its column frame (0 by default): remove --frame.",
                param_hint="--frame",
            )
        policy, chosen_direction = policy or "recency", direction or Direction.forward
        find_policy(policy)
        outputs = OutputOptions.parse(formats or DEFAULT_FORMATS, background, soft)
        outputs.explain_sampling(fps, bar)
        items = find_items(videos or (), Kind.video, names_from=names)
        table = None if prompts is None else PromptTable.read(prompts, items)
        if typed is None and table is None and saved is None:
            raise typer.BadParameter(NO_PROMPT)
        source = SourceOptions.parse(
            channels, intensity_range, pixel_size, max_pixels, fps, formats=outputs.formats
        )

        def open_item(item: Item) -> _Tracking:
            frames = source.open(item.source, saved)
            prompts = typed or ObjectPrompts()
            if table is not None:
                prompts = prompts.merge(table.prompts_of(item, frames))
            work = _Tracking(frames, prompts, saved, chosen_direction, policy, cuts, exclusive, outputs)
            work.check()
            return work

        network = options.ModelOptions(model, device, dtype, setting, image_size, engine)
        settings = {"fps": fps, **source.settings}
        Runner("track", out, open_item, network, settings, bar, overwrite).run(items, shard)


@dataclass(frozen=True)
class _Tracking:
    """One video, and its prompts."""

    frames: Frames
    prompts: ObjectPrompts
    saved: SavedSession | None
    direction: Direction
    policy: str
    cuts: bool
    exclusive: bool
    outputs: OutputOptions

    @property
    def files(self) -> Sequence[str]:
        return self.outputs.files

    @property
    def settings(self) -> Mapping[str, Any]:
        saved = self.saved
        session = None if saved is None else saved.script.to_json()
        names = ("direction", "policy", "cuts", "exclusive")
        options = {name: getattr(self, name) for name in names}
        range_ = self.frames.intensity_range  # as given or estimated
        settings = {
            **options,
            **self.outputs.settings,
            **self.prompts.to_json(),
            "session": session,
            "intensity_range": range_,
        }
        if saved is None:
            return settings
        own = {f"session_{name}": getattr(saved, name) for name in SESSION_SETTINGS}
        return {**settings, **{name: value for name, value in own.items() if value is not None}}

    def check(self) -> None:
        """Raise an error if the prompts do not fit this video."""
        from masklet.media import NoSuchFrame
        from masklet.media.formats import check_format_ids
        from masklet.prompts import check_id, check_prompt

        check_format_ids(self.outputs.formats, map(check_id, self.prompts.ids))
        for frame, prompts in self.prompts.by_frame.items():
            if not 0 <= frame < len(self.frames):
                raise NoSuchFrame(self.frames.name, frame, len(self.frames))
            for prompt in prompts.values():
                check_prompt(prompt, self.frames.size)

    def run(self, model: Sam2, folder: Path, bar: ProgressBar) -> None:
        from masklet.sessions.video import VideoSession

        print_intensity_range(self.frames, bar)
        if self.saved is not None:
            session = VideoSession(
                model,
                self.frames,
                policy=self.saved.policy_or(None),
                cuts=self.saved.cuts,
                capacity=self.saved.capacity,
                clip_length=self.saved.clip_length,
                zoom=self.saved.chosen_zoom,
            )
            self._repeat(session, self.saved, folder, bar)
        elif self.direction is Direction.forward:
            self._track_forward(model, folder, bar)
        else:
            session = VideoSession(model, self.frames, policy=self.policy, cuts=self.cuts)
            self._track_backward(session, folder, bar)

    def _track_forward(self, model: Sam2, folder: Path, bar: ProgressBar) -> None:
        """Track forwards, in constant memory."""
        import masklet

        start = min(self.prompts.by_frame)
        bar.begin(self.frames.name)
        masks = masklet.track(
            model,
            self.frames,
            self.prompts.by_frame,
            policy=self.policy,
            cuts=self.cuts,
            delay=_delay(self.policy),
        )
        self._write(bar.track(masks, len(self.frames) - start, self.frames.name), folder, bar)

    def _track_backward(self, session: VideoSession, folder: Path, bar: ProgressBar) -> None:
        """Track backwards and perhaps forwards; results so far are written, also after an interruption."""
        first, last = min(self.prompts.by_frame), max(self.prompts.by_frame)
        bar.begin(self.frames.name, passes=3 if self.direction is Direction.both else 2)
        try:
            for frame, prompts in self.prompts.by_frame.items():
                for id, prompt in prompts.items():
                    session.prompt(frame, id, prompt)
            _propagate(session, last, -1, bar, reverse=True)
            if self.direction is Direction.both:
                _propagate(session, first, len(self.frames), bar, reverse=False)
        finally:
            self._write_session(session, folder, bar)

    def _repeat(self, session: VideoSession, saved: SavedSession, folder: Path, bar: ProgressBar) -> None:
        """Repeat a saved session; results so far are written, also after an interruption."""
        from masklet.sessions.events import Propagated, Script

        steps = saved.script.events
        bar.begin(self.frames.name, passes=1 + sum(isinstance(step, Propagated) for step in steps))
        try:
            for step in steps:
                if isinstance(step, Propagated):
                    _propagate(
                        session, step.start, step.stop, bar, reverse=step.reverse, objects=step.objects
                    )
                else:
                    session.replay(Script([step]))
        finally:
            self._write_session(session, folder, bar)

    def _write_session(self, session: VideoSession, folder: Path, bar: ProgressBar) -> None:
        """Write all masks of a session, in the order of frames."""
        masks = (session.masks(frame) for frame in session.answered)
        self._write(bar.track(masks, len(session.answered), "writing"), folder, bar)

    def _write(self, masks: Iterable[Masks], folder: Path, bar: ProgressBar) -> None:
        self.outputs.write(
            masks, self.frames, folder, bar, classes=self.prompts.classes, exclusive=self.exclusive
        )


def _propagate(
    session: VideoSession,
    start: int,
    stop: int,
    bar: ProgressBar,
    *,
    reverse: bool,
    objects: tuple[int, ...] | None = None,
) -> None:
    masks = session.propagate(start, stop, reverse=reverse, objects=objects)
    direction = "backward" if reverse else "forward"
    for _ in bar.track(masks, abs(stop - start), f"{session.frames.name} {direction}"):
        pass


def _delay(policy: str) -> int:
    """The delay in frames for a policy with latency; a stored video can wait."""
    from masklet.tracking.policies import find_policy

    return find_policy(policy)().latency
