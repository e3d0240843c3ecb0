"""Sessions as files: where the video lies, and the script, from which everything else is made again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from masklet.errors import MaskletError, MediaError
from masklet.files import atomic_write
from masklet.media import Frames
from masklet.sessions.events import Script
from masklet.tracking.policies import Policy

FORMAT = 1


@dataclass(frozen=True)
class SavedSession:
    """A `VideoSession` as it is written.

    video : where the video lies; None for frames that came from memory
    size : (H, W) of its frames
    policy : the name of the memory policy; None for one that has none
    """

    video: str | None
    size: tuple[int, int]
    clip_length: int | None
    capacity: int | None
    script: Script
    policy: str | None = "recency"
    cuts: bool = False

    def write(self, path: str | Path) -> None:
        """Write the session, whole or not at all."""
        content = {"masklet": FORMAT, **vars(self), "script": self.script.to_json()}
        with atomic_write(path) as part:
            part.write_text(json.dumps(content))

    @classmethod
    def read(cls, path: str | Path) -> SavedSession:
        """Read a session.

        Raises:
            MediaError: There is no such file.
            MaskletError: The file is no session, or one of another version.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise MediaError(f"there is no saved session at {path}.") from None
        except (ValueError, OSError, RecursionError) as error:
            raise MaskletError(f"{path} is not a saved session: {error}.") from None
        fields = {"masklet", *cls.__dataclass_fields__}
        if not isinstance(content, dict) or content.get("masklet") != FORMAT or set(content) != fields:
            raise MaskletError(f"{path} is not a session that this version of masklet saved.")
        size = content["size"]
        if not (isinstance(size, list) and len(size) == 2 and all(_is_count(side) for side in size)):
            raise MaskletError(f"{path}: size must be [height, width] in pixels. Got {size!r:.60}.")
        for name in ("video", "policy"):
            if not isinstance(content[name], str | None):
                raise MaskletError(f"{path}: {name} must be text or null. Got {content[name]!r:.60}.")
        for name in ("clip_length", "capacity"):
            if content[name] is not None and not _is_count(content[name]):
                raise MaskletError(f"{path}: {name} must be a count or null. Got {content[name]!r:.60}.")
        events = content["script"]
        if not (isinstance(events, list) and all(isinstance(event, dict) for event in events)):
            raise MaskletError(f"{path}: script must be a list of events. Got {events!r:.60}.")
        if not isinstance(content["cuts"], bool):
            raise MaskletError(f"{path}: cuts must be true or false. Got {content['cuts']!r:.60}.")
        return cls(
            content["video"],
            (size[0], size[1]),
            content["clip_length"],
            content["capacity"],
            Script.from_json(events),
            content["policy"],
            content["cuts"],
        )

    def source(self, given: object) -> object:
        """The video: the one that is given, else where it was when the session was saved."""
        source = self.video if given is None else given
        if source is None:
            raise MediaError("the saved session was made from frames in memory: give them as video=...")
        return source

    def policy_or(self, given: Policy | None) -> Policy:
        """The policy that is given, else the one that the session was made with."""
        policy = self.policy if given is None else given
        if policy is None:
            raise MaskletError("the saved session had a memory policy without a name: give it as policy=...")
        return policy

    def check(self, frames: Frames) -> None:
        """Raise a MediaError where this cannot be the video that the session was made on."""
        if frames.size != self.size:
            raise MediaError(
                f"the saved session was made on a video {self.size[1]} wide and {self.size[0]} high. "
                f"{frames.name} is {frames.size[1]} wide and {frames.size[0]} high."
            )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
