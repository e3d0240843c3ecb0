"""Everything in a video: objects that nobody pointed at, from where they appear to where they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from masklet import rle
from masklet.auto.detections import make_detector
from masklet.auto.grid import Grid, grid_of
from masklet.auto.mask_store import Ledger
from masklet.auto.track_records import Life, Lives
from masklet.auto.tracker import Crowd, Rules
from masklet.media import Frames, Stream, open_frames, stream
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.tracker import Tracker
from masklet.sessions.visibility import VisibilityMonitor
from masklet.tracking.policies import Policy
from masklet.types import Masks, Prompt

KEY_SECONDS, PATIENCE_SECONDS = 1.0, 4.0


class Followed:
    """The masks of a video, frame by frame; and the lives of its objects, as far as it has come.

    lives : by object id; of a stream those of the newest thousand that ended, and all that go on
    """

    def __init__(self, frames: Iterator[Masks], lives: Mapping[int, Life]) -> None:
        self._frames = frames
        self.lives = lives

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> Masks:
        return next(self._frames)


def everything_in_video(
    model: Sam2,
    video: object,
    grid: Grid | str = "balanced",
    *,
    detections: object = None,
    every: int | None = None,
    patience: int | None = None,
    max_objects: int = 32,
    backward: bool | None = None,
    policy: Policy = "recency",
    cuts: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Followed:
    """Find objects on key frames where nothing is followed yet, and follow them.

    video : what `masklet.track` takes; of what is stored, objects are also followed back to where they first
        appear, which the masks wait for
    grid : see `Grid`; or "fast", "balanced", "dense"
    detections : what a detector saw, in place of the grid; see `masklet.auto.detections.detector`
    every : frames from one key frame to the next; by default a second's, with detections one
    patience : frames for which a lost object is waited for; by default four seconds'
    max_objects : followed at a time; the largest and surest join first
    backward : whether to follow back; by default where the video is stored
    policy : the memory policy by its name, or what makes one for each object
    cuts : watch for scene cuts, see `Tracker`
    progress : called with the share that is done, while nothing can be given yet
    """
    source = _source(video)
    count = len(source) if isinstance(source, Frames) else None
    found = (
        grid_of(grid, model.config)
        if detections is None
        else make_detector(detections, source.file_name, count)
    )
    second = max(1, round(source.fps * KEY_SECONDS))
    rules = Rules(
        every=every if every is not None else second if isinstance(found, Grid) else 1,
        patience=patience if patience is not None else max(1, round(source.fps * PATIENCE_SECONDS)),
        max_objects=max_objects,
    )
    if backward is None:
        backward = isinstance(source, Frames)
    kept = FeatureCache() if backward else None
    crowd = Crowd(model, found, rules, policy, cuts=cuts, kept=kept)
    if kept is None:
        return Followed(map(crowd.step, source), crowd.lives.all)
    if not isinstance(source, Frames):
        raise ValueError(f"{source.name} is seen once, so nothing can be followed back: backward=False.")
    lives = Lives()
    told = progress or (lambda share: None)
    back = Tracker(model, policy=policy, cuts=cuts)
    return Followed(_both_ways(source, crowd, back, kept, lives, told), lives.all)


def _source(video: object) -> Frames | Stream:
    if isinstance(video, Frames | Stream):
        return video
    return stream(video) if isinstance(video, Iterator | int) else open_frames(video)


def _both_ways(
    frames: Frames,
    crowd: Crowd,
    back: Tracker,
    kept: FeatureCache,
    lives: Lives,
    progress: Callable[[float], None],
) -> Iterator[Masks]:
    ledger = Ledger(frames.size, back.model.config.mask_size)
    for image in frames:
        masks = crowd.step(image)
        ledger.put(masks.frame, masks)
        progress((masks.frame + 1) / len(frames) / 2)
    ledger.ended |= {id: life.ended for id, life in crowd.lives.all.items() if life.ended is not None}
    for frame in _filled_back(back, frames, kept, ledger):
        progress(1 - frame / len(frames) / 2)
    yield from ledger.replay(lives)


def _filled_back(tracker: Tracker, frames: Frames, kept: FeatureCache, ledger: Ledger) -> Iterator[int]:
    """Follow every object back from its first frame, until it is lost or meets another; yields each frame.

    One that meets an object that was lost for good before it was born, was that object all along.
    """
    watch, born, last = VisibilityMonitor(), ledger.born(), ledger.last()
    for frame in range(max(born.values(), default=0), -1, -1):
        joining = {id: ledger[frame][id] for id in born if born[id] == frame > 0}
        if joining or tracker.ids:
            prompts = {id: Prompt(mask=rle.decode(entry.code)) for id, entry in joining.items()}
            features = kept.get(frame, tracker.model.device, tracker.model.dtype)
            masks = tracker.step(frames[frame], prompts, features=features)
            gone = {event.id for event in watch.step(masks) if event.kind == "lost"}
            for id, code in zip(masks.ids, masks.rle(), strict=True):
                met = None if id in joining else ledger.at(frame, code)
                if met is not None and last[met] < born[id]:
                    ledger.join(id, met)
                    last[met] = last[id]
                if met is not None:
                    gone.add(id)
            tracker.forget(*gone)
            watch.forget(*gone)
            ledger.put(frame, masks.select(*(id for id in masks.ids if id not in gone | set(joining))))
        yield frame
