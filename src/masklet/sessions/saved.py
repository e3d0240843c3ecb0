"""The file of a saved session: its video, the settings of reading and tracking, and its events."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from masklet.errors import MaskletError, MediaError, OptionError, check_path
from masklet.files import atomic_write, parse_json
from masklet.media import Frames, open_frames
from masklet.media.readers.images import is_url
from masklet.media.readers.microscopy import Channel
from masklet.media.readers.source import IntensityRange
from masklet.sessions.events import Script
from masklet.tracking.policies import Policy
from masklet.zoom import ON_FRAMES, Zoom

FORMAT = 1
UNBOUNDED = 2.0**62  # a larger budget is saved as this one, since JSON has no infinity
# Fields of later versions of this format
LATER = frozenset(("budget", "channel", "intensity_range", "length", "zoom"))


@dataclass(frozen=True)
class SavedSession:
    """The content of a saved `VideoSession`.

    Attributes:
        video: The path of the video; None for frames that came from memory.
        size: (H, W) of its frames.
        budget: Bytes for answers and memories; None in files of earlier versions.
        policy: The name of the memory policy; None if it has no name.
        channel: The selected channel of image files; None for the whole image.
        intensity_range: The intensities that became black and white; None for frames that were not scaled.
        length: The number of frames; None in files of earlier versions.
        zoom: Whether prompts are answered with zoom, or the fields of a `Zoom`; None, in files of earlier
            versions, for the network's default.
    """

    video: str | None
    size: tuple[int, int]
    clip_length: int | None
    capacity: int | None
    script: Script
    policy: str | None = "recency"
    cuts: bool = False
    channel: Channel | None = None
    intensity_range: IntensityRange | None = None
    length: int | None = None
    zoom: bool | Mapping[str, Any] | None = None
    budget: float | None = None

    @property
    def chosen_zoom(self) -> Zoom | bool | None:
        """The zoom in the form for sessions."""
        return Zoom(**self.zoom) if isinstance(self.zoom, Mapping) else self.zoom

    def write(self, path: str | Path) -> None:
        """Write the session, completely or not at all."""
        content = {"masklet": FORMAT, **vars(self), "script": self.script.to_json()}
        with atomic_write(check_path(path)) as part:
            part.write_text(json.dumps(content))

    @classmethod
    def read(cls, path: str | Path) -> SavedSession:
        """Read a session.

        Raises:
            MediaError: There is no such file.
            MaskletError: The file is not a session, or is from another version.
        """
        path = check_path(path)
        try:
            content = parse_json(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise MediaError(f"there is no saved session at {path}.") from None
        except (ValueError, OSError, RecursionError) as error:
            raise MaskletError(f"{path} is not a saved session: {error}.") from None
        fields = {"masklet", *cls.__dataclass_fields__}
        if (
            not isinstance(content, dict)
            or content.get("masklet") != FORMAT
            or not fields - LATER <= set(content) <= fields
        ):
            raise MaskletError(f"{path} is not a session that this version of masklet saved.")
        for name, (has_form, form) in _FORMS.items():
            if name in content and not has_form(content[name]):
                raise MaskletError(f"{path}: {name} must be {form}. Got {content[name]!r:.60}.")
        del content["masklet"]
        size, script = tuple(content.pop("size")), Script.from_json(content.pop("script"))
        range_ = content.pop("intensity_range", None)
        return cls(
            size=size, script=script, intensity_range=None if range_ is None else tuple(range_), **content
        )

    def open(
        self,
        given: object = None,
        *,
        fps: float | None = None,
        channel: Channel | None = None,
        intensity_range: IntensityRange | None = None,
        max_pixels: int | None = None,
    ) -> Frames:
        """Open the video with the session's settings.

        Args:
            given: The current path of the video, or the video itself; by default the saved path.
            fps: See `open_frames`.
            channel: For a session without one; see `open_frames`.
            intensity_range: For a session without one; see `open_frames`.
            max_pixels: See `open_frames`.

        Raises:
            MediaError: It cannot be opened, or is not the video of the session.
        """
        frames = source = self.source(given)
        if not isinstance(source, Frames):
            in_memory = not isinstance(source, str | os.PathLike | bytes)
            frames = open_frames(
                source,
                fps=fps,
                channel=self.channel if channel is None and not in_memory else channel,
                intensity_range=self.intensity_range if intensity_range is None else intensity_range,
                max_pixels=max_pixels,
            )
        assert isinstance(frames, Frames)
        self.check(frames)
        return frames

    def source(self, given: object) -> object:
        """The given video, otherwise the one at the saved path."""
        source = self.video if given is None else given
        if source is None:
            raise MediaError("the saved session was made from frames in memory: pass them as video=...")
        return source

    def policy_or(self, given: Policy | None) -> Policy:
        """The given policy, otherwise the session's policy."""
        policy = self.policy if given is None else given
        if policy is None:
            raise MaskletError("the saved session had a memory policy without a name: pass it as policy=...")
        return policy

    def check(self, frames: Frames) -> None:
        """Raise a MediaError if this cannot be the session's video, or was opened with other settings."""
        if frames.size != self.size:
            raise MediaError(
                f"the saved session was made on a video {self.size[1]} wide and {self.size[0]} high. "
                f"{frames.name} is {frames.size[1]} wide and {frames.size[0]} high."
            )
        if self.length is not None and len(frames) != self.length:
            raise MediaError(
                f"the saved session was made on a video of {self.length} frames, and {frames.name} has "
                f"{len(frames)}. Is it another video, or was it opened with another frame rate (fps)?"
            )
        if self.channel is not None and not _shows_channel(frames, self.channel):
            opened = "all channels" if frames.channel is None else f"channel {frames.channel!r}"
            raise MediaError(
                f"the saved session was made on channel {self.channel!r}. {frames.name} was opened with "
                f"{opened}: leave the channel out, or use the session's."
            )
        if self.intensity_range is not None and frames.intensity_range != self.intensity_range:
            raise MediaError(
                f"the saved session was made with {_words(self.intensity_range)}. {frames.name} was opened "
                f"with {_words(frames.intensity_range)}: leave the range out, or use the session's."
            )


def _shows_channel(frames: Frames, channel: Channel) -> bool:
    """Whether frames are of this channel; True for frames in memory, whose channel is unknown."""
    if frames.axes is not None:
        return frames.axes.choose(frames.channel, frames.name) == frames.axes.choose(channel, frames.name)
    return frames.channel is None or str(frames.channel) == str(channel)


def _words(intensity_range: IntensityRange | None) -> str:
    if intensity_range is None:
        return "intensities that are not scaled"
    return "intensities from {:g} (black) to {:g} (white)".format(*intensity_range)


def saved_zoom(zoom: Zoom | None) -> bool | dict[str, Any]:
    """A session's zoom in the form for `SavedSession`."""
    if zoom is None or zoom == Zoom(**ON_FRAMES):
        return zoom is not None
    return {name: value for name, value in asdict(zoom).items() if name not in ON_FRAMES}


def _is_zoom(value: object) -> bool:
    """True, False or None, or the fields of a `Zoom`."""
    if isinstance(value, bool | None):
        return True
    try:
        Zoom(**value, **ON_FRAMES)  # type: ignore[arg-type]  # files omit what no frame has
    except (TypeError, OptionError):
        return False
    return True


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_bytes(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and value >= 0


def _is_list(value: object, kind: Callable[[object], bool], length: int | None = None) -> bool:
    return isinstance(value, list) and length in (None, len(value)) and all(map(kind, value))


def _is_channel(value: object) -> bool:
    """A number from 0, a name, a list of them, or names with colours, from JSON."""
    if isinstance(value, dict):
        return bool(value) and all(isinstance(color, str) for color in value.values())
    if isinstance(value, list):
        return bool(value) and not any(
            isinstance(entry, list | dict) or not _is_channel(entry) for entry in value
        )
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _is_range(value: object) -> bool:
    """Two numbers, the second one larger."""
    return isinstance(value, list) and _is_list(value, _is_number, 2) and value[0] < value[1]


def _is_number(value: object) -> bool:
    """A number in the range of float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


_FORMS: dict[str, tuple[Callable[[object], bool], str]] = {  # forms of the fields of a saved session
    "size": (lambda value: _is_list(value, _is_count, 2), "[height, width] in pixels"),
    "video": (lambda value: isinstance(value, str | None), "text or null"),
    "policy": (lambda value: isinstance(value, str | None), "text or null"),
    "clip_length": (lambda value: value is None or _is_count(value), "a count or null"),
    "capacity": (lambda value: value is None or _is_count(value), "a count or null"),
    "budget": (lambda value: value is None or _is_bytes(value), "a number of bytes or null"),
    "script": (lambda value: _is_list(value, lambda event: isinstance(event, dict)), "a list of events"),
    "cuts": (lambda value: isinstance(value, bool), "true or false"),
    "length": (lambda value: value is None or _is_count(value), "a count or null"),
    "zoom": (_is_zoom, "true, false, null, or the fields of a Zoom"),
    "channel": (
        lambda value: value is None or _is_channel(value),
        "a number from 0, a name, a list of them, names with colours, or null",
    ),
    "intensity_range": (
        lambda value: value is None or _is_range(value),
        "[black, white], the second larger, or null",
    ),
}


def locate_video(video: object) -> str | None:
    """The path or address of a video; None for frames from memory."""
    if is_url(video):
        return os.fspath(video)  # type: ignore[call-overload,no-any-return]
    return str(Path(video).resolve()) if isinstance(video, str | Path) else None
