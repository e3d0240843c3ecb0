"""Frames that come one after the other, and objects that join and leave."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import SupportsIndex

import torch

from masklet.errors import PromptError
from masklet.media import Frames, NoSuchFrame, Stream, open_frames, read_image, stream
from masklet.memory import POINTERS, MemoryBank, MemoryPolicy, Recency
from masklet.model import Sam2
from masklet.tracking import Ask, TrackedObject, advance, answer, looks
from masklet.transforms import check_prompt, frame_to_square
from masklet.types import FrameFeatures, MaskPrediction, Masks, Prompt


class Tracker:
    """A camera's tracker: one `step` a frame, memory that does not grow, objects that come and go.

    policy : makes the memory policy of each object
    capacity : memories kept of each object; SAM 2's own rule looks back 15 frames
    clip_length : frames in the clip where that is known and below 16; it scales the age of object pointers,
                  and the published predictor passes it
    """

    def __init__(
        self,
        model: Sam2,
        *,
        policy: Callable[[], MemoryPolicy] = Recency,
        capacity: int = POINTERS,
        clip_length: int | None = None,
    ) -> None:
        self.model = model
        self.frame = 0  # the number that the next frame will have
        self._policy = policy
        self._capacity = capacity
        self._clip_length = clip_length
        self._objects: dict[int, TrackedObject] = {}

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects that are followed, in the order in which they joined."""
        return tuple(self._objects)

    def step(self, image: object, prompts: Mapping[int, Prompt] | None = None) -> Masks:
        """Take the next frame. An object joins by its first prompt; a later prompt corrects it.

        image : uint8 (H, W, 3) RGB array, PIL image or path
        """
        picture = read_image(image)
        size = picture.shape[0], picture.shape[1]
        prompts = {check_id(id): prompt for id, prompt in (prompts or {}).items()}
        for prompt in prompts.values():
            check_prompt(prompt, size)
        if self._objects or prompts:
            with torch.inference_mode():
                square = frame_to_square(picture, self.model.config.image_size, self.model.device)
                features = self.model.encode(square)
            self._follow(features, prompts, size)
        self.frame += 1
        return gathered(
            self.frame - 1, {id: each.last for id, each in self._objects.items()}, size, self.model
        )

    def forget(self, *ids: int) -> None:
        """Stop following objects, and let go of all that is remembered of them."""
        for id in ids:
            if id not in self._objects:
                raise PromptError(f"no object {id} is followed. There are {_listed(self._objects)}.")
        for id in ids:
            del self._objects[id]

    def _follow(self, features: FrameFeatures, prompts: Mapping[int, Prompt], size: tuple[int, int]) -> None:
        corrected = [self._objects[id] for id in prompts if id in self._objects]
        seen = self._preview(features, corrected)
        asks = {
            id: Ask.of(prompt, size, self.model, hint=seen.get(id), alone=id not in self._objects)
            for id, prompt in prompts.items()
        }
        for id in prompts:
            if id not in self._objects:
                self._objects[id] = TrackedObject(id, MemoryBank(self._capacity), self._policy())
        objects = list(self._objects.values())
        advance(self.model, features, self.frame, objects, asks, clip_length=self._clip_length)

    def _preview(self, features: FrameFeatures, objects: list[TrackedObject]) -> dict[int, torch.Tensor]:
        """What each object's mask would have been here: a correction starts from it."""
        hints: dict[int, torch.Tensor] = {}
        for batch in looks(self.frame, objects, {}, clip_length=self._clip_length):
            _, prediction = answer(self.model, features, batch)
            hints |= {look.object.id: prediction.logits[row, None] for row, look in enumerate(batch)}
        return hints


def track(
    model: Sam2,
    video: object,
    prompts: Mapping[int, Mapping[int, Prompt]],
    *,
    policy: Callable[[], MemoryPolicy] = Recency,
    clip_length: int | None = None,
) -> Iterator[Masks]:
    """Follow objects forwards from the first prompted frame to the video's last, in constant memory.

    video : a file, folder, glob, array or `Frames`; or an iterator of frames or a camera, as
            `masklet.media.stream` takes them
    prompts : frame -> object id -> prompt
    """
    if not any(prompts.values()):
        raise PromptError(
            "following needs at least one prompt: {0: {1: Prompt(positive=[(x, y)])}}. Got none."
        )
    prompted = [frame for frame, said in prompts.items() if said]
    first, last = min(prompted), max(prompted)
    source = video if isinstance(video, Frames | Stream) else _source(video)
    if isinstance(source, Frames) and (first < 0 or (last > 0 and last >= len(source))):
        raise NoSuchFrame(source.name, first if first < 0 else last, len(source))
    tracker = Tracker(model, policy=policy, clip_length=clip_length)
    tracker.frame = first
    return _through(source, tracker, prompts, last)


def _through(
    source: Frames | Stream, tracker: Tracker, prompts: Mapping[int, Mapping[int, Prompt]], last: int
) -> Iterator[Masks]:
    first = tracker.frame
    for image in source.play(first) if isinstance(source, Frames) else islice(source, first, None):
        yield tracker.step(image, prompts.get(tracker.frame))
    if tracker.frame <= last:  # only a stream's length is not known before
        raise PromptError(f"{source.name} ended before frame {last}, on which there is a prompt.")


def _source(video: object) -> Frames | Stream:
    return stream(video) if isinstance(video, Iterator | int) else open_frames(video)


def check_id(id: object) -> int:
    """An object's id as a plain int, which NumPy's are not."""
    if isinstance(id, bool) or not isinstance(id, SupportsIndex) or operator.index(id) < 1:
        raise PromptError(f"an object's id is a whole number from 1 on; 0 is the background. Got {id!r}.")
    return operator.index(id)


def gathered(
    frame: int, answers: Mapping[int, MaskPrediction | None], size: tuple[int, int], model: Sam2
) -> Masks:
    """The answers of one frame, as the user gets them; objects without one are left out."""
    known = {id: each for id, each in answers.items() if each is not None}
    if not known:
        side = model.config.mask_size
        return Masks(frame, (), torch.zeros(0, side, side), size, torch.zeros(0), torch.zeros(0))
    batch = MaskPrediction.stack(list(known.values()))
    return Masks(frame, tuple(known), batch.logits, size, batch.iou, batch.score)


def _listed(objects: Mapping[int, object]) -> str:
    return f"objects {', '.join(map(str, objects))}" if objects else "none yet: prompt one first"
