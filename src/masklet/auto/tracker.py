"""Objects that are found without a prompt and tracked in constant memory, with a record of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from masklet.auto.detections import Detection, Detector
from masklet.auto.generator import generate_segments
from masklet.auto.grid import Grid
from masklet.auto.segments import Segments
from masklet.errors import check_count
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.tracker import Tracker
from masklet.sessions.visibility import VisibilityMonitor
from masklet.tracking.policies import Policy
from masklet.tracking.step import encode_frame
from masklet.types import FrameFeatures, Masks, Prompt

SAME = 0.5  # IoU from which two masks belong to one object
MAX_COVERED = 0.5  # fraction of a new mask that tracked objects may cover
SMALLEST = 1 / 1000  # fraction of the frame: smaller objects cannot be tracked
BACKGROUND = 0.5  # fraction of the frame: larger masks come last, since they would cover objects in front

# Limits on the transitions of an object and on ended objects, so that a stream's record does not grow.
MAX_RECORDS = 1000
Transition = tuple[int, Literal["lost", "found"]]


@dataclass(frozen=True)
class TrackerLimits:
    """When to look for new objects, and how long to wait for lost ones.

    Attributes:
        every: Frames from one key frame to the next.
        patience: Frames after which a lost object is dropped.
        max_objects: Tracked at a time.
    """

    every: int
    patience: int
    max_objects: int

    def __post_init__(self) -> None:
        for name in ("every", "patience", "max_objects"):
            check_count(getattr(self, name), name)


class AutoTracker:
    """A tracker that finds its objects.

    Args:
        source: The source of new objects: the grid, or a detector.
        cuts: See `Tracker`.
        cache: Caches the encoded frames for a second pass; None for a stream.
    """

    def __init__(
        self,
        model: Sam2,
        source: Grid | Detector,
        limits: TrackerLimits,
        policy: Policy,
        *,
        cuts: bool = False,
        cache: FeatureCache | None = None,
    ) -> None:
        self.records = TrackRecords()
        self._model = model
        self._source = source
        self._limits = limits
        self._tracker = Tracker(model, policy=policy, cuts=cuts)
        self._cache = cache
        self._encoded: tuple[int, FrameFeatures | None] = -1, None  # the frame that was encoded last
        self._masks: Masks | None = None  # masks of the previous frame
        self._next_id = 1

    def step(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        """Process the next frame; on a key frame, add new objects."""
        frame = self._tracker.frame
        prompts = self._find_new(frame, image)
        features = self._encode(frame, image) if prompts or self._tracker.ids else None
        masks = self._tracker.step(image, prompts, features=features)
        if prompts:
            masks = self._drop(masks, find_duplicates(masks), frame)
        self.records.step(masks, has_mask(masks).tolist())
        masks = self._drop(masks, self._find_lost(masks), frame)
        self._masks = masks
        return masks

    def _find_new(self, frame: int, image: np.ndarray) -> dict[int, Prompt]:
        count = self._limits.max_objects - len(self._tracker.ids)
        if frame % self._limits.every or count < 1:
            return {}
        if isinstance(self._source, Grid):
            features = self._encode(frame, image)
            segments = find_new_objects(self._model, image, features, self._source, self._masks, count)
            found = [Detection(prompt) for prompt in segments]
        else:
            found = self._source(frame, (image.shape[0], image.shape[1])) or []
        new = dict(enumerate(found, self._next_id))
        self._next_id += len(new)
        self.records.classes.update(
            {id: detection.category for id, detection in new.items() if detection.category}
        )
        return {id: detection.prompt for id, detection in new.items()}

    def _encode(self, frame: int, image: np.ndarray) -> FrameFeatures:
        """Encode a frame once, for the grid and for the tracker."""
        encoded_frame, features = self._encoded
        if features is None or encoded_frame != frame:
            features = encode_frame(self._model, image)
            self._encoded = frame, features
            if self._cache is not None:
                self._cache.put(frame, features, self._model)
        return features

    def _drop(self, masks: Masks, ids: list[int], frame: int) -> Masks:
        if not ids:
            return masks
        self._tracker.forget(*ids)
        self.records.end(frame, *ids)
        return masks.select(*(id for id in masks.ids if id not in ids))

    def _find_lost(self, masks: Masks) -> list[int]:
        """Objects that have been lost for too long."""
        records = [(id, self.records.by_id[id]) for id in masks.ids if id in self.records.by_id]
        return [
            id
            for id, record in records
            if record.is_lost and masks.frame - record.transitions[-1][0] >= self._limits.patience
        ]


def find_new_objects(
    model: Sam2,
    image: UInt8[np.ndarray, "H W 3"],
    features: FrameFeatures,
    grid: Grid,
    tracked: Masks | None,
    count: int,
) -> list[Prompt]:
    """At most `count` masks of objects that are not tracked yet, the largest with the highest IoU first.

    Args:
        features: Of the image.
        tracked: The masks of tracked objects on the previous frame.
    """
    size = image.shape[0], image.shape[1]
    covered = np.zeros(size, dtype=bool)
    for _, mask in tracked.items() if tracked is not None else ():
        covered |= mask
    segments = generate_segments(model, image, grid, allowed=~covered, features=features)
    prompts: list[Prompt] = []
    for row in _rank(segments):
        mask = segments[segments.ids[row]]
        if len(prompts) < count and (mask & covered).sum() < MAX_COVERED * mask.sum():
            prompts.append(Prompt(mask=mask))
            covered |= mask
    return prompts


def _rank(segments: Segments) -> list[int]:
    """Rows, the largest with the highest IoU first, backgrounds last; specks are left out."""
    shares = segments.areas / (segments.size[0] * segments.size[1])
    scores = shares * segments.iou.cpu().numpy() - (shares > BACKGROUND)
    return [row for row in np.argsort(-scores, kind="stable").tolist() if shares[row] >= SMALLEST]


def has_mask(masks: Masks) -> Bool[np.ndarray, " n"]:
    """Whether each object has a mask."""
    if not len(masks):
        return np.zeros(0, dtype=bool)
    return (masks.low_res.flatten(1).amax(dim=1) > 0).cpu().numpy()


def find_duplicates(masks: Masks) -> list[int]:
    """Ids of objects whose mask is that of an earlier object."""
    if len(masks) < 2:
        return []
    same = pairwise_mask_iou(masks.low_res > 0) >= SAME
    return [id for row, id in enumerate(masks.ids) if same[row, :row].any()]


def pairwise_mask_iou(masks: Bool[Tensor, "n h w"]) -> Float[Tensor, "n n"]:
    """IoU of all pairs of masks; 0 for two empty masks."""
    flat = masks.flatten(1).float()
    with torch.autocast(flat.device.type, enabled=False):  # bfloat16 could not count pixels
        shared, area = flat @ flat.T, flat.sum(dim=1)
    return shared / (area[:, None] + area[None] - shared).clamp(min=1)


@dataclass
class TrackRecord:
    """One object's record.

    Attributes:
        id: The object.
        first: The first frame with a mask of it.
        last: The last frame with one.
        visible: The number of frames with one.
        transitions: (frame, "lost" or "found"), in order; the newest thousand.
        ended: The frame on which it was dropped; None if it was tracked to the end.
        category: Its class, if it started with a detection that has one.
    """

    id: int
    first: int
    last: int = -1
    visible: int = 0
    transitions: deque[Transition] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS))
    ended: int | None = None
    category: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it was not visible on the newest frame."""
        return bool(self.transitions) and self.transitions[-1][1] == "lost"

    def to_json(self) -> dict[str, object]:
        """A plain dict that `json` writes."""
        return {
            "id": self.id,
            "first": self.first,
            "last": self.last,
            "visible": self.visible,
            "transitions": [list(transition) for transition in self.transitions],
            "ended": self.ended,
            "class": self.category,
        }


class TrackRecords:
    """The records of all objects by id, updated frame by frame.

    Attributes:
        classes: The classes of objects with a record.
    """

    def __init__(self) -> None:
        self.by_id: dict[int, TrackRecord] = {}
        self.classes: dict[int, str] = {}
        self._monitor = VisibilityMonitor()
        self._ended: deque[int] = deque()

    def step(self, masks: Masks, visible: Sequence[bool]) -> None:
        """Record the next frame, and which of its objects have a mask."""
        for id, is_visible in zip(masks.ids, visible, strict=True):
            if is_visible:
                new = TrackRecord(id, masks.frame, category=self.classes.get(id))
                record = self.by_id.setdefault(id, new)
                record.last, record.visible = masks.frame, record.visible + 1
        for event in self._monitor.step(masks):
            if event.id in self.by_id and event.kind in ("lost", "found"):
                self.by_id[event.id].transitions.append((event.since, event.kind))

    def end(self, frame: int, *ids: int) -> None:
        """Record that objects were dropped on a frame. One that never had a mask has no record."""
        self._monitor.forget(*ids)
        for id in ids:
            if id in self.by_id:
                self.by_id[id].ended = frame
                self._ended.append(id)
            else:
                self.classes.pop(id, None)
        while len(self._ended) > MAX_RECORDS:
            oldest = self._ended.popleft()
            self.by_id.pop(oldest)
            self.classes.pop(oldest, None)
