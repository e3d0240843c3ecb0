"""Frames that come one after the other, and objects that join and leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from masklet.errors import PromptError
from masklet.media import Frames, ImageReader, NoSuchFrame, Stream, open_source
from masklet.model import Sam2
from masklet.sessions.answer import PreparedPrompt
from masklet.sessions.checks import check_id as check_id
from masklet.sessions.checks import check_model, check_prompts
from masklet.sessions.visibility import is_cut, thumbnail
from masklet.sessions.zoom import Zoom, find_zoom
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies import Policy, find_policy
from masklet.tracking.step import TrackedObject, answer, encode_frame, looks
from masklet.transforms import check_prompt
from masklet.types import FrameFeatures, MaskPrediction, Masks, Prompt


@dataclass(frozen=True)
class Waiting:
    """The answers of a frame, which may still be revised, and the masks that are finer than them."""

    frame: int
    size: tuple[int, int]
    by_id: dict[int, MaskPrediction | None]
    exact: dict[int, np.ndarray]

    def masks(self, model: Sam2) -> Masks:
        return gathered(self.frame, self.by_id, self.size, model, self.exact)


class Tracker:
    """A camera's tracker: one `step` a frame, memory that does not grow, objects that come and go.

    policy : the memory policy by its name, or what makes one for each object
    cuts : watch for scene cuts; memories of another scene are looked at only if they are of prompts
    delay : frames to wait before an answer is given, for policies that decide later; at most `capacity`
    capacity : memories kept of each object; by default as many as the policy may look at
    clip_length : frames in the clip where that is known and below 16; it scales the age of object pointers,
                  and the published predictor passes it
    zoom : see `ImageSession`
    """

    def __init__(
        self,
        model: Sam2,
        *,
        policy: Policy = "recency",
        cuts: bool = False,
        delay: int = 0,
        capacity: int | None = None,
        clip_length: int | None = None,
        zoom: Zoom | bool | None = None,
    ) -> None:
        self.model = check_model(model)
        self._zoom = find_zoom(zoom, model.config)
        self.frame = 0  # the number that the next frame will have
        self._policy = find_policy(policy)
        self._capacity = capacity
        latest = POINTERS if capacity is None else capacity
        if not 0 <= delay <= latest:
            raise ValueError(f"delay must lie between 0 and {latest} frames. Got {delay}.")
        self._delay = delay
        self._waiting: deque[Waiting] = deque()
        self._cuts = cuts
        self._thumbnail: np.ndarray | None = None
        self._clip_length = clip_length
        self._objects: dict[int, TrackedObject] = {}
        self._images = ImageReader()

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects that are followed, in the order in which they joined."""
        return tuple(self._objects)

    def step(
        self,
        image: object,
        prompts: Mapping[int, Prompt] | None = None,
        *,
        features: FrameFeatures | None = None,
    ) -> Masks:
        """Take the next frame. An object joins by its first prompt; a later prompt corrects it.

        Returns the masks of this frame; with a delay, those of as many frames before.

        image : uint8 (H, W, 3) RGB array, PIL image or path
        features : the encoded image, where it is at hand
        """
        picture = self._images.read(image)
        size = picture.shape[0], picture.shape[1]
        prompts = {check_id(id): check_prompt(prompt, size) for id, prompt in (prompts or {}).items()}
        exact: dict[int, np.ndarray] = {}
        if self._objects or prompts:
            self._watch(picture)
            encoded = encode_frame(self.model, picture) if features is None else features
            exact = self._follow(encoded, prompts, picture)
        for each in self._objects.values():
            for answers in self._waiting:
                if answers.frame in each.revised and each.id in answers.by_id:
                    answers.by_id[each.id] = each.revised[answers.frame]
        by_id = {id: each.last for id, each in self._objects.items()}
        self._waiting.append(Waiting(self.frame, size, by_id, exact))
        self.frame += 1
        if len(self._waiting) <= self._delay:
            return gathered(self.frame - 1 - self._delay, {}, size, self.model, {})
        return self._waiting.popleft().masks(self.model)

    def rest(self) -> Iterator[Masks]:
        """The masks of the last frames, for which nothing is left to wait."""
        while self._waiting:
            yield self._waiting.popleft().masks(self.model)

    def forget(self, *ids: int) -> None:
        """Stop following objects, and let go of all that is remembered of them."""
        for id in ids:
            if id not in self._objects:
                raise PromptError(f"no object {id} is followed. There are {_listed(self._objects)}.")
        for id in ids:
            del self._objects[id]

    def _follow(
        self, features: FrameFeatures, prompts: Mapping[int, Prompt], picture: np.ndarray
    ) -> dict[int, np.ndarray]:
        """Follow all objects to a frame, and return the masks there that are finer than the answers."""
        size = picture.shape[0], picture.shape[1]
        corrected = [self._objects[id] for id in prompts if id in self._objects]
        tracked = self._preview(features, corrected)
        prepared: dict[int, PreparedPrompt] = {}
        for id, prompt in prompts.items():
            before = tracked.get(id)
            prepared[id] = PreparedPrompt.of(
                self.model,
                features,
                prompt,
                size,
                lambda: picture,
                mask=None if before is None else gathered(0, {id: before}, size, self.model, {}),
                hint=None if before is None else before.logits,
                alone=before is None,
                zoom=self._zoom,
            )
        for id in prompts:
            present, policy = self._objects.get(id), self._policy()
            capacity = policy.capacity if self._capacity is None else self._capacity
            bank = MemoryBank(capacity) if present is None else present.bank
            self._objects[id] = TrackedObject(id, bank, policy)
        objects, asks = list(self._objects.values()), {id: each.encoded for id, each in prepared.items()}
        choices = track_objects(
            self.model, features, self.frame, objects, asks, clip_length=self._clip_length
        )
        replies = {
            id: prompt.answer(self._objects[id], self.frame, choices[id], size)
            for id, prompt in prepared.items()
        }
        for id, reply in replies.items():
            self._objects[id].last = reply.prediction
        return {id: reply.exact for id, reply in replies.items() if reply.exact is not None}

    def _watch(self, picture: np.ndarray) -> None:
        """Begin anew behind a cut."""
        if not self._cuts:
            return
        before, self._thumbnail = self._thumbnail, thumbnail(picture)
        if before is not None and is_cut(before, self._thumbnail):
            for each in self._objects.values():
                each.bank.cut(self.frame)
                each.policy = self._policy()

    def _preview(self, features: FrameFeatures, objects: list[TrackedObject]) -> dict[int, MaskPrediction]:
        """What each object's mask would have been here: a correction starts from it."""
        seen: dict[int, MaskPrediction] = {}
        for batch in looks(self.frame, objects, {}, clip_length=self._clip_length):
            _, prediction = answer(self.model, features, batch)
            seen |= {look.object.id: prediction.row(row) for row, look in enumerate(batch)}
        return seen


def track(
    model: Sam2,
    video: object,
    prompts: Mapping[int, Mapping[int, Prompt]],
    *,
    policy: Policy = "recency",
    cuts: bool = False,
    delay: int = 0,
    clip_length: int | None = None,
    zoom: Zoom | bool | None = None,
) -> Iterator[Masks]:
    """Follow objects forwards from the first prompted frame to the video's last, in constant memory.

    video : a file, folder, glob, array or `Frames`; or an iterator of frames or a camera, as
            `masklet.media.stream` takes them
    policy, cuts, delay, zoom : see `Tracker`
    prompts : frame -> object id -> prompt
    """
    check_model(model)
    prompts = check_prompts(prompts)
    if not any(prompts.values()):
        raise PromptError(
            "following needs at least one prompt: {0: {1: Prompt(positive=[(x, y)])}}. Got none."
        )
    prompted = [frame for frame, said in prompts.items() if said]
    first, last = min(prompted), max(prompted)
    source = open_source(video)
    if isinstance(source, Frames) and (first < 0 or (last > 0 and last >= len(source))):
        raise NoSuchFrame(source.name, first if first < 0 else last, len(source))
    tracker = Tracker(model, policy=policy, cuts=cuts, delay=delay, clip_length=clip_length, zoom=zoom)
    tracker.frame = first
    return _through(source, tracker, prompts, last)


def _through(
    source: Frames | Stream, tracker: Tracker, prompts: Mapping[int, Mapping[int, Prompt]], last: int
) -> Iterator[Masks]:
    first = tracker.frame
    for image in source.play(first) if isinstance(source, Frames) else islice(source, first, None):
        masks = tracker.step(image, prompts.get(tracker.frame))
        if masks.frame >= first:
            yield masks
    yield from tracker.rest()
    if tracker.frame <= last:  # only a stream's length is not known before
        raise PromptError(f"{source.name} ended before frame {last}, on which there is a prompt.")


def gathered(
    frame: int,
    answers: Mapping[int, MaskPrediction | None],
    size: tuple[int, int],
    model: Sam2,
    exact: Mapping[int, np.ndarray],
) -> Masks:
    """The answers of one frame, as the user gets them; objects without one are left out."""
    known = {id: each for id, each in answers.items() if each is not None}
    if not known:
        return Masks.empty(frame, size)
    batch = MaskPrediction.stack(list(known.values()))
    return Masks(frame, tuple(known), batch.logits, size, batch.iou, batch.score, exact=exact)


def _listed(objects: Mapping[int, object]) -> str:
    return f"objects {', '.join(map(str, objects))}" if objects else "none yet: prompt one first"
