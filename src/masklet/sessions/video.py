"""Tracking in a stored video, with random access: prompts on any frame, corrections, reviews and undo."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Self

from masklet import rle
from masklet.errors import PromptError, check_count
from masklet.media import NoSuchFrame, open_frames
from masklet.model import Sam2, check_model
from masklet.prompts import check_frame, check_id, check_prompt
from masklet.results import MaskIterator
from masklet.sessions.answer import Answer, answer_prompt
from masklet.sessions.events import Cleared, Prompted, Propagated, Removed, Reviewed, SavedSession, Script
from masklet.sessions.feature_cache import GIB, FeatureCache
from masklet.sessions.memory_store import InMemoryStore, MemoryRecord, MemoryStore, rebuild_memory, to_masks
from masklet.sessions.object_state import ObjectState, SessionState, Span
from masklet.sessions.scene_cuts import Scenes
from masklet.tracking.bank import WINDOW, MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies import Policy, find_policy
from masklet.tracking.step import EncodedFrame, TrackedObject, encode_frame
from masklet.types import FrameFeatures, Masks, Prompt
from masklet.zoom import Zoom, find_zoom


class VideoSession:
    """Random access to a stored video: prompt any frame, track in both directions, correct, review, undo.

    Args:
        model: A network, as `masklet.load` returns it.
        video: A file, folder, glob, array (T, H, W, 3) or `Frames`; see `masklet.media.open_frames`.
        policy: The memory policy by its name, or what makes one for each object.
        cuts: Watch for scene cuts. Memories of another scene are looked at only if they are of prompts.
        capacity: Memories kept of each object. None keeps all that there is room for.
        budget: Bytes for answers and memories in full. Beyond it only the masks of the oldest are kept, and
            their memories are made again from masks where they are needed. Those of prompts are all kept.
        clip_length: Frames in the clip where that is below 16, as the published predictor takes it into
            account. None stands for 16 or more.
        features: Where encoded frames are kept. By default a cache of its own.
        zoom: See `ImageSession`.
        store: Where events, answers and memories are. By default in memory.

    Raises:
        MediaError: The video cannot be opened.
        MaskletError: There is no policy of this name.

    Example:
        >>> import numpy as np, torch
        >>> from masklet.config import toy
        >>> _ = torch.manual_seed(0)
        >>> model = Sam2(toy()).eval()
        >>> video = VideoSession(model, np.zeros((4, 48, 64, 3), dtype=np.uint8))
        >>> video.prompt(0, 1, Prompt(positive=[(20, 24)])).ids
        (1,)
        >>> [masks.frame for masks in video.propagate()]
        [0, 1, 2, 3]
        >>> video.review(2)
        >>> video.reviewed
        ((2, 3),)
    """

    def __init__(
        self,
        model: Sam2,
        video: object,
        *,
        policy: Policy = "recency",
        cuts: bool = False,
        capacity: int | None = None,
        budget: int = GIB,
        clip_length: int | None = None,
        features: FeatureCache | None = None,
        zoom: Zoom | bool | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.model = check_model(model)
        self.frames = open_frames(video)
        self._policy, self._policy_name = find_policy(policy), policy if isinstance(policy, str) else None
        self._scenes = Scenes(self.frames) if cuts else None
        self._read = self.frames.__getitem__ if self._scenes is None else self._scenes.read
        self._capacity = None if capacity is None else check_count(capacity, "capacity")
        self._clip_length = None if clip_length is None else check_count(clip_length, "clip_length")
        self._features, self._zoom = features or FeatureCache(), find_zoom(zoom, default=model.config.zoom)
        self._store = store or InMemoryStore(self.frames.size, budget, capacity)
        self._video = str(Path(video).resolve()) if isinstance(video, str | Path) else None
        self._tracked: dict[int, tuple[ObjectState, TrackedObject]] = {}  # banks and policies in use

    @property
    def script(self) -> Script:
        """The events of the session, without those that were taken back."""
        return self._store.history.script

    @property
    def state(self) -> SessionState:
        """What the events come to: prompts, tracked and reviewed frames of each object."""
        return self._store.history.state

    @property
    def ids(self) -> tuple[int, ...]:
        """The session's objects, in the order in which they were first prompted."""
        return tuple(self.state.objects)

    @property
    def answered(self) -> tuple[int, ...]:
        """The frames on which there are masks, in order."""
        return tuple(frame for span in self.state.answered for frame in range(*span))

    @property
    def reviewed(self) -> tuple[Span, ...]:
        """The frames that are marked as reviewed, as (start, stop) spans, in order."""
        return self.state.reviewed

    @property
    def tracked(self) -> Mapping[int, TrackedObject]:
        """The memory banks and policies that are loaded, by object id; to be read."""
        return MappingProxyType({id: tracked for id, (_, tracked) in self._tracked.items()})

    def features(self, frame: int) -> FrameFeatures:
        """The encoded frame. It is kept, so that later prompts on it are answered at once."""
        features = self._features.get(frame, self.model.device, self.model.dtype)
        if features is None:
            features = encode_frame(self.model, self._read(frame))
            self._features.put(frame, features)
        return features

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        """Prompt an object on a frame, or correct its mask there. Tracking keeps the answer.

        Clicks add to those given there before, and start from the mask that is there.

        Args:
            frame: From 0.
            id: From 1; a new number makes a new object.
            prompt: In source pixels.

        Returns:
            All masks on this frame.

        Raises:
            PromptError: The prompt does not fit the frame, or the id is not one.
            NoSuchFrame: The video has no such frame.
        """
        self.answer(frame, id, prompt)
        return self.masks(frame)

    def answer(self, frame: int, id: int, prompt: Prompt) -> Answer:
        """The same, with all that the network has to say: the masks that a click may mean, best first."""
        frame, id, size = check_frame(frame), check_id(id), self.frames.size
        event = Prompted(frame, id, check_prompt(prompt, size))
        features = self.features(frame)
        obj = self.state.objects.get(id) or ObjectState(id, self._store.next_number)
        earlier, prompt = self._store.prompt(obj, frame), event.prompt
        if earlier is not None and prompt.mask is None:
            prompt = earlier | prompt
        record = self._store.records(obj, [frame]).get(frame)
        reverse = obj.direction(frame)
        bank = MemoryBank(self._capacity)
        if reverse is not None:
            tracked = self._load(obj, obj, frame)
            self._refill(obj, tracked, frame, reverse=reverse)
            bank = tracked.bank.copy()
        answer = answer_prompt(
            self.model,
            EncodedFrame(features, frame, bool(reverse), self._clip_length),
            prompt,
            TrackedObject(id, bank, self._policy()),
            size,
            partial(self.frames.__getitem__, frame),
            before=None if record is None else to_masks(frame, {id: record}, size, self.model),
            tracked=reverse is not None and any(other != frame for other in obj.prompts),
            alone=reverse is None,
            zoom=self._zoom,
        )
        exact = None if answer.exact is None else rle.encode(answer.exact)["counts"]
        before = self._tracked.get(id)
        self._store.append(event)
        self._store.put(id, frame, MemoryRecord(answer.prediction, answer.memory, exact))
        if before is not None and before[0] is obj:
            self._tracked[id] = self.state.objects[id], before[1]
        return answer

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        *,
        reverse: bool = False,
        objects: Collection[int] | None = None,
    ) -> MaskIterator:
        """Track objects, frame by frame, and yield their masks on each frame as it is done.

        An object appears from its first prompt in the direction of travel. Prompted and reviewed frames keep
        their masks.

        Args:
            start: The first frame. By default the first prompted one; in reverse, the last.
            stop: The frame just behind the last, as in `range`. By default the video's end; in reverse, its
                beginning.
            reverse: Track backward.
            objects: The ids of those to track, while the others keep what they have. By default all.

        Raises:
            PromptError: No object has a prompt yet, or there is no such object.
            NoSuchFrame: The video has no frame `start`.
        """
        ids = None if objects is None else tuple(sorted({self._existing(id) for id in objects}))
        prompted = sorted({frame for obj in self.state.chosen(ids) for frame in obj.prompts})
        if not prompted:
            raise PromptError(
                "tracking needs at least one prompt: video.prompt(0, 1, Prompt(positive=[(x, y)]))."
            )
        count = len(self.frames)
        first = (prompted[-1] if reverse else prompted[0]) if start is None else check_frame(start)
        end = (-1 if reverse else count) if stop is None else check_frame(stop)
        if not 0 <= first < count:
            raise NoSuchFrame(self.frames.name, first, count)
        path = range(first, max(end, -1), -1) if reverse else range(first, min(end, count))
        return MaskIterator(self._propagate(path, ids, reverse=reverse), len(path))

    def masks(self, frame: int, *, objects: Collection[int] | None = None) -> Masks:
        """The masks that a frame has now, prompted or tracked. The model does not run.

        Args:
            frame: From 0.
            objects: The ids of those to show, as far as they have masks there. By default all.

        Raises:
            NoSuchFrame: The video has no such frame.
        """
        if not 0 <= (frame := check_frame(frame)) < len(self.frames):
            raise NoSuchFrame(self.frames.name, frame, len(self.frames))
        records = {
            obj.id: record
            for obj in self.state.chosen(objects)
            if (record := self._store.records(obj, [frame]).get(frame)) is not None
        }
        return to_masks(frame, records, self.frames.size, self.model, partial(self.frames.__getitem__, frame))

    def clear(self, frame: int, id: int) -> None:
        """Take back an object's prompts on a frame. An object without prompts is removed.

        Raises:
            PromptError: The object has no prompt there.
        """
        obj = self.state.objects.get(id := check_id(id))
        if obj is None or (frame := check_frame(frame)) not in obj.prompts:
            frames = ", ".join(map(str, sorted(obj.prompts))) if obj is not None else ""
            where = f"It has prompts on frames {frames}." if frames else "It has none at all."
            raise PromptError(f"object {id} has no prompt on frame {frame}. {where}")
        self._store.append(Cleared(frame, id))
        left = self.state.objects.get(id)
        self._store.end(id, None if left is None else frame)
        state, tracked = self._tracked.pop(id, (None, None))
        if left is not None and tracked is not None and state is obj:
            tracked.bank.forget(frame)
            self._tracked[id] = left, tracked

    def remove(self, id: int) -> None:
        """Remove an object with all its prompts and masks.

        Raises:
            PromptError: There is no such object.
        """
        id = self._existing(id)
        self._store.append(Removed(id))
        self._store.end(id, None)
        self._tracked.pop(id, None)

    def review(self, start: int, stop: int | None = None, *, reviewed: bool = True) -> None:
        """Mark frames as reviewed: tracking keeps the masks that they have, and remembers them as prompts.

        Prompts on a reviewed frame still change it. Objects that have no mask there may get one later.

        Args:
            start: The first frame.
            stop: The frame just behind the last; by default there is one frame.
            reviewed: False takes the mark back.

        Raises:
            NoSuchFrame: The video has no such frames.
        """
        first = check_frame(start)
        end = first + 1 if stop is None else check_frame(stop)
        count = len(self.frames)
        if not 0 <= first < end <= count:
            raise NoSuchFrame(self.frames.name, first if not 0 <= first < count else end - 1, count)
        self._store.append(Reviewed(first, end, reviewed))

    def undo(self) -> None:
        """Go back to before the last prompt, clearing, removal or review, and what was tracked since.

        Raises:
            PromptError: There is nothing to undo.
        """
        if not self._in_memory.undo():
            raise PromptError("there is nothing to undo: nothing was prompted, cleared, removed or reviewed.")

    def redo(self) -> None:
        """Go forward to where the last `undo` came from. What is done after an undo ends that.

        Raises:
            PromptError: There is nothing to redo.
        """
        if not self._in_memory.redo():
            raise PromptError("there is nothing to redo: nothing was undone, or something was done since.")

    def replay(self, script: Script) -> Self:
        """Do all that a script says."""
        for event in Script.check(script).events:
            match event:
                case Prompted(frame, id, prompt):
                    self.prompt(frame, id, prompt)
                case Cleared(frame, id):
                    self.clear(frame, id)
                case Removed(id):
                    self.remove(id)
                case Propagated(start, stop, reverse, objects):
                    for _ in self.propagate(start, stop, reverse=reverse, objects=objects):
                        pass
                case Reviewed(start, stop, reviewed):
                    self.review(start, stop, reviewed=reviewed)
        return self

    def save(self, path: str | Path) -> None:
        """Write the session as JSON: the video's place and the script, from which all else is made again."""
        numbers, policy = (self._clip_length, self._capacity), (self._policy_name, self._scenes is not None)
        SavedSession(self._video, self.frames.size, *numbers, self.script, *policy).write(path)

    @classmethod
    def restore(
        cls,
        model: Sam2,
        path: str | Path,
        video: object = None,
        *,
        policy: Policy | None = None,
        features: FeatureCache | None = None,
    ) -> VideoSession:
        """Open a saved session and do again what was done in it.

        Args:
            model: The network that the session was made with; another one gives other masks.
            path: What `save` wrote.
            video: Where the video is now, if it has moved, or was not a file.
            policy: The memory policy, if it was not one that has a name.
            features: Where encoded frames are kept.

        Raises:
            MediaError: There is no such file, or the video is not the one that the session was made on.
            MaskletError: The file is not a saved session.
        """
        saved = SavedSession.read(path)
        session = cls(
            model,
            saved.source(video),
            policy=saved.policy_or(policy),
            cuts=saved.cuts,
            capacity=saved.capacity,
            clip_length=saved.clip_length,
            features=features,
        )
        saved.check(session.frames)
        return session.replay(saved.script)

    @property
    def _in_memory(self) -> InMemoryStore:
        assert isinstance(self._store, InMemoryStore)  # other stores move their own position
        return self._store

    def _existing(self, id: int) -> int:
        if (id := check_id(id)) not in self.state.objects:
            there = ", ".join(map(str, self.ids)) or "none"
            raise PromptError(f"there is no object {id}. There are: {there}.")
        return id

    def _propagate(self, path: range, ids: tuple[int, ...] | None, *, reverse: bool) -> Iterator[Masks]:
        delayed: deque[tuple[int, tuple[int, ...]]] = deque()  # frames not decided yet, and their objects
        for frame in path:
            objects = [obj for obj in self.state.chosen(ids) if obj.is_reached(frame, reverse=reverse)]
            if objects:
                self._encode_ahead(path[path.index(frame) :], objects)
                try:
                    self._propagate_to(frame, objects, ids, reverse=reverse)
                except BaseException:
                    self._tracked.clear()  # what is half done is loaded again
                    raise
            delayed.append((frame, tuple(obj.id for obj in objects)))
            while delayed and not self._is_undecided(*delayed[0]):
                decided, ids_there = delayed.popleft()
                yield self.masks(decided, objects=ids_there)
        for decided, ids_there in delayed:
            yield self.masks(decided, objects=ids_there)

    def _encode_ahead(self, path: range, objects: Sequence[ObjectState]) -> None:
        """Encode the next frames of a path in one call, where the backend gains by it."""
        batch = self._features.next_batch(self.model, path)
        frames = [frame for frame in batch if not all(obj.is_fixed(frame) for obj in objects)]
        self._features.encode(self.model, frames, self._read)

    def _is_undecided(self, frame: int, ids: Sequence[int]) -> bool:
        """Whether the masks of some objects on a frame may still be revised."""
        return any(id in self._tracked and frame in self._tracked[id][1].undecided for id in ids)

    def _propagate_to(
        self, frame: int, objects: list[ObjectState], ids: tuple[int, ...] | None, *, reverse: bool
    ) -> None:
        """Track objects to one frame, and write down that they were."""
        store, history = self._store, self._store.history
        event = history.propagation_to(frame, ids, reverse=reverse)
        is_longer = event.start != frame
        after = history.extended(event) if is_longer else history.after(event, store.next_number)
        tracked = {obj.id: self._load(obj, after.state.objects[obj.id], frame) for obj in objects}
        self._begin_stretches(frame, objects, tracked, reverse=reverse, same_event=is_longer)
        moved = [tracked[obj.id] for obj in objects if not obj.is_fixed(frame)]
        for obj in objects:
            self._refill(after.state.objects[obj.id], tracked[obj.id], frame, reverse=reverse)
        if moved:
            encoded = EncodedFrame(self.features(frame), frame, reverse, self._clip_length)
            track_objects(self.model, encoded, moved)
        if is_longer:
            store.extend(event)
        else:
            store.append(event)
        for propagated in moved:
            self._put(propagated, frame)
        for id, propagated in tracked.items():
            store.save_policy(propagated)
            self._tracked[id] = self.state.objects[id], propagated
        store.make_room(tracked, frame)

    def _load(self, obj: ObjectState, after: ObjectState, frame: int) -> TrackedObject:
        """An object with its bank as it was when it was last tracked, which `obj` itself says.

        Where it is tracked to a frame, `after` says what it is then: prompts and reviewed frames join it.
        """
        state, tracked = self._tracked.get(obj.id, (None, None))
        if tracked is None or state is not obj:
            policy = self._store.load_policy(obj, self._policy)
        elif after is not obj and not obj.is_settled:
            policy = tracked.policy
        else:
            bank = tracked.bank
            is_fixed = after is not obj and self._capacity is None and obj.is_fixed(frame)
            if is_fixed and frame not in bank.prompted and frame not in bank.tracked:
                record = self._store.records(obj, [frame]).get(frame)
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
        """Give objects a new policy where a stretch begins: after a prompt, and at a cut between scenes."""
        border = frame + 1 if reverse else frame
        cut = self._scenes is not None and self._scenes.begins(border)
        for obj in objects:
            if cut:
                tracked[obj.id].bank.cut(border)
            if cut or not obj.continues(frame, reverse=reverse):
                tracked[obj.id].policy, tracked[obj.id].undecided = self._policy(), ()
            elif not same_event:  # an undo may go back to the policy as it is now
                tracked[obj.id].policy = copy.deepcopy(tracked[obj.id].policy)

    def _put(self, tracked: TrackedObject, frame: int) -> None:
        """Keep an object's newest answer, and those on earlier frames that it revised."""
        bank, state = tracked.bank, self.state.objects[tracked.id]
        revised = {at: newer for at, newer in tracked.revised.items() if not state.is_fixed(at)}
        assert tracked.last is not None
        for at, prediction in {**revised, frame: tracked.last}.items():
            record = MemoryRecord(prediction, bank.tracked.get(at), anchor=at in bank.anchors)
            self._store.put(tracked.id, at, record, tracked)

    def _refill(self, obj: ObjectState, tracked: TrackedObject, frame: int, *, reverse: bool) -> None:
        """Make the memories again that are about to be looked at, where there was no room for them."""
        bank, step = tracked.bank, 1 if reverse else -1
        window = [at for at in range(frame + WINDOW * step, frame, -step) if at not in bank.tracked]
        absent = [at for at in (*obj.conditioning, *window) if at not in bank.prompted]
        for at, compact in self._store.missing(obj, absent):
            memory = rebuild_memory(self.model, self.features(at), at, compact, self.frames.size)
            self._store.refill(obj, memory)
            bank.keep(replace(memory, prompted=at in obj.conditioning))
