"""A video at a steady rate: at each tick, the picture on show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from masklet.errors import MediaError
from masklet.media.readers.source import Image, NoSuchFrame, numbered
from masklet.media.readers.video import Video


class Sampled:
    """Frame k is what the video shows k / fps seconds after its first frame."""

    def __init__(self, video: Video, fps: float) -> None:
        if not 0 < fps < math.inf:
            raise MediaError(f"fps must be above 0. Got {fps:g}.")
        self._video = video
        self.fps = fps
        self.name = video.name
        self.size = video.size

    def count(self) -> int:
        ticks = int(self._video.time(self._video.count() - 1) * self.fps)
        return next(tick for tick in count(ticks) if self._below(tick) is None)

    def time(self, frame: int) -> float:
        return frame / self.fps

    def file_name(self, frame: int) -> str:
        return numbered(frame, ".jpg")

    def read(self, wanted: Sequence[int]) -> Mapping[int, Image]:
        pairs = [(frame, below) for frame in wanted if (below := self._below(frame)) is not None]
        if not pairs or pairs[-1][0] != wanted[-1]:
            raise NoSuchFrame(self.name, wanted[-1], self.count())
        images = self._video.read([below for _, below in pairs])
        return {frame: images[below] for frame, below in pairs if below in images}

    def play(self, start: int) -> Iterator[Image]:
        first = self._below(start)
        if first is None:
            return
        pictures = self._video.pictures(first)
        at, picture = next(pictures)
        for frame in count(start):
            target = self._below(frame)
            if target is None:
                break
            while at < target:
                at, picture = next(pictures)
            yield self._video.rgb(picture)
        for _ in pictures:  # the rest, to learn whether the video ends as it should
            pass

    def _below(self, frame: int) -> int | None:
        """The number of the video's own frame."""
        return self._video.frame_at(frame / self.fps)
