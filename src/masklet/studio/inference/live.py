"""Videos in use: their decoders, encoded frames and histories, up to a limit."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from masklet.media.readers.microscopy import PixelSize
from masklet.media.readers.source import frame_file_name
from masklet.sessions.feature_cache import FeatureCache
from masklet.studio.errors import ApiError, not_found
from masklet.studio.inference.decoder import DecoderProcess
from masklet.studio.inference.remote_frames import RemoteFrames, RemoteReader
from masklet.studio.settings import Limits
from masklet.studio.store.database import Database
from masklet.studio.store.storage import MediaPaths
from masklet.studio.store.tables import Project, Video
from masklet.studio.store.video_history import VideoHistory
from masklet.types import Prompt

MAX_OFFERS = 64  # people whose last candidates are kept for each video


@dataclass(frozen=True)
class OfferedMask:
    """A candidate for a click, as COCO run lengths."""

    iou: float
    score: float
    counts: str
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class OfferedCandidates:
    """The candidates of a person's last click, best first."""

    frame: int
    object: int
    click: Prompt
    masks: tuple[OfferedMask, ...]


def upload_name(video: Video) -> str | None:
    """The user's name of an uploaded file; None for a file of the folder, which keeps its own name.

    >>> [upload_name(Video(name=name, place="upload:x1.png")) for name in ("a/cat", "b.PNG")]
    ['a_cat.png', 'b.PNG']
    """
    kind, _, kept = video.place.partition(":")
    if kind != "upload":
        return None
    suffix, name = Path(kept).suffix, video.name.replace("/", "_")
    return name if name.lower().endswith(suffix) else name + suffix


def frame_namer(video: Video) -> Callable[[int], str] | None:
    """The names of a file's frames; None if the file has names."""
    if video.kind == "video":
        return lambda frame: frame_file_name(frame, ".jpg")
    name = upload_name(video) if video.kind == "picture" and video.frames == 1 else None
    return None if name is None else lambda frame: name


@dataclass
class Live:
    """One video in use. It can be closed at any time, and opened again from the database and the file.

    Attributes:
        model: The name of the project's model; None for the one that the studio was started with.
        channel: The one that is shown of a TIFF; None for all.
        offered: The candidates of each person's last single click.
        held: The number of current users.
        dropped: Whether the last user must close it.
    """

    id: str
    frames: RemoteFrames
    decoder: DecoderProcess
    features: FeatureCache
    history: VideoHistory
    policy: str
    model: str | None
    channel: int | None
    offered: dict[str, OfferedCandidates] = field(default_factory=dict)
    used: float = 0.0
    held: int = 0
    dropped: bool = False

    def offer(self, person: str, candidates: OfferedCandidates) -> None:
        """Store a person's candidates, which replace earlier ones."""
        self.offered.pop(person, None)
        self.offered[person] = candidates
        if len(self.offered) > MAX_OFFERS:
            del self.offered[next(iter(self.offered))]


class LiveVideos:
    """The videos in use; the least recently used are closed first."""

    def __init__(self, database: Database, paths: MediaPaths, limits: Limits) -> None:
        self._database = database
        self._paths = paths
        self._limits = limits
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._histories: WeakValueDictionary[str, VideoHistory] = WeakValueDictionary()
        self._recent: deque[VideoHistory] = deque(maxlen=4 * limits.live)
        self._lock = Lock()

    @contextmanager
    def using(self, id: str) -> Iterator[Live]:
        """An open video, which is not closed while the context is active."""
        with self._lock:
            live = self._live.get(id) or self._open(id)
            self._live.move_to_end(id)
            live.held += 1
        try:
            yield live
        finally:
            with self._lock:
                live.held -= 1
                live.used = time.monotonic()
                if live.dropped and not live.held:
                    live.decoder.close()

    def history(self, id: str) -> VideoHistory:
        """The record of a video, without opening its file."""
        with self._lock:
            return self._history(id)

    def drop(self, id: str) -> None:
        """Close a video, because it was deleted or is unused."""
        with self._lock:
            self._close(id)
            self._histories.pop(id, None)

    def reopen(self, id: str) -> None:
        """Close a video's decoder and drop its encoded frames, since its file will be read with other
        settings."""
        with self._lock:
            self._close(id)

    def close_idle(self) -> None:
        """Close the videos that were idle for long."""
        with self._lock:
            old = time.monotonic() - self._limits.idle
            for id in [id for id, live in self._live.items() if live.used < old and not live.held]:
                self._close(id)

    def close(self) -> None:
        with self._lock:
            for id in list(self._live):
                self._close(id)

    @property
    def count(self) -> int:
        return len(self._live)

    def _open(self, id: str) -> Live:
        history = self._history(id)
        with self._database.begin() as session:
            video = session.get(Video, id)
            if video is None:
                raise not_found(f"there is no video {id}.")
            project = session.get_one(Project, video.project)
            size, channel = (video.height, video.width), video.channel
            pixel_size = None if video.pixel_size is None else PixelSize.parse(video.pixel_size)
        expected = (video.height, video.width, video.frames)
        self._make_room()
        locate = partial(
            self._paths.resolve, video.place
        )  # masks can still be exported if the file is missing
        decoder = DecoderProcess(locate, self._limits, name=video.name, expected=expected, channel=channel)
        reader = RemoteReader(
            decoder,
            video.name,
            size,
            video.fps,
            video.frames,
            file_name=frame_namer(video),
            pixel_size=pixel_size,
        )
        budget = self._limits.features // self._limits.live
        frames, features = RemoteFrames(reader), FeatureCache(budget)
        self._live[id] = Live(id, frames, decoder, features, history, project.policy, project.model, channel)
        return self._live[id]

    def _history(self, id: str) -> VideoHistory:
        """The one history of a video, as long as anybody may hold its lock."""
        history = self._histories.get(id) or VideoHistory(self._database, id)
        self._histories[id] = history
        self._recent.append(history)
        return history

    def _make_room(self) -> None:
        while len(self._live) >= self._limits.live:
            idle = next((id for id, live in self._live.items() if not live.held), None)
            if idle is None:
                raise ApiError(
                    429, "queue", f"{len(self._live)} videos are in use. Try again shortly.", retry=2
                )
            self._close(idle)

    def _close(self, id: str) -> None:
        live = self._live.pop(id, None)
        if live is not None:
            live.dropped = True
            if not live.held:
                live.decoder.close()
