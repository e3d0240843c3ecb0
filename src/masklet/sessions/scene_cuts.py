"""Where the scenes of a stored video begin."""

from __future__ import annotations

import numpy as np

from masklet.media import Frames
from masklet.sessions.visibility import is_cut, thumbnail


class Scenes:
    """Compares neighbouring frames, each pair once; a thumbnail is kept of each frame that was looked at."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._thumbnails: dict[int, np.ndarray] = {}

    def note(self, frame: int, image: np.ndarray) -> None:
        """Take a frame that is at hand, so that it need not be decoded again."""
        if frame not in self._thumbnails:
            self._thumbnails[frame] = thumbnail(image)

    def begins(self, frame: int) -> bool:
        """Whether a scene begins on a frame, which is not the video's first."""
        if not 0 < frame < len(self._frames):
            return False
        for each in (frame - 1, frame):
            if each not in self._thumbnails:
                self.note(each, self._frames[each])
        return is_cut(self._thumbnails[frame - 1], self._thumbnails[frame])
