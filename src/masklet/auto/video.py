"""Everything in a video: objects without prompts, from their first to their last frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from masklet import rle
from masklet.auto.detections import make_detector
from masklet.auto.grid import Grid, resolve_grid
from masklet.auto.segments import RleMasks, masks_to_low_res
from masklet.auto.tracker import SAME, AutoTracker, TrackerLimits, TrackRecord, TrackRecords
from masklet.errors import OptionError
from masklet.masks import MaskIterator
from masklet.media import Frames, open_source
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.tracker import Tracker
from masklet.sessions.visibility import VisibilityMonitor
from masklet.tracking.policies import Policy
from masklet.types import Masks, Prompt

KEY_SECONDS, LOST_SECONDS = 1.0, 4.0
ABSENT_SCORE = -10.0  # the object score on frames where an object has no mask


class MaskletSet(MaskIterator):
    """The masks of a video, frame by frame, and a record of each object found so far.

    Iterate over it once.

    Args:
        frames: The masks of each frame, as they are made.
        tracks: Records by object id, which grow while `frames` is iterated.
        length: The number of frames, if it is known.
        classes: Classes by object id, if a detector gives them; they grow too.

    Attributes:
        tracks: Records by object id. In a stream, all tracked objects and the last thousand that ended.
        classes: By object id, the class of the object's first detection.

    Example:
        >>> from masklet.config import toy
        >>> from masklet.model import Sam2
        >>> video = np.zeros((2, 48, 64, 3), dtype=np.uint8)
        >>> masklets = everything_in_video(Sam2(toy()).eval(), video, "fast")
        >>> [masks.frame for masks in masklets], sorted(masklets.tracks)
        ([0, 1], [])
    """

    def __init__(
        self,
        frames: Iterator[Masks],
        tracks: Mapping[int, TrackRecord],
        length: int | None = None,
        classes: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(frames, length)
        self.tracks = tracks
        self.classes = {} if classes is None else classes

    def find_classes(self) -> Mapping[int, str]:
        """Return the classes of all objects of a stored video, which writers need before the first frame.

        This tracks the whole video. Iteration then starts with the first frame.
        """
        first = next(self._frames, None)
        if first is not None:
            self._frames = _rejoin(first, self._frames)
        return self.classes


def _rejoin(first: Masks, rest: Iterator[Masks]) -> Iterator[Masks]:
    yield first
    yield from rest


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
) -> MaskletSet:
    """Find objects on key frames where nothing is tracked yet, and track them.

    Args:
        model: The network.
        video: What `masklet.track` takes. In a stored video, objects are also tracked back to where they
            first appear, and masks come when that is done.
        grid: See `Grid`; or "fast", "balanced", "dense".
        detections: What a detector found, in place of the grid; see `masklet.auto.make_detector`. An object
            has the class of the detection with which it began.
        every: Frames from one key frame to the next; by default a second's, with detections one.
        patience: Frames after which a lost object is dropped; by default four seconds'.
        max_objects: Objects tracked at a time; the largest and surest join first.
        backward: Whether to track back; by default where the video is stored.
        policy: The name of a memory policy, or a callable that makes one for each object.
        cuts: Watch for scene cuts, see `Tracker`.
        progress: Called with the finished share until the first masks are available.
    """
    source = open_source(video)
    count = len(source) if isinstance(source, Frames) else None
    finder = (
        resolve_grid(grid, model.config)
        if detections is None
        else make_detector(detections, source.file_name, count)
    )
    second = max(1, round(source.fps * KEY_SECONDS))
    limits = TrackerLimits(
        every=every if every is not None else second if isinstance(finder, Grid) else 1,
        patience=patience if patience is not None else max(1, round(source.fps * LOST_SECONDS)),
        max_objects=max_objects,
    )
    if backward is None:
        backward = isinstance(source, Frames)
    cache = FeatureCache() if backward else None
    forward = AutoTracker(model, finder, limits, policy, cuts=cuts, cache=cache)
    if cache is None:
        records = forward.records
        return MaskletSet(map(forward.step, source), records.by_id, count, records.classes)
    if not isinstance(source, Frames):
        raise OptionError(
            f"{source.name} can be read only once, so objects cannot be tracked back: use backward=False."
        )
    records = TrackRecords()
    report = progress or (lambda share: None)
    back = Tracker(model, policy=policy, cuts=cuts)
    both_ways = _both_ways(source, forward, back, cache, records, report)
    return MaskletSet(both_ways, records.by_id, count, records.classes)


def _both_ways(
    frames: Frames,
    forward: AutoTracker,
    back: Tracker,
    cache: FeatureCache,
    records: TrackRecords,
    progress: Callable[[float], None],
) -> Iterator[Masks]:
    store = MaskStore(frames.size, back.model.config.mask_size)
    for image in frames:
        masks = forward.step(image)
        store.put(masks.frame, masks)
        progress((masks.frame + 1) / len(frames) / 2)
    ends = {id: record.ended for id, record in forward.records.by_id.items()}
    store.ended |= {id: frame for id, frame in ends.items() if frame is not None}
    store.classes |= forward.records.classes
    for frame in _track_back(back, frames, cache, store):
        progress(1 - frame / len(frames) / 2)
    for masks in store.replay(records):
        yield masks.with_image(partial(frames.__getitem__, masks.frame))


def _track_back(tracker: Tracker, frames: Frames, cache: FeatureCache, store: MaskStore) -> Iterator[int]:
    """Track every object back from its first frame, until it is lost or meets another one; yields each frame.

    If it meets an object that had ended before it appeared, both are one object.
    """
    monitor, first, last = VisibilityMonitor(), store.first_frames(), store.last_frames()
    for frame in range(max(first.values(), default=0), -1, -1):
        joining = {id: store[frame][id] for id in first if first[id] == frame > 0}
        if joining or tracker.ids:
            prompts = {id: Prompt(mask=rle.decode(stored.code)) for id, stored in joining.items()}
            features = cache.get(frame, tracker.model)
            masks = tracker.step(frames[frame], prompts, features=features)
            done = {event.id for event in monitor.step(masks) if event.kind == "lost"}
            for id, code in zip(masks.ids, masks.rle(), strict=True):
                other = None if id in joining else store.find(frame, code)
                if other is not None and last[other] < first[id]:
                    store.join(id, other)
                    last[other] = last[id]
                if other is not None:
                    done.add(id)
            tracker.forget(*done)
            monitor.forget(*done)
            store.put(frame, masks.select(*(id for id in masks.ids if id not in done | set(joining))))
        yield frame


@dataclass(frozen=True)
class StoredMask:
    """One object on one frame on which it is visible."""

    code: rle.RLE
    iou: float
    score: float


class MaskStore:
    """All masks of a stored video as run lengths, by frame and object; two objects can be joined.

    Args:
        size: (H, W) of the frames.
        side: Of low-res logits.
    """

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self._size = size
        self._side = side
        self._frames: list[dict[int, StoredMask]] = []
        self.ended: dict[int, int] = {}  # the frames on which objects were dropped
        self.classes: dict[int, str] = {}

    def put(self, frame: int, masks: Masks) -> None:
        """Store the masks of the objects that are visible on a frame."""
        while len(self._frames) <= frame:
            self._frames.append({})
        rows = zip(masks.ids, masks.rle(), masks.iou.tolist(), masks.score.tolist(), strict=True)
        self._frames[frame] |= {
            id: StoredMask(code, iou, score) for id, code, iou, score in rows if rle.area(code)
        }

    def __getitem__(self, frame: int) -> dict[int, StoredMask]:
        return self._frames[frame]

    def first_frames(self) -> dict[int, int]:
        """Each object's first frame."""
        first: dict[int, int] = {}
        for frame, stored in enumerate(self._frames):
            for id in stored:
                first.setdefault(id, frame)
        return first

    def last_frames(self) -> dict[int, int]:
        """Each object's last frame."""
        return {id: frame for frame, stored in enumerate(self._frames) for id in stored}

    def find(self, frame: int, code: rle.RLE) -> int | None:
        """The object with a similar mask on a frame."""
        stored = self._frames[frame]
        if not stored:
            return None
        iou = rle.overlaps([mask.code for mask in stored.values()], [code])[:, 0]
        return list(stored)[iou.argmax()] if iou.max() >= SAME else None

    def join(self, later: int, earlier: int) -> None:
        """Assign all masks of an object to an earlier one."""
        for stored in self._frames:
            if later in stored:
                stored.setdefault(earlier, stored.pop(later))
        if later in self.classes:
            self.classes.setdefault(earlier, self.classes.pop(later))
        self.ended.pop(earlier, None)
        if later in self.ended:
            self.ended[earlier] = self.ended.pop(later)

    def replay(self, records: TrackRecords) -> Iterator[RleMasks]:
        """The frames in order. An object is on every frame from its first to its end, visible or not."""
        first, count = self.first_frames(), len(self._frames)
        numbers = {id: number for number, id in enumerate(first, 1)}  # without gaps, as they appear
        records.classes.update({numbers[id]: name for id, name in self.classes.items() if id in numbers})
        for frame, stored in enumerate(self._frames):
            records.end(frame, *(numbers[id] for id in first if self.ended.get(id) == frame))
            ids = [id for id in first if first[id] <= frame < self.ended.get(id, count)]
            masks = self._masks(frame, ids, numbers)
            records.step(masks, [id in stored for id in ids])
            yield masks

    def _masks(self, frame: int, ids: list[int], numbers: Mapping[int, int]) -> RleMasks:
        absent = StoredMask(rle.encode(np.zeros(self._size, dtype=bool)), 0.0, ABSENT_SCORE)
        masks = [self._frames[frame].get(id, absent) for id in ids]
        return RleMasks(
            frame=frame,
            ids=tuple(numbers[id] for id in ids),
            low_res=masks_to_low_res([rle.decode(mask.code) for mask in masks], self._side),
            size=self._size,
            iou=torch.tensor([mask.iou for mask in masks], dtype=torch.float32, device="cpu"),
            score=torch.tensor([mask.score for mask in masks], dtype=torch.float32, device="cpu"),
            codes=tuple(mask.code for mask in masks),
        )
