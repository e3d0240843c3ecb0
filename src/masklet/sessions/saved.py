"""Sessions as files: the video's place and the script, from which all else is made again."""

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
    """What is written of a `VideoSession`.

    video : where it lies; None for frames that came from memory
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
        said = {"masklet": FORMAT, **vars(self), "script": self.script.to_json()}
        with atomic_write(path) as part:
            part.write_text(json.dumps(said))

    @classmethod
    def read(cls, path: str | Path) -> SavedSession:
        try:
            said = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise MediaError(f"there is no saved session at {path}.") from None
        except (ValueError, OSError) as error:
            raise MaskletError(f"{path} is not a saved session: {error}.") from None
        fields = {"masklet", *cls.__dataclass_fields__}
        if not isinstance(said, dict) or said.get("masklet") != FORMAT or set(said) != fields:
            raise MaskletError(f"{path} is not a session that this version of masklet saved.")
        height, width = said["size"]
        script = Script.from_json(said["script"])
        plain = {name: said[name] for name in ("video", "policy", "cuts", "clip_length", "capacity")}
        return cls(**plain, size=(height, width), script=script)

    def source(self, given: object) -> object:
        """Where the video is now, else where it was."""
        source = self.video if given is None else given
        if source is None:
            raise MediaError("the saved session was made from frames in memory: give them as video=...")
        return source

    def policy_or(self, given: Policy | None) -> Policy:
        """The policy that was given, else the one that the session was made with."""
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
