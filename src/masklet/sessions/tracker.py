"""Live tracking: frames arrive one at a time, and objects can be added and removed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from masklet.errors import OptionError, PromptError, check_count
from masklet.masks import MaskIterator
from masklet.media import Frames, ImageReader, NoSuchFrame, Stream, open_source
from masklet.model import Sam2, check_features, check_model
from masklet.prompts import check_frame_prompts, check_id, check_prompts
from masklet.sessions.answer import PreparedPrompt
from masklet.sessions.image import ImageSession
from masklet.sessions.scene_cuts import is_cut, thumbnail
from masklet.tracking.bank import POINTERS, MemoryBank
from masklet.tracking.multi_hypothesis import track_objects
from masklet.tracking.policies import Policy, find_policy
from masklet.tracking.step import (
    EncodedFrame,
    TrackedObject,
    batch_queries,
    encode_frame,
    encode_frames,
    predict_masks,
)
from masklet.types import FrameFeatures, ImageCandidates, MaskPrediction, Masks, Prompt
from masklet.zoom import Zoom, find_zoom


@dataclass(frozen=True)
class FrameAnswers:
    """The answers of a frame, which may still be revised, and finer masks."""

    frame: int
    size: tuple[int, int]
    by_id: dict[int, MaskPrediction]
    exact: dict[int, np.ndarray] = field(default_factory=dict)

    def masks(self) -> Masks:
        rows = {id: (answer.logits, answer.iou, answer.score) for id, answer in self.by_id.items()}
        return Masks.stack(self.frame, self.size, rows, self.exact)


class Tracker:
    """Tracks objects in a stream of frames, in constant memory.

    Args:
        model: A network, as `masklet.load` returns it.
        policy: The name of a memory policy, or a callable that makes one for each object.
        cuts: Detect scene cuts. From other scenes, only the memories of prompts are used.
        delay: The number of frames by which answers are delayed, so that policies with a latency can revise
            them. At most `capacity`.
        capacity: The number of memories to keep for each object. By default, as many as the policy needs.
        clip_length: The number of frames in the clip, if below 16: the published predictor scales the ages of
            object pointers by it. None means 16 or more.
        zoom: See `ImageSession`.

    Raises:
        MaskletError: `model` is not a network, or there is no policy of this name.
        OptionError: `delay` is negative or above `capacity`.

    Example:
        >>> import numpy as np
        >>> from masklet.config import toy
        >>> tracker = Tracker(Sam2(toy()).eval())
        >>> image = np.zeros((48, 64, 3), dtype=np.uint8)
        >>> tracker.step(image, {1: Prompt(positive=[(20, 24)])}).ids
        (1,)
        >>> masks = tracker.step(image)
        >>> masks.frame, masks[1].shape
        (1, (48, 64))
        >>> tracker.forget(1)
        >>> tracker.step(image).ids
        ()
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
        self._zoom = find_zoom(zoom, default=model.config.zoom, frames=True)
        self.frame = 0  # the number of the next frame
        self._policy = find_policy(policy)
        self._capacity = None if capacity is None else check_count(capacity, "capacity")
        longest = POINTERS if capacity is None else capacity
        if check_count(delay, "delay", 0) > longest:
            raise OptionError(f"delay must be from 0 to {longest} frames. Got {delay}.")
        self._delay = delay
        self._delayed: deque[FrameAnswers] = deque()
        self._cuts = cuts
        self._thumbnail: np.ndarray | None = None
        self._clip_length = None if clip_length is None else check_count(clip_length, "clip_length")
        self._objects: dict[int, TrackedObject] = {}
        self._images = ImageReader()

    @property
    def ids(self) -> tuple[int, ...]:
        """The tracked objects, in the order in which they joined."""
        return tuple(self._objects)

    def step(
        self,
        image: object,
        prompts: Mapping[int, Prompt] | None = None,
        *,
        features: FrameFeatures | None = None,
    ) -> Masks:
        """Track all objects to the next frame. An object joins with its first prompt; later ones correct it.

        Args:
            image: Uint8 (H, W, 3) RGB array, PIL image or path.
            prompts: Prompts by object id, in pixels of this frame.
            features: The encoded image, if you have it.

        Returns:
            The masks of this frame or, with a delay, of the frame that many frames earlier; empty at first.

        Raises:
            PromptError: An id is not a whole number from 1 on, or a prompt lies outside the frame.
            MediaError: The image cannot be read.
        """
        pixels = self._images.read(image)
        size = pixels.shape[0], pixels.shape[1]
        prompts = {} if prompts is None else check_frame_prompts(prompts, size)
        exact: dict[int, np.ndarray] = {}
        if self._objects or prompts:
            if self._cuts:
                self._handle_cut(pixels)
            model = self.model
            features = encode_frame(model, pixels) if features is None else check_features(model, features)
            encoded = EncodedFrame(features, self.frame, clip_length=self._clip_length)
            prepared = self._prepare(encoded, prompts, pixels) if prompts else {}
            asked = {id: prompt.encoded for id, prompt in prepared.items()}
            objects = {**self._objects, **{id: self._begin(id) for id in prompts}}
            track_objects(self.model, encoded, list(objects.values()), asked)
            self._objects = objects
            for id, prompt in prepared.items():
                self._objects[id].last = prompt.prediction(self._objects[id])
                if prompt.exact is not None:
                    exact[id] = prompt.exact
        for obj in self._objects.values():
            for answers in self._delayed:
                if answers.frame in obj.revised and obj.id in answers.by_id:
                    answers.by_id[obj.id] = obj.revised[answers.frame]
        by_id = {id: obj.last for id, obj in self._objects.items() if obj.last is not None}
        self._delayed.append(FrameAnswers(self.frame, size, by_id, exact))
        self.frame += 1
        if len(self._delayed) > self._delay:
            return self._delayed.popleft().masks()
        return Masks.empty(self.frame - 1 - self._delay, size)

    def rest(self) -> Iterator[Masks]:
        """Return the delayed masks of the last frames."""
        while self._delayed:
            yield self._delayed.popleft().masks()

    def forget(self, *ids: int) -> None:
        """Stop tracking objects, and drop their memories.

        Args:
            *ids: The objects.

        Raises:
            PromptError: There is no such object.
        """
        ids = tuple(dict.fromkeys(map(check_id, ids)))
        for id in ids:
            if id not in self._objects:
                raise PromptError(f"no object {id} is tracked. Tracked are {_listed(self._objects)}.")
        for id in ids:
            del self._objects[id]

    def _handle_cut(self, image: np.ndarray) -> None:
        """At a scene cut, record it in the banks and give each object a new policy."""
        before, self._thumbnail = self._thumbnail, thumbnail(image)
        if before is not None and is_cut(before, self._thumbnail):
            for obj in self._objects.values():
                obj.bank.cut(self.frame)
                obj.policy = self._policy()

    def _prepare(
        self, frame: EncodedFrame, prompts: Mapping[int, Prompt], image: np.ndarray
    ) -> dict[int, PreparedPrompt]:
        """Prepare the prompts on a frame."""
        size = image.shape[0], image.shape[1]
        previews = self._preview(frame, [self._objects[id] for id in prompts if id in self._objects])

        def segment(prompt: Prompt, hint: Masks | None) -> ImageCandidates:
            session = ImageSession(self.model, image, zoom=self._zoom, features=frame.features)
            return session.segment(prompt, hint=hint)

        prepared: dict[int, PreparedPrompt] = {}
        for id, prompt in prompts.items():
            before = None if prompt.mask is not None else previews.get(id)  # a mask replaces it
            prepared[id] = PreparedPrompt.of(
                self.model,
                prompt,
                size,
                before=None if before is None else FrameAnswers(self.frame, size, {id: before}).masks(),
                boxed=before is not None,
                alone=id not in previews,
                zoom=None if self._zoom is None else segment,
            )
        return prepared

    def _begin(self, id: int) -> TrackedObject:
        """A prompted object, with a new policy."""
        policy = self._policy()
        capacity = policy.capacity if self._capacity is None else self._capacity
        bank = self._objects[id].bank if id in self._objects else MemoryBank(capacity)
        return TrackedObject(id, bank, policy)

    def _preview(self, frame: EncodedFrame, objects: list[TrackedObject]) -> dict[int, MaskPrediction]:
        """The mask that each object would have without its prompt. A correction starts from it."""
        previews: dict[int, MaskPrediction] = {}
        limit = self.model.backend.objects_per_batch
        for batch in batch_queries(frame, objects, {}, limit):
            _, prediction = predict_masks(self.model, frame.features, batch)
            previews |= {query.object.id: prediction.row(row) for row, query in enumerate(batch)}
        return previews


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
) -> MaskIterator:
    """Track objects from the first prompted frame to the video's last, in constant memory.

    Args:
        model: A network, as `masklet.load` returns it.
        video: A file, folder, glob, array (T, H, W, 3) or `Frames`; or an iterator of frames or a camera, as
            `masklet.media.stream` takes them.
        prompts: Prompts by frame, then by object id.
        policy, cuts, delay, clip_length, zoom: See `Tracker`.

    Returns:
        An iterator over the masks of each frame. For stored videos its length is known, so `tqdm` shows what
        is left; a notebook shows a filmstrip.

    Raises:
        PromptError: There is no prompt, or a frame, id or prompt has a wrong form.
        NoSuchFrame: A prompt is on a frame that the video does not have.
        MediaError: The video cannot be opened.

    Example:
        >>> import numpy as np
        >>> from masklet.config import toy
        >>> video = np.zeros((3, 48, 64, 3), dtype=np.uint8)
        >>> prompts = {0: {1: Prompt(positive=[(20, 24)])}}
        >>> [masks.frame for masks in track(Sam2(toy()).eval(), video, prompts)]
        [0, 1, 2]
    """
    check_model(model)
    prompts = check_prompts(prompts)
    if not any(prompts.values()):
        raise PromptError(
            "tracking needs at least one prompt: {0: {1: Prompt(positive=[(x, y)])}}. Got none."
        )
    prompted = [frame for frame, by_id in prompts.items() if by_id]
    first, last = min(prompted), max(prompted)
    source = open_source(video)
    if isinstance(source, Frames) and (first < 0 or (last > 0 and last >= len(source))):
        raise NoSuchFrame(source.name, first if first < 0 else last, len(source))
    if first < 0:
        raise PromptError(f"frames count from 0. Got a prompt on frame {first}.")
    tracker = Tracker(model, policy=policy, cuts=cuts, delay=delay, clip_length=clip_length, zoom=zoom)
    tracker.frame = first
    length = len(source) - first if isinstance(source, Frames) else None
    return MaskIterator(_through(source, tracker, prompts, last), length)


def _through(
    source: Frames | Stream, tracker: Tracker, prompts: Mapping[int, Mapping[int, Prompt]], last: int
) -> Iterator[Masks]:
    first = tracker.frame
    is_stored = isinstance(source, Frames)  # a stream's next frames are not available yet
    images = source.play(first) if isinstance(source, Frames) else islice(source, first, None)
    ahead = tracker.model.backend.frames_per_batch if is_stored else 1
    for image, features in encode_ahead(tracker.model, images, ahead):
        masks = tracker.step(image, prompts.get(tracker.frame), features=features)
        if masks.frame >= first:
            yield _with_frame(masks, source)
    for masks in tracker.rest():
        yield _with_frame(masks, source)
    if tracker.frame <= last:  # only a stream's length is unknown before the end
        raise PromptError(f"{source.name} ended before frame {last}, on which there is a prompt.")


def encode_ahead(
    model: Sam2, images: Iterable[np.ndarray], count: int
) -> Iterator[tuple[np.ndarray, FrameFeatures | None]]:
    """Frames with their features, `count` of them encoded in one call. A single frame is left to the
    tracker."""
    if count == 1:
        yield from ((image, None) for image in images)
        return
    images = iter(images)
    while batch := list(islice(images, count)):
        yield from zip(batch, encode_frames(model, batch), strict=True)


def _with_frame(masks: Masks, source: Frames | Stream) -> Masks:
    if isinstance(source, Frames):
        return masks.with_image(partial(source.__getitem__, masks.frame))
    return masks  # a stream's frames would fill the memory


def _listed(objects: Mapping[int, object]) -> str:
    return f"objects {', '.join(map(str, objects))}" if objects else "no objects yet: prompt one first"
