"""Frames as JPEG, for people to look at. They never change, so those that were asked for last are kept."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from masklet.studio.live import LiveVideos

THUMBNAIL = 72  # pixels high
WIDEST = 8192


class Jpegs:
    """Made where the file is decoded.

    budget : bytes
    """

    def __init__(self, live: LiveVideos, budget: int) -> None:
        self._live = live
        self._budget = budget
        self._kept: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()
        self._held = 0
        self._lock = Lock()

    def frame(self, video: str, frame: int, width: int | None) -> bytes:
        return self._get(video, frame, min(width or WIDEST, WIDEST), WIDEST)

    def thumbnail(self, video: str, frame: int) -> bytes:
        return self._get(video, frame, 4 * THUMBNAIL, THUMBNAIL)

    def _get(self, video: str, frame: int, width: int, height: int) -> bytes:
        key = (video, frame, width, height)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._live.using(video) as live:
            made = live.footage.jpeg(frame, width, height)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._held += len(made)
            while self._held > self._budget:
                self._held -= len(self._kept.popitem(last=False)[1])
        return made
