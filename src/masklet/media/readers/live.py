"""Frames that are seen once: a camera, a network stream, an iterator. However many, memory stays flat."""

from __future__ import annotations

import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from threading import Condition, Thread

import cv2
import numpy as np
import PIL.Image

from masklet.errors import MediaError
from masklet.media.readers.frames import Frames, open_frames
from masklet.media.readers.pictures import read_image
from masklet.media.readers.source import STILLS_FPS, Image, NoSuchFrame, numbered


class Stream:
    """An iterator over (H, W, 3) uint8 RGB frames, and a `Source` for writers.

    pictures : (seconds, image) pairs
    """

    def __init__(self, name: str, fps: float, pictures: Iterator[tuple[float, Image]]) -> None:
        self.name = name
        self.fps = fps
        first = next(pictures, None)
        if first is None:
            raise MediaError(f"{name} gave no frame at all.")
        self.size = first[1].shape[0], first[1].shape[1]
        self._times = array("d")  # eight bytes a frame: all that grows
        self._pictures = chain([first], pictures)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Image:
        seconds, image = next(self._pictures)
        if image.shape[:2] != self.size:
            raise MediaError(
                f"the frames of {self.name} must have one size, (H, W) = {self.size}, that of the first. "
                f"Frame {len(self._times)} has {image.shape[:2]}."
            )
        self._times.append(seconds)
        return image

    def time(self, frame: int) -> float:
        """Seconds from the first frame to this one, which must have been seen."""
        if not 0 <= frame < len(self._times):
            raise NoSuchFrame(self.name, frame, len(self._times))
        return self._times[frame] - self._times[0]

    def file_name(self, frame: int) -> str:
        return numbered(frame, ".jpg")


def stream(source: object) -> Stream:
    """Take frames one after the other, from anything that gives them.

    source : a camera's number or URL, read by OpenCV and timed by the clock (who is slower than the camera
        skips frames and gets the newest); an iterator of what `read_image` takes; or what `open_frames` opens
    """
    if isinstance(source, Stream):
        return source
    if isinstance(source, int):
        return _camera(source)
    if isinstance(source, str) and (source.isdecimal() or "://" in source):
        return _camera(int(source) if source.isdecimal() else source)
    stored = Frames | str | os.PathLike | np.ndarray | list | tuple | PIL.Image.Image
    if isinstance(source, Iterable) and not isinstance(source, stored):
        images = enumerate(map(read_image, source))
        return Stream("the stream", STILLS_FPS, ((frame / STILLS_FPS, image) for frame, image in images))
    frames = open_frames(source)
    return Stream(frames.name, frames.fps, ((frames.time(frame), each) for frame, each in enumerate(frames)))


def _camera(camera: int | str) -> Stream:
    name = f"camera {camera}" if isinstance(camera, int) else camera
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise MediaError(f"{name} cannot be opened. Is it there, allowed, and not in use by another program?")
    return Stream(name, capture.get(cv2.CAP_PROP_FPS) or STILLS_FPS, _newest(capture.read, capture.release))


def _newest(
    read: Callable[[], tuple[bool, np.ndarray | None]], release: Callable[[], None]
) -> Iterator[tuple[float, Image]]:
    """The newest frame each time. A thread keeps reading, since cameras and their drivers queue old ones."""
    newest: deque[tuple[float, np.ndarray]] = deque(maxlen=1)
    changed = Condition()
    wanted, ended = True, False

    def watch() -> None:
        nonlocal ended
        try:
            while wanted:
                there, bgr = read()
                if not there or bgr is None:
                    break
                with changed:
                    newest.append((time.monotonic(), bgr))
                    changed.notify()
        finally:
            release()
            with changed:
                ended = True
                changed.notify()

    Thread(target=watch, daemon=True).start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: newest or ended)
                if not newest:
                    return
                seconds, bgr = newest.pop()
            yield seconds, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    finally:
        wanted = False
