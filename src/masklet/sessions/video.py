"""A stored video and a person who points, follows, looks, corrects and follows again."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Self

from masklet.errors import PromptError
from masklet.media import NoSuchFrame, open_frames
from masklet.model import Sam2
from masklet.sessions.answer import Answer, answer_prompt
from masklet.sessions.compaction import Room, rebuild_memory
from masklet.sessions.events import Cleared, Followed, Prompted, Removed, Script
from masklet.sessions.feature_cache import GIB, FeatureCache
from masklet.sessions.history import History, moment
from masklet.sessions.object_state import ObjectState, begin_anew, give_up, standing
from masklet.sessions.saved import SavedSession
from masklet.sessions.scene_cuts import Scenes
from masklet.sessions.tracker import check_id
from masklet.sessions.zoom import Zoom, find_zoom
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies import Policy, find_policy
from masklet.tracking.step import TrackedObject, encode_frame
from masklet.transforms import check_prompt
from masklet.types import FrameFeatures, Masks, Prompt


class VideoSession:
    """Random access to a stored video: prompt any frame, follow in both directions, correct, undo.

    video : a file, folder, glob, array or `Frames`, as `masklet.media.open_frames` takes them
    policy, cuts : see `Tracker`
    capacity : memories kept of each object; None keeps all that there is room for
    budget : bytes for answers and memories in full. Beyond it only the masks of the oldest are left, and
             where a person goes back their memories are made again, from masks; those of prompts all stay
    clip_length : see `Tracker`; None stands for 16 or more frames
    features : where encoded frames are kept
    zoom : see `ImageSession`
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
    ) -> None:
        self.model = model
        self.frames = open_frames(video)
        self.script = Script()
        self._policy, self._policy_name = find_policy(policy), policy if isinstance(policy, str) else None
        self._scenes = Scenes(self.frames) if cuts else None
        self._capacity, self._clip_length = capacity, clip_length
        self._features = features or FeatureCache()
        self._room = Room(budget)
        self._video = str(Path(video).resolve()) if isinstance(video, str | Path) else None
        self._objects: dict[int, ObjectState] = {}
        self._history = History()
        self._zoom = find_zoom(zoom, model.config)

    def take_up(self, script: Script, objects: Iterable[ObjectState]) -> Self:
        """Stand where another session stood: with what was done in it, and what it knew of its objects."""
        self.script = Script(script.steps)
        self._objects = {each.id: each for each in objects}
        self._history.clear()
        for each in self._objects.values():
            each.take(self._room)
        return self

    @property
    def objects(self) -> Mapping[int, ObjectState]:
        """The session's objects by id, with all their answers; to be read."""
        return MappingProxyType(self._objects)

    def features(self, frame: int) -> FrameFeatures:
        """The encoded frame; kept for prompts to come, so that these are answered at once."""
        return self._encoded(frame)

    @property
    def ids(self) -> tuple[int, ...]:
        """The session's objects, in the order in which they were first prompted."""
        return tuple(self._objects)

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Masks:
        """Say what an object is on a frame, or correct what was found there; the answer stays from then on.

        Clicks add to those given there before, and start from its mask. Returns all masks on this frame.
        """
        self.answer(frame, id, prompt)
        return self._masks(frame)

    def answer(self, frame: int, id: int, prompt: Prompt) -> Answer:
        """The same, with all that the network has to say: the masks that a click may mean, best first."""
        frame, id = operator.index(frame), check_id(id)
        prompt = check_prompt(prompt, self.frames.size)
        features, size = self._encoded(frame), self.frames.size
        before_this = moment(self.script.steps, self._objects)
        obj = self._objects.get(id) or ObjectState(id, MemoryBank(self._capacity), self._policy())
        corrects, reverse = frame in obj.passed, obj.passed.get(frame, False)
        if corrects:
            self._bring_back(obj, frame, reverse=reverse)
        answer = answer_prompt(
            self.model,
            features,
            self.script.said(frame, id, prompt),
            TrackedObject(id, obj.bank.copy(), self._policy()),
            frame,
            size,
            partial(self.frames.__getitem__, frame),
            mask=self._masks(frame, [obj]) if frame in obj.answers else None,
            hint=obj.hint(frame, size, self.model),
            alone=not corrects,
            reverse=reverse,
            clip_length=self._clip_length,
            zoom=self._zoom,
        )
        obj.take_answer(frame, answer)
        obj.note(frame, self._room)
        self._objects[id] = obj
        self._history.note(before_this)
        self.script.steps.append(Prompted(frame, id, prompt))
        return answer

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        *,
        reverse: bool = False,
        objects: Collection[int] | None = None,
    ) -> Iterator[Masks]:
        """Follow objects, frame by frame, and yield their masks on each frame as it is done.

        An object appears from its first prompt in the direction of travel; prompted frames keep their
        answers.

        start : the first frame; by default the first prompted one, in reverse the last
        stop : just behind the last frame, as in `range`; by default the video's end, in reverse its beginning
        objects : the ids of those to follow, while the others keep what they have; by default all
        """
        ids = None if objects is None else tuple(sorted({self._known(id) for id in objects}))
        prompted = sorted({frame for each in self._chosen(ids) for frame in each.prompted})
        if not prompted:
            raise PromptError(
                "following needs at least one prompt: video.prompt(0, 1, Prompt(positive=[(x, y)]))."
            )
        count = len(self.frames)
        first = (prompted[-1] if reverse else prompted[0]) if start is None else start
        end = (-1 if reverse else count) if stop is None else stop
        if not 0 <= first < count:
            raise NoSuchFrame(self.frames.name, first, count)
        path = range(first, max(end, -1), -1) if reverse else range(first, min(end, count))
        return self._follow(path, ids, reverse=reverse)

    def masks(self, frame: int) -> Masks:
        """The masks that stand on a frame now: prompted or followed, without running the model."""
        return self._masks(frame)

    @property
    def answered(self) -> tuple[int, ...]:
        """The frames on which masks stand, in order."""
        return tuple(sorted({frame for each in self._objects.values() for frame in each.answers}))

    def clear(self, frame: int, id: int) -> None:
        """Take back all that was said of an object on a frame. An object of which nothing is said is gone."""
        if id not in self.script.get(frame, {}):
            raise PromptError(f"object {id} has no prompt on frame {frame}. {self.script.whereabouts(id)}")
        self._history.note(moment(self.script.steps, self._objects))
        each = self._objects[id]
        each.forget(frame)
        if not each.prompted:
            del self._objects[id]
        self.script.steps.append(Cleared(frame, id))

    def remove(self, id: int) -> None:
        """Give up an object and all that was said of it."""
        self._known(id)
        self._history.note(moment(self.script.steps, self._objects))
        del self._objects[id]
        self.script.steps.append(Removed(id))

    def undo(self) -> None:
        """Go back to before the last prompt, clearing or removal, and what was followed since."""
        if not self._history:
            raise PromptError("there is nothing to undo: nothing was prompted, cleared or removed yet.")
        self.script.steps, self._objects = self._history.back()

    def replay(self, script: Script) -> Self:
        """Do all the steps of a script."""
        for step in script.steps:
            match step:
                case Prompted(frame, id, prompt):
                    self.prompt(frame, id, prompt)
                case Cleared(frame, id):
                    self.clear(frame, id)
                case Removed(id):
                    self.remove(id)
                case Followed(start, stop, reverse, objects):
                    for _ in self.propagate(start, stop, reverse=reverse, objects=objects):
                        pass
        return self

    def save(self, path: str | Path) -> None:
        """Write the session as JSON: the video's place and the script, from which all else is made again."""
        place, numbers = (self._video, self.frames.size), (self._clip_length, self._capacity)
        SavedSession(*place, *numbers, self.script, self._policy_name, self._scenes is not None).write(path)

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

        policy : where it was not one that has a name
        video : where the video is now, should it have moved, or should it not have been a file
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

    def _follow(self, path: range, ids: tuple[int, ...] | None, *, reverse: bool) -> Iterator[Masks]:
        for each in self._chosen(ids):
            each.settle()
        waiting: deque[tuple[int, list[ObjectState]]] = deque()  # for policies that decide later
        for frame in path:
            here = [each for each in self._chosen(ids) if each.reached(frame, reverse=reverse)]
            begin_anew(frame, here, self._policy, self._scenes, reverse=reverse)
            following = [each for each in here if frame not in each.prompted]
            if following:
                for each in following:
                    self._bring_back(each, frame, reverse=reverse)
                features, length = self._encoded(frame), self._clip_length
                track_objects(self.model, features, frame, following, reverse=reverse, clip_length=length)
            for each in following:
                each.note(frame, self._room)
            self._make_room()
            for each in here:
                each.passed[frame], each.at = reverse, (frame, reverse)
            if here:
                self.script.followed(frame, reverse=reverse, objects=ids)
            waiting.append((frame, here))
            while waiting and not any(waiting[0][0] in each.undecided for each in waiting[0][1]):
                yield self._masks(*waiting.popleft())
        while waiting:
            yield self._masks(*waiting.popleft())

    def _known(self, id: int) -> int:
        if id not in self._objects:
            raise PromptError(
                f"there is no object {id}. There are: {', '.join(map(str, self.ids)) or 'none'}."
            )
        return id

    def _chosen(self, ids: tuple[int, ...] | None) -> list[ObjectState]:
        return [each for id, each in self._objects.items() if ids is None or id in ids]

    def _encoded(self, frame: int) -> FrameFeatures:
        features = self._features.get(frame, self.model.device, self.model.dtype)
        if features is None:
            image = self.frames[frame]
            features = encode_frame(self.model, image)
            self._features.put(frame, features)
            if self._scenes is not None:
                self._scenes.note(frame, image)
        return features

    def _make_room(self) -> None:
        for frame, each in self._room.overdue(2 * POINTERS * len(self._objects)):
            give_up(frame, each, chain(self._objects.values(), self._history.objects()), self.frames.size)

    def _bring_back(self, each: ObjectState, frame: int, *, reverse: bool) -> None:
        """Remember again what is about to be looked at, where there was no room for it."""
        for at, answer in each.let_go(frame, reverse=reverse):
            memory = rebuild_memory(self.model, self._encoded(at), at, answer, self.frames.size)
            each.bank.keep(memory)
            self._room.add(at, memory)

    def _masks(self, frame: int, objects: Collection[ObjectState] | None = None) -> Masks:
        objects = self._objects.values() if objects is None else objects
        return standing(frame, objects, self.frames.size, self.model)
