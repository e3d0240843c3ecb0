"""What every picture source tells of itself, and the error for a frame that is not there."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from masklet.errors import MediaError

Image = UInt8[np.ndarray, "H W 3"]  # RGB

STILLS_FPS = 24.0  # pictures without times play at the rate of SA-V and DAVIS


@runtime_checkable
class Source(Protocol):
    """Where frames come from, as far as a writer must know: `Frames` and `Stream` both are one."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        ...

    @property
    def fps(self) -> float:
        """Frames a second; the average where the rate varies."""
        ...

    def time(self, frame: int) -> float:
        """Seconds from the first frame to this one."""
        ...

    def file_name(self, frame: int) -> str:
        """The picture's own file, or the name that data sets give to a video's frame: 00007.jpg."""
        ...


class NoSuchFrame(MediaError, IndexError):
    """A frame before the first or behind the last."""

    def __init__(self, name: str, frame: int, count: int) -> None:
        frames = "1 frame, frame 0" if count == 1 else f"{count} frames, 0 to {count - 1}"
        super().__init__(f"{name} has {frames}. Got frame {frame}.")


def numbered(frame: int, suffix: str) -> str:
    """A frame's file name as DAVIS, YouTube-VIS and SA-V write it.

    >>> numbered(7, ".png")
    '00007.png'
    """
    return f"{frame:05d}{suffix}"
