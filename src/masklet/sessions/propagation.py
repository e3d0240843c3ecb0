"""Tracking the objects of a session along a path of frames, over the session's store."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.memory_store import CompactAnswer, MemoryRecord, MemoryStore
from masklet.sessions.object_state import BankState, ObjectState
from masklet.sessions.scene_cuts import Scenes
from masklet.tracking.bank import WINDOW, MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import (
    EncodedFrame,
    TrackedObject,
    encode_frame,
    encode_frames,
    make_memories,
)
from masklet.transforms import mask_to_square
from masklet.types import Memory


@dataclass(eq=False)
class Propagator:
    """Tracks objects, with the memory banks and policies that they need.

    A loaded bank belongs to a `BankState`. If an object gets another one by an undo or an edit, its bank is
    loaded from the store again.

    Attributes:
        store: Has the session's state, and stores the results of tracking.
        cache: Caches encoded frames.
        policy: Makes an object's memory policy.
        scenes: Detects scene cuts; None for no detection.
        capacity: Memories kept for each object; None keeps all within the store's budget.
        clip_length: See `VideoSession`.
    """

    model: Sam2
    frames: Frames
    store: MemoryStore
    cache: FeatureCache
    policy: Callable[[], MemoryPolicy]
    scenes: Scenes | None
    capacity: int | None
    clip_length: int | None
    _tracked: dict[int, tuple[BankState, TrackedObject]] = field(default_factory=dict, init=False)

    @property
    def tracked(self) -> Mapping[int, TrackedObject]:
        """The memory bank and policy of each object, by id. Those that are not loaded are loaded."""
        objects = self.store.history.state.objects.values()
        return {obj.id: self.load(obj, obj, obj.position[0] if obj.position else 0) for obj in objects}

    def _read(self, frame: int) -> np.ndarray:
        return self.frames[frame] if self.scenes is None else self.scenes.read(frame)

    def encode(self, frame: int, *, reverse: bool = False) -> EncodedFrame:
        """A frame with its features, from the cache if possible, for tracking in a direction."""
        features = self.cache.get(frame, self.model)
        if features is None:
            features = encode_frame(self.model, self._read(frame))
            self.cache.put(frame, features, self.model)
        return EncodedFrame(features, frame, reverse, self.clip_length)

    def begin(self, obj: ObjectState, frame: int, *, reverse: bool | None) -> TrackedObject:
        """An object that is about to be prompted on a frame, with a copy of its bank.

        Args:
            reverse: The direction in which it was tracked there; None if it has no memory yet.
        """
        if reverse is None:
            return TrackedObject(obj.id, MemoryBank(self.capacity), self.policy())
        tracked = self.load(obj, obj, frame)
        self._refill(obj, tracked.bank, frame, reverse=reverse)
        return TrackedObject(obj.id, tracked.bank.copy(), self.policy())

    def forget(self, id: int) -> None:
        """Drop the bank of an object, after an edit that changed it."""
        self._tracked.pop(id, None)

    def run(
        self, path: range, ids: tuple[int, ...] | None, *, reverse: bool
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Track objects along a path. Yields each frame with final masks, and its objects.

        Args:
            path: The frames, in the order of tracking.
            ids: The objects; None for all.
            reverse: Whether the path goes backward.
        """
        delayed: deque[tuple[int, tuple[int, ...]]] = deque()  # frames without final masks, and their objects
        for frame in path:
            objects = [
                obj for obj in self.store.history.state.chosen(ids) if obj.is_reached(frame, reverse=reverse)
            ]
            if objects:
                self._encode_ahead(path[path.index(frame) :], objects)
                try:
                    self._track_to(frame, objects, ids, reverse=reverse)
                except BaseException:
                    self._tracked.clear()  # load unfinished objects again
                    raise
            delayed.append((frame, tuple(obj.id for obj in objects)))
            while delayed and not self._is_undecided(*delayed[0]):
                yield delayed.popleft()
        yield from delayed

    def _encode_ahead(self, path: range, objects: Sequence[ObjectState]) -> None:
        """Encode the next frames of a path in one call, if that is faster with the backend."""
        batch = self.cache.next_batch(self.model, path)
        frames = [frame for frame in batch if not all(obj.is_fixed(frame) for obj in objects)]
        features = encode_frames(self.model, map(self._read, frames))
        for frame, encoded in zip(frames, features, strict=True):
            self.cache.put(frame, encoded, self.model)

    def _is_undecided(self, frame: int, ids: Sequence[int]) -> bool:
        """Whether the masks of some objects on a frame may still be revised."""
        return any(id in self._tracked and frame in self._tracked[id][1].undecided for id in ids)

    def _track_to(
        self, frame: int, objects: list[ObjectState], ids: tuple[int, ...] | None, *, reverse: bool
    ) -> None:
        """Track objects to one frame, and record the event."""
        store, history = self.store, self.store.history
        after = history.track_to(frame, ids, reverse=reverse)
        is_longer = after.number == history.number
        border = frame + 1 if reverse else frame  # a cut lies before the first frame of the later scene
        cut = border if self.scenes is not None and self.scenes.begins(border) else None
        tracked: dict[int, TrackedObject] = {}
        for obj in objects:
            then, continues = after.state.objects[obj.id], obj.continues(frame, reverse=reverse)
            tracked[obj.id] = self.load(obj, then, frame)
            self._begin_stretch(tracked[obj.id], cut, continues=continues, same_event=is_longer)
            self._refill(then, tracked[obj.id].bank, frame, reverse=reverse)
        moved = [tracked[obj.id] for obj in objects if not obj.is_fixed(frame)]
        if moved:
            track_objects(self.model, self.encode(frame, reverse=reverse), moved)
        store.advance(after)
        for propagated in moved:
            self._put(propagated, frame)
        for id, propagated in tracked.items():
            store.save_policy(propagated)
            self._tracked[id] = self.store.history.state.objects[id].bank, propagated
        store.make_room(tracked, frame)

    def load(self, obj: ObjectState, after: ObjectState, frame: int) -> TrackedObject:
        """An object with its bank from when it was last tracked, according to `obj`.

        If it is tracked to a frame, `after` is its state then: prompts and reviewed frames are added to the
        bank.
        """
        state, tracked = self._tracked.get(obj.id, (None, None))
        if tracked is None or state is not obj.bank or (after is not obj and not obj.is_settled):
            bank, policy = self.store.load_bank(after, frame), self.store.load_policy(obj, self.policy)
            tracked = TrackedObject(obj.id, bank, policy)
            self._tracked[obj.id] = obj.bank, tracked
        elif after is not obj and self.capacity is None and obj.is_fixed(frame):
            bank = tracked.bank
            is_there = frame in bank.prompted or frame in bank.tracked
            record = None if is_there else self.store.record(obj, frame)
            if record is not None and record.memory is not None:
                bank.keep(record.memory)
        return tracked

    def _begin_stretch(
        self, tracked: TrackedObject, cut: int | None, *, continues: bool, same_event: bool
    ) -> None:
        """Give an object a new policy after a prompt and at a scene cut."""
        if cut is not None:
            tracked.bank.cut(cut)
        if cut is not None or not continues:
            tracked.policy, tracked.undecided = self.policy(), ()
        elif not same_event:  # undo may go back to the policy as it is now
            tracked.policy = copy.deepcopy(tracked.policy)

    def _put(self, tracked: TrackedObject, frame: int) -> None:
        """Store an object's newest answer, and its revised answers on earlier frames."""
        bank, state = tracked.bank, self.store.history.state.objects[tracked.id]
        revised = {at: newer for at, newer in tracked.revised.items() if not state.is_fixed(at)}
        assert tracked.last is not None
        for at, prediction in {**revised, frame: tracked.last}.items():
            record = MemoryRecord(prediction, bank.tracked.get(at), anchor=at in bank.anchors)
            self.store.put(tracked.id, at, record, tracked)

    def _refill(self, obj: ObjectState, bank: MemoryBank, frame: int, *, reverse: bool) -> None:
        """Recompute removed memories that are about to be used: of prompts, and of the frames just before."""
        direction = -1 if reverse else 1
        reach = range(frame - WINDOW * direction, frame, direction)
        window = [at for at in reach if at not in bank.tracked and obj.direction(at) is not None]
        absent = [at for at in (*obj.bank.conditioning, *window) if at not in bank.prompted]
        if absent:
            self.store.refill(obj, bank, absent, self._rebuild_memory)

    @torch.inference_mode()
    def _rebuild_memory(self, frame: int, answer: CompactAnswer, mask: np.ndarray) -> Memory:
        """A memory to replace one that was removed, made as if a user had drawn the mask."""
        encoded, square = self.encode(frame), mask_to_square(mask, self.model.config.image_size)
        adopted = self.model.adopt(encoded.features, square.to(self.model.device))
        iou, score = torch.full_like(adopted.iou, answer.iou), torch.full_like(adopted.score, answer.score)
        adopted = replace(adopted, iou=iou, score=score)
        (memory,) = make_memories(self.model, encoded, adopted, prompted=True, reads=False)
        return replace(memory, prompted=False)
