"""Sources that can be read only once: a camera, a network stream, an iterator. Memory use is constant."""

from __future__ import annotations

import atexit
import os
import time
import urllib.parse
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from threading import Condition, Thread

import av
import cv2
import numpy as np
import PIL.Image
import torch

from masklet.errors import MediaError
from masklet.media.readers.decoding import open_container, open_file
from masklet.media.readers.frames import Frames, open_frames
from masklet.media.readers.images import ImageReader, is_image_url, is_url
from masklet.media.readers.source import (
    SQUARE,
    STILLS_FPS,
    Image,
    IntensityRange,
    NoSuchFrame,
    frame_file_name,
)
from masklet.media.readers.videos import Video

_STORED_SCHEMES = ("http", "https", "file", "ftp")  # URL schemes of stored files; all others are live
LONGEST_NUMBER = 9  # digits
CAMERAS = 100  # OpenCV uses larger numbers to select a backend
STOP_SECONDS = 5.0  # seconds that a camera's last read may take when the program ends


@dataclass
class LiveState:
    """The state of a live source.

    Attributes:
        skipped: Frames that were left out.
        taken: When the last returned frame arrived, by `time.monotonic`; None for stored sources.
    """

    skipped: int = 0
    taken: float | None = None


class Stream:
    """An iterator over (H, W, 3) uint8 RGB frames, and a `Source` for writers.

    Args:
        images: (seconds, image) pairs.
        state: The state that the reader of a live source updates.
    """

    def __init__(
        self,
        name: str,
        fps: float,
        images: Iterator[tuple[float, Image]],
        *,
        pixel_aspect: Fraction = SQUARE,
        state: LiveState | None = None,
    ) -> None:
        self.name = name
        self.fps = fps
        self._state = state or LiveState()
        self.pixel_aspect = pixel_aspect
        first = next(images, None)
        if first is None:
            raise MediaError(f"{name} has no frames.")
        self.size = first[1].shape[0], first[1].shape[1]
        self._times = array("d")  # eight bytes per frame: the only memory that grows
        self._images = chain([first], images)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Image:
        seconds, image = next(self._images)
        if image.shape[:2] != self.size:
            raise MediaError(
                f"the frames of {self.name} must all have one size. The first has (H, W) = {self.size}, and "
                f"frame {len(self._times)} has {image.shape[:2]}."
            )
        self._times.append(seconds)
        return image

    @property
    def skipped(self) -> int:
        """Frames of a live source that were left out so far, because a newer one was there."""
        return self._state.skipped

    def age(self) -> float:
        """Seconds since the last frame that a live source gave came in; 0 of stored sources.

        After a step it says how late the masks are. What camera and network took before is not known here.
        """
        return 0.0 if self._state.taken is None else time.monotonic() - self._state.taken

    def time(self, frame: int) -> float:
        """Seconds from the first frame to this one, which must have been seen."""
        if not 0 <= frame < len(self._times):
            raise NoSuchFrame(self.name, frame, len(self._times))
        return self._times[frame] - self._times[0]

    def file_name(self, frame: int) -> str:
        return frame_file_name(frame, ".jpg")


def stream(
    source: object, *, live: bool | None = None, intensity_range: IntensityRange | None = None
) -> Stream:
    """Read frames one after the other, from a camera, a stream, an iterator or a file.

    From a live source, you get the newest frame; if you are slower than the camera, frames are skipped. From
    a stored source, you get every frame.

    Args:
        source: A camera's number or URL; an iterator of what `read_image` takes; or what `open_frames` opens.
        live: Whether a URL is live. By default http, https, ftp and file are stored if the server says how
            long the file is; rtsp, udp and all others are live.
        intensity_range: The intensities that become black and white, for frames of more than 8 bits. By
            default the first frame decides for all.

    Raises:
        MediaError: The source cannot be opened, or has no frame.

    Example:
        >>> frames = stream(np.zeros((48, 64), np.uint8) for _ in range(3))
        >>> [image.shape for image in frames]
        [(48, 64, 3), (48, 64, 3), (48, 64, 3)]
    """
    if isinstance(source, Stream):
        return source
    if isinstance(source, int):
        return _camera(source)
    if isinstance(source, str) and source.isdecimal() and len(source) <= LONGEST_NUMBER:
        return _camera(int(source))
    if is_url(source) and not is_image_url(url := os.fspath(source)):  # type: ignore[call-overload]
        if _is_live(url) if live is None else live:
            return _camera(url)
        video = Video(url, intensity_range=intensity_range)
        return Stream(video.name, video.fps, video.play_timed(), pixel_aspect=video.pixel_aspect)
    stored = Frames | str | os.PathLike | np.ndarray | torch.Tensor | list | tuple | bytes | PIL.Image.Image
    if isinstance(source, Iterable) and not isinstance(source, stored) and not hasattr(source, "read"):
        images = enumerate(map(ImageReader(intensity_range).read, source))
        return Stream("the stream", STILLS_FPS, ((frame / STILLS_FPS, image) for frame, image in images))
    frames = open_frames(source, intensity_range=intensity_range)
    timed = ((frames.time(frame), image) for frame, image in enumerate(frames))
    return Stream(frames.name, frames.fps, timed, pixel_aspect=frames.pixel_aspect)


def open_source(video: object) -> Frames | Stream:
    """Open what is stored as frames, and cameras and iterators as a stream."""
    if isinstance(video, Frames | Stream):
        return video
    is_iterator = isinstance(video, Iterator) and not hasattr(video, "read")
    return stream(video) if is_iterator or isinstance(video, int) else open_frames(video)


def _is_live(url: str) -> bool:
    if urllib.parse.urlsplit(url).scheme not in _STORED_SCHEMES:
        return True
    try:
        with open_file(url, url) as container:
            is_playlist = "hls" in container.format.name or "dash" in container.format.name
            return container.duration is None and (is_playlist or container.size <= 0)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{url} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error


def _camera(camera: int | str) -> Stream:
    name = f"camera {camera}" if isinstance(camera, int) else camera
    if isinstance(camera, int) and (isinstance(camera, bool) or not 0 <= camera < CAMERAS):  # OpenCV crashes
        raise MediaError(f"a camera must be a whole number from 0 to {CAMERAS - 1}. Got {camera!r:.40}.")
    if isinstance(camera, str) and camera.lower().startswith("file://"):
        open_container(camera, name).close()  # OpenCV would follow a playlist
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise MediaError(
            f"{name} cannot be opened. Check that it is connected, that this program may use it, and that "
            "no other program uses it."
        )
    state = LiveState()
    images = _newest(capture.read, capture.release, state)
    return Stream(name, capture.get(cv2.CAP_PROP_FPS) or STILLS_FPS, images, state=state)


def _newest(
    read: Callable[[], tuple[bool, np.ndarray | None]], release: Callable[[], None], state: LiveState
) -> Iterator[tuple[float, Image]]:
    """Always the newest frame. A thread reads continuously, since cameras and their drivers queue old
    frames."""
    newest: deque[tuple[float, np.ndarray]] = deque(maxlen=1)
    changed = Condition()
    is_used, ended = True, False

    def watch() -> None:
        nonlocal ended
        try:
            while is_used:
                has_frame, bgr = read()
                if not has_frame or bgr is None:
                    break
                with changed:
                    state.skipped += len(newest)
                    newest.append((time.monotonic(), bgr))
                    changed.notify()
        finally:
            release()
            with changed:
                ended = True
                changed.notify()
            atexit.unregister(stop)

    def stop() -> None:
        """Stop the thread before the program ends: a thread killed inside OpenCV aborts the process."""
        nonlocal is_used
        is_used = False
        thread.join(STOP_SECONDS)

    thread = Thread(target=watch, daemon=True)
    atexit.register(stop)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: newest or ended)
                if not newest:
                    return
                seconds, bgr = newest.pop()
            state.taken = seconds
            yield seconds, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    finally:
        is_used = False
