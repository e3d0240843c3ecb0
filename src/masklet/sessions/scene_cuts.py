"""Where the scenes of a stored video begin."""

from __future__ import annotations

import numpy as np

from masklet.media import Frames
from masklet.sessions.visibility import is_cut, thumbnail


class Scenes:
    """Finds scene cuts by comparing neighbouring frames. Thumbnails of compared frames are kept."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._thumbnails: dict[int, np.ndarray] = {}

    def note(self, frame: int, image: np.ndarray) -> None:
        """Keep the thumbnail of a decoded frame, so that it is not decoded again."""
        if frame not in self._thumbnails:
            self._thumbnails[frame] = thumbnail(image)

    def begins(self, frame: int) -> bool:
        """Whether a scene begins on a frame, which is not the video's first."""
        if not 0 < frame < len(self._frames):
            return False
        for number in (frame - 1, frame):
            if number not in self._thumbnails:
                self.note(number, self._frames[number])
        return is_cut(self._thumbnails[frame - 1], self._thumbnails[frame])
