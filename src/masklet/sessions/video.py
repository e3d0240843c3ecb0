"""Tracking in a stored video, with random access: prompts on any frame, corrections, reviews and undo."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from masklet import rle
from masklet.errors import PromptError, check_count
from masklet.masks import MaskIterator
from masklet.media import NoSuchFrame, open_frames
from masklet.model import Sam2, check_model
from masklet.prompts import check_frame, check_id, check_ids, check_prompt
from masklet.sessions.answer import Answer, PreparedPrompt
from masklet.sessions.events import Cleared, Prompted, Propagated, Removed, Reviewed, Script
from masklet.sessions.feature_cache import GIB, FeatureCache, PreviewKey
from masklet.sessions.image import ImageSession
from masklet.sessions.memory_store import InMemoryStore, MemoryRecord, MemoryStore, to_masks
from masklet.sessions.object_state import ObjectState, SessionState, Span
from masklet.sessions.propagation import Propagator
from masklet.sessions.saved import UNBOUNDED, SavedSession, locate_video, saved_zoom
from masklet.sessions.scene_cuts import Scenes
from masklet.tracking.policies import Policy, find_policy
from masklet.tracking.step import TrackedObject, track_frame
from masklet.types import FrameFeatures, ImageCandidates, Masks, Prompt
from masklet.zoom import Zoom, find_zoom


class VideoSession:
    """A session on a stored video: prompt any frame, track in both directions, correct, review, undo.

    Args:
        model: A network, as `masklet.load` returns it.
        video: A file, folder, glob, array (T, H, W, 3) or `Frames`; see `masklet.media.open_frames`.
        policy: The name of a memory policy, or a callable that makes one for each object.
        cuts: Detect scene cuts. From other scenes, only the memories of prompts are used.
        capacity: Memories to keep for each object. None keeps as many as `budget` allows.
        budget: Bytes for answers and memories. Beyond it, only the masks of the oldest frames are kept, and
            their memories are recomputed from the masks when needed. Memories of prompts are always kept.
        clip_length: The number of frames in the clip, if below 16: the published predictor scales the ages of
            object pointers by it. None means 16 or more.
        features: The cache of encoded frames. By default, a new one.
        zoom: See `ImageSession`.
        store: The store of events, answers and memories. By default, in memory.

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
        budget: float = GIB,
        clip_length: int | None = None,
        features: FeatureCache | None = None,
        zoom: Zoom | bool | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.model = check_model(model)
        self.frames = open_frames(video)
        self._cache = features or FeatureCache()
        self._cache.check_video(self.frames)
        self._zoom = find_zoom(zoom, default=model.config.zoom, frames=True)
        self._store = store or InMemoryStore(self.frames.size, budget, capacity)
        self._budget = float(budget)
        self._propagator = Propagator(
            model,
            self.frames,
            self._store,
            self._cache,
            find_policy(policy),
            scenes=Scenes(self.frames) if cuts else None,
            capacity=None if capacity is None else check_count(capacity, "capacity"),
            clip_length=None if clip_length is None else check_count(clip_length, "clip_length"),
        )
        self._policy_name = policy if isinstance(policy, str) else None
        self._video = locate_video(video)

    @property
    def script(self) -> Script:
        """The events of the session, without undone ones."""
        return self._store.history.script

    @property
    def state(self) -> SessionState:
        """The result of the events: prompts, tracked and reviewed frames of each object."""
        return self._store.history.state

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects, in the order in which they were first prompted."""
        return tuple(self.state.objects)

    @property
    def answered(self) -> tuple[int, ...]:
        """The frames that have masks, in order."""
        return tuple(frame for span in self.state.answered for frame in range(*span))

    @property
    def reviewed(self) -> tuple[Span, ...]:
        """The reviewed frames, as (start, stop) spans, in order."""
        return self.state.reviewed

    @property
    def tracked(self) -> Mapping[int, TrackedObject]:
        """The memory bank and policy of each object, by id, as of its last tracking. Do not change them."""
        return self._propagator.tracked

    def features(self, frame: int) -> FrameFeatures:
        """Encode a frame, or return its cached features. Later prompts on it are then answered at once.

        Args:
            frame: From 0.
        """
        return self._propagator.encode(frame).features

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        """Prompt an object on a frame, or correct its mask. Tracking keeps the answer.

        Clicks are added to earlier clicks on the frame, and start from its current mask.

        Args:
            frame: From 0.
            id: From 1 on; a new number creates a new object.
            prompt: In source pixels.

        Returns:
            All masks on this frame.

        Raises:
            PromptError: The prompt does not fit the frame, or the id is not valid.
            NoSuchFrame: The video has no such frame.
        """
        self.answer(frame, id, prompt)
        return self._masks(int(frame), None)

    def answer(self, frame: int, id: int, prompt: Prompt) -> Answer:
        """Prompt an object as `prompt` does, and return all candidates.

        Args:
            frame: From 0.
            id: From 1 on; a new number creates a new object.
            prompt: In source pixels.

        Returns:
            The candidates, best first, and the chosen one.

        Raises:
            PromptError: The prompt does not fit the frame, or the id is not valid.
            NoSuchFrame: The video has no such frame.
        """
        frame, id, size = check_frame(frame), check_id(id), self.frames.size
        event = Prompted(frame, id, check_prompt(prompt, size))
        obj = self.state.objects.get(id) or ObjectState(id, self._store.history.number + 1)
        # A mask replaces what is on the frame, so that nothing there is corrected.
        record = None if prompt.mask is not None else self._store.record(obj, frame)
        is_edited, reverse = record is not None and record.edited, obj.direction(frame)
        encoded = self._propagator.encode(frame, reverse=bool(reverse))
        tracked = self._propagator.begin(obj, frame, reverse=reverse)
        prepared = PreparedPrompt.of(
            self.model,
            self._store.joined_prompt(obj, event),
            size,
            before=None if record is None else to_masks(frame, {id: record}, size, self.model),
            boxed=is_edited or (reverse is not None and any(other != frame for other in obj.prompts)),
            alone=reverse is None,
            zoom=None if self._zoom is None else partial(self._segment, frame),
        )
        choice = track_frame(self.model, encoded, [tracked], {id: prepared.encoded})[id]
        memory = tracked.bank.prompted.get(frame)
        exact = None if prepared.exact is None else rle.encode(prepared.exact)["counts"]
        self._store.advance(self._store.history.after(event))
        self._store.put(id, frame, MemoryRecord(prepared.prediction(tracked), memory, exact))
        return Answer(size, choice, prepared.zoomed)

    def preview(self, frame: int, prompt: Prompt) -> ImageCandidates:
        """Return the candidates of a prompt for a new object, without changing the session.

        With zoom, a later call with the same prompt reuses the result: call this while the cursor rests.

        Args:
            frame: From 0.
            prompt: In source pixels.

        Returns:
            The candidates, best first.

        Raises:
            PromptError: The prompt does not fit the frame.
            NoSuchFrame: The video has no such frame.
        """
        return self._segment(check_frame(frame), check_prompt(prompt, self.frames.size), None)

    def preview_steps(self, frame: int, prompt: Prompt) -> Iterator[None]:
        """Like `preview`, in steps, between which other prompts can be answered.

        A later call with the same prompt reuses the result, even an unfinished one. Only the newest is kept.

        Args:
            frame: From 0.
            prompt: In source pixels.

        Returns:
            An iterator. Each step encodes at most one window and segments in it.

        Raises:
            PromptError: The prompt does not fit the frame.
            NoSuchFrame: The video has no such frame.
        """
        frame, prompt = check_frame(frame), check_prompt(prompt, self.frames.size)
        key = PreviewKey(weakref.ref(self.model), frame, prompt, self._zoom)
        return self._cache.previews.make_in_steps(key, lambda: self._as_image(frame).steps(prompt))

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        *,
        reverse: bool = False,
        objects: Collection[int] | None = None,
    ) -> MaskIterator:
        """Track objects and yield their masks, frame by frame.

        Objects start at their first prompt on the way. Prompted and reviewed frames keep their masks.

        Args:
            start: The first frame. By default the first prompted one; in reverse, the last.
            stop: The frame after the last one, as in `range`. By default the video's end; in reverse, its
                beginning.
            reverse: Track backward.
            objects: The ids of the objects to track; the others keep their masks. By default all.

        Returns:
            An iterator over the masks of each frame. Frames are tracked as you iterate.

        Raises:
            PromptError: No object has a prompt yet, there is no such object, or `stop` lies the other way.
            NoSuchFrame: The video has no frame `start`.
        """
        ids = None if objects is None else tuple(sorted({self._existing(id) for id in check_ids(objects)}))
        prompted = sorted({frame for obj in self.state.chosen(ids) for frame in obj.prompts})
        if ids == ():
            raise PromptError(
                "objects must be a list of the ids to track, such as [1]; None tracks all. Got an empty list."
            )
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
        if not path and first != end:
            way = "backward, with reverse=True," if reverse else "forward"
            raise PromptError(
                f"there is no frame between start and stop {way}. Got start {first} and stop {end}."
            )
        decided = self._propagator.run(path, ids, reverse=reverse)
        return MaskIterator((self._masks(frame, present) for frame, present in decided), len(path))

    def masks(self, frame: int, *, objects: Collection[int] | None = None) -> Masks:
        """Return a frame's current masks, prompted or tracked, without running the model.

        Args:
            frame: From 0.
            objects: The ids of the objects to include, if they have masks there. By default all.

        Returns:
            The masks, by object id.

        Raises:
            NoSuchFrame: The video has no such frame.
        """
        if not 0 <= (frame := check_frame(frame)) < len(self.frames):
            raise NoSuchFrame(self.frames.name, frame, len(self.frames))
        return self._masks(frame, None if objects is None else check_ids(objects))

    def _masks(self, frame: int, ids: Collection[int] | None) -> Masks:
        records = {
            obj.id: record
            for obj in self.state.chosen(ids)
            if (record := self._store.record(obj, frame)) is not None
        }
        return to_masks(frame, records, self.frames.size, self.model, partial(self.frames.__getitem__, frame))

    def clear(self, frame: int, id: int) -> None:
        """Delete an object's prompts on a frame. An object without prompts is removed.

        Args:
            frame: From 0.
            id: The object.

        Raises:
            PromptError: The object has no prompt there.
        """
        obj = self.state.objects.get(id := check_id(id))
        if obj is None or (frame := check_frame(frame)) not in obj.prompts:
            frames = ", ".join(map(str, sorted(obj.prompts))) if obj is not None else ""
            where = f"It has prompts on frames {frames}." if frames else "It has no prompts."
            raise PromptError(f"object {id} has no prompt on frame {frame}. {where}")
        self._store.advance(self._store.history.after(Cleared(frame, id)))
        left = self.state.objects.get(id)
        self._store.end(id, None if left is None else frame)
        self._propagator.forget(id)

    def remove(self, id: int) -> None:
        """Remove an object with all its prompts and masks.

        Args:
            id: The object.

        Raises:
            PromptError: There is no such object.
        """
        obj = self.state.objects[self._existing(id)]
        self._store.advance(self._store.history.after(Removed(obj.id)))
        self._store.end(obj.id, None)
        self._propagator.forget(obj.id)

    def review(self, start: int, stop: int | None = None, *, reviewed: bool = True) -> None:
        """Mark frames as reviewed: tracking keeps their masks and remembers them as prompts.

        Prompts on a reviewed frame still change it. Objects without a mask there can still get one.

        Args:
            start: The first frame.
            stop: The frame after the last one. By default, one frame is marked.
            reviewed: False removes the mark.

        Raises:
            NoSuchFrame: The video has no such frames.
        """
        first, count = check_frame(start), len(self.frames)
        end = first + 1 if stop is None else check_frame(stop)
        if not 0 <= first < end <= count:
            raise NoSuchFrame(self.frames.name, first if not 0 <= first < count else end - 1, count)
        self._store.advance(self._store.history.after(Reviewed(first, end, reviewed)))

    def undo(self) -> None:
        """Undo the last prompt, clearing, removal or review, and what was tracked since.

        Raises:
            PromptError: There is nothing to undo.
        """
        if not self._in_memory.undo():
            raise PromptError("there is nothing to undo: nothing was prompted, cleared, removed or reviewed.")

    def redo(self) -> None:
        """Redo the events of the last `undo`, unless something else was done since.

        Raises:
            PromptError: There is nothing to redo.
        """
        if not self._in_memory.redo():
            raise PromptError("there is nothing to redo: nothing was undone, or something was done since.")

    def replay(self, script: Script) -> Self:
        """Apply all events of a script to the session.

        Args:
            script: The script of this session or of another one.

        Returns:
            The session itself.

        Raises:
            PromptError: It is not a script, or an event in it does not fit the video.
        """
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
        """Write the session as JSON: the video's path and the script, which `restore` repeats.

        Args:
            path: The file. It is written completely or not at all.

        Raises:
            MediaError: The file cannot be written.
        """
        tracking = self._propagator
        SavedSession(
            self._video,
            self.frames.size,
            tracking.clip_length,
            tracking.capacity,
            self.script,
            policy=self._policy_name,
            cuts=tracking.scenes is not None,
            channel=self.frames.channel,
            intensity_range=self.frames.intensity_range,
            length=len(self.frames),
            zoom=saved_zoom(self._zoom),
            budget=min(self._budget, UNBOUNDED),
        ).write(path)

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
        """Open a saved session and repeat its events.

        Args:
            model: The network with which the session was made; another one gives other masks.
            path: A file that `save` wrote.
            video: The video, if it has moved or was not a file.
            policy: The memory policy, if the session did not use one by name.
            features: The cache of encoded frames.

        Returns:
            A session with the masks of the saved one.

        Raises:
            MediaError: There is no such file, or the video is a different one.
            MaskletError: The file is not a saved session.
        """
        saved = SavedSession.read(path)
        session = cls(
            model,
            saved.open(video),
            policy=saved.policy_or(policy),
            cuts=saved.cuts,
            capacity=saved.capacity,
            budget=GIB if saved.budget is None else saved.budget,
            clip_length=saved.clip_length,
            features=features,
            zoom=saved.chosen_zoom,
        )
        session._video = locate_video(saved.source(video))
        return session.replay(saved.script)

    @property
    def _in_memory(self) -> InMemoryStore:
        assert isinstance(self._store, InMemoryStore)  # other stores change their own position
        return self._store

    def _segment(self, frame: int, prompt: Prompt, hint: Masks | None) -> ImageCandidates:
        """Answer a prompt on a frame as on an image."""

        def segment() -> ImageCandidates:
            return self._as_image(frame).segment(prompt, hint=hint)

        key = PreviewKey(weakref.ref(self.model), frame, prompt, self._zoom)
        answer = segment() if hint is not None else self._cache.previews.get(key, segment)
        return replace(answer, image=partial(self.frames.__getitem__, frame))

    def _as_image(self, frame: int) -> ImageSession:
        zoom, features = self._zoom or False, self.features(frame)
        return ImageSession(self.model, self.frames[frame], zoom=zoom, features=features)

    def _existing(self, id: int) -> int:
        if (id := check_id(id)) not in self.state.objects:
            ids = ", ".join(map(str, self.ids)) or "none"
            raise PromptError(f"there is no object {id}. There are: {ids}.")
        return id
