"""Tracking the objects of a session along a path of frames, over the session's store."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from masklet.media import Frames
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.memory_store import MemoryRecord, MemoryStore, rebuild_memory
from masklet.sessions.object_state import ObjectState, SessionState
from masklet.sessions.scene_cuts import Scenes
from masklet.tracking.bank import WINDOW, MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies.recency import MemoryPolicy
from masklet.tracking.step import EncodedFrame, TrackedObject, encode_frame, encode_frames
from masklet.types import FrameFeatures


class Propagator:
    """Tracks objects, with the memory banks and policies that they need.

    A bank belongs to a state of its object. If the state changes by an undo or an edit, the bank is loaded
    from the store again.

    Args:
        model: The network.
        frames: The video.
        store: Has the session's state, and stores the results of tracking.
        cache: Caches encoded frames.
        policy: Makes an object's memory policy.
        scenes: Detects scene cuts; None for no detection.
        capacity: Memories kept for each object; None keeps all within the store's budget.
        clip_length: See `VideoSession`.
    """

    def __init__(
        self,
        model: Sam2,
        frames: Frames,
        store: MemoryStore,
        cache: FeatureCache,
        policy: Callable[[], MemoryPolicy],
        *,
        scenes: Scenes | None,
        capacity: int | None,
        clip_length: int | None,
    ) -> None:
        self.scenes, self.capacity, self.clip_length = scenes, capacity, clip_length
        self._model, self._store, self._cache, self._policy = model, store, cache, policy
        self._size, self._read = frames.size, frames.__getitem__ if scenes is None else scenes.read
        self._tracked: dict[int, tuple[ObjectState, TrackedObject]] = {}

    @property
    def tracked(self) -> Mapping[int, TrackedObject]:
        """The memory banks and policies that are loaded, by object id."""
        return {id: tracked for id, (_, tracked) in self._tracked.items()}

    @property
    def _state(self) -> SessionState:
        return self._store.history.state

    def features(self, frame: int) -> FrameFeatures:
        """The encoded frame, from the cache if possible."""
        features = self._cache.get(frame, self._model.device, self._model.dtype)
        if features is None:
            features = encode_frame(self._model, self._read(frame))
            self._cache.put(frame, features)
        return features

    def encode(self, frame: int, *, reverse: bool) -> EncodedFrame:
        """The encoded frame, for tracking in a direction."""
        return EncodedFrame(self.features(frame), frame, reverse, self.clip_length)

    def begin(self, obj: ObjectState, frame: int, *, reverse: bool | None) -> TrackedObject:
        """An object that is about to be prompted on a frame, with a copy of its bank.

        Args:
            reverse: The direction in which it was tracked there; None if it has no memory yet.
        """
        if reverse is None:
            return TrackedObject(obj.id, MemoryBank(self.capacity), self._policy())
        tracked = self.load(obj, obj, frame)
        self._refill(obj, tracked, frame, reverse=reverse)
        return TrackedObject(obj.id, tracked.bank.copy(), self._policy())

    def carry_over(self, before: ObjectState, after: ObjectState | None) -> TrackedObject | None:
        """Keep the bank of an object whose state an event changed; None if none fits.

        Args:
            before: The state that the bank must fit.
            after: The state for which it is kept; None if the object was removed.
        """
        state, tracked = self._tracked.pop(before.id, (None, None))
        if after is None or tracked is None or state is not before:
            return None
        self._tracked[before.id] = after, tracked
        return tracked

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
            objects = [obj for obj in self._state.chosen(ids) if obj.is_reached(frame, reverse=reverse)]
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
        batch = self._cache.next_batch(self._model, path)
        frames = [frame for frame in batch if not all(obj.is_fixed(frame) for obj in objects)]
        features = encode_frames(self._model, map(self._read, frames))
        for frame, encoded in zip(frames, features, strict=True):
            self._cache.put(frame, encoded)

    def _is_undecided(self, frame: int, ids: Sequence[int]) -> bool:
        """Whether the masks of some objects on a frame may still be revised."""
        return any(id in self._tracked and frame in self._tracked[id][1].undecided for id in ids)

    def _track_to(
        self, frame: int, objects: list[ObjectState], ids: tuple[int, ...] | None, *, reverse: bool
    ) -> None:
        """Track objects to one frame, and record the event."""
        store, history = self._store, self._store.history
        event = history.propagation_to(frame, ids, reverse=reverse)
        is_longer = event.start != frame
        after = history.extended(event) if is_longer else history.after(event, store.next_number)
        tracked = {obj.id: self.load(obj, after.state.objects[obj.id], frame) for obj in objects}
        self._begin_stretches(frame, objects, tracked, reverse=reverse, same_event=is_longer)
        moved = [tracked[obj.id] for obj in objects if not obj.is_fixed(frame)]
        for obj in objects:
            self._refill(after.state.objects[obj.id], tracked[obj.id], frame, reverse=reverse)
        if moved:
            track_objects(self._model, self.encode(frame, reverse=reverse), moved)
        if is_longer:
            store.extend(event)
        else:
            store.append(event)
        for propagated in moved:
            self._put(propagated, frame)
        for id, propagated in tracked.items():
            store.save_policy(propagated)
            self._tracked[id] = self._state.objects[id], propagated
        store.make_room(tracked, frame)

    def load(self, obj: ObjectState, after: ObjectState, frame: int) -> TrackedObject:
        """An object with its bank from when it was last tracked, according to `obj`.

        If it is tracked to a frame, `after` is its state then: prompts and reviewed frames are added to the
        bank.
        """
        state, tracked = self._tracked.get(obj.id, (None, None))
        if tracked is None or state is not obj:
            policy = self._store.load_policy(obj, self._policy)
        elif after is not obj and not obj.is_settled:
            policy = tracked.policy
        else:
            bank = tracked.bank
            is_fixed = after is not obj and self.capacity is None and obj.is_fixed(frame)
            if is_fixed and frame not in bank.prompted and frame not in bank.tracked:
                record = self._store.record(obj, frame)
                if record is not None and record.memory is not None:
                    bank.keep(record.memory)
            return tracked
        tracked = TrackedObject(obj.id, self._store.load_bank(after, frame), policy)
        self._tracked[obj.id] = obj, tracked
        return tracked

    def _begin_stretches(
        self,
        frame: int,
        objects: Sequence[ObjectState],
        tracked: Mapping[int, TrackedObject],
        *,
        reverse: bool,
        same_event: bool,
    ) -> None:
        """Give objects a new policy after a prompt and at a scene cut."""
        border = frame + 1 if reverse else frame
        cut = self.scenes is not None and self.scenes.begins(border)
        for obj in objects:
            if cut:
                tracked[obj.id].bank.cut(border)
            if cut or not obj.continues(frame, reverse=reverse):
                tracked[obj.id].policy, tracked[obj.id].undecided = self._policy(), ()
            elif not same_event:  # undo may go back to the policy's current state
                tracked[obj.id].policy = copy.deepcopy(tracked[obj.id].policy)

    def _put(self, tracked: TrackedObject, frame: int) -> None:
        """Store an object's newest answer, and its revised answers on earlier frames."""
        bank, state = tracked.bank, self._state.objects[tracked.id]
        revised = {at: newer for at, newer in tracked.revised.items() if not state.is_fixed(at)}
        assert tracked.last is not None
        for at, prediction in {**revised, frame: tracked.last}.items():
            record = MemoryRecord(prediction, bank.tracked.get(at), anchor=at in bank.anchors)
            self._store.put(tracked.id, at, record, tracked)

    def _refill(self, obj: ObjectState, tracked: TrackedObject, frame: int, *, reverse: bool) -> None:
        """Recompute removed memories that are about to be used."""
        bank, step = tracked.bank, 1 if reverse else -1
        window = [at for at in range(frame + WINDOW * step, frame, -step) if at not in bank.tracked]
        absent = [at for at in (*obj.conditioning, *window) if at not in bank.prompted]
        for at, compact in self._store.missing(obj, absent):
            memory = rebuild_memory(self._model, self.features(at), at, compact, self._size)
            self._store.refill(obj, memory)
            bank.keep(replace(memory, prompted=at in obj.conditioning))
