"""Live tracking without torch: frames arrive one at a time, and objects can be added and removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from masklet.errors import MediaError, PromptError, check_count
from masklet.onnx.image import ImageSession
from masklet.onnx.masks import Masks, frame_to_square, mask_to_square, read_image
from masklet.onnx.network import Decoded, Features, MemoryRule, Network, as_network
from masklet.prompts import Prompt, check_frame_prompts, check_id, check_prompts, label_points
from masklet.zoom import Zoom, add_box, find_zoom


@dataclass(frozen=True)
class Memory:
    """The memory of one object on one frame."""

    frame: int
    tokens: np.ndarray = field(repr=False)
    pointer: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Selection:
    """The memories to which an object attends on a frame.

    Attributes:
        tokens: Memories whose tokens are used, with their row of the age table.
        pointers: Memories whose pointers are used, with their age in frames.
        span: The age that counts as 1.
    """

    tokens: list[tuple[int, Memory]]
    pointers: list[tuple[int, Memory]]
    span: int


@dataclass
class MemoryBank:
    """One object's memories by frame, and SAM 2's rule which of them count: `masklet`'s policy recency.

    Attributes:
        rule: The numbers of the manifest.
        capacity: The number of tracked memories to keep, the newest. As many prompted ones are kept, with the
            first always among them.
    """

    rule: MemoryRule
    capacity: int
    prompted: dict[int, Memory] = field(default_factory=dict)
    tracked: dict[int, Memory] = field(default_factory=dict)

    def keep(self, memory: Memory, *, prompted: bool) -> None:
        """Store a memory, replacing an earlier one of its frame, and drop the oldest if the bank is full."""
        for memories in (self.prompted, self.tracked):
            memories.pop(memory.frame, None)
        (self.prompted if prompted else self.tracked)[memory.frame] = memory
        if len(self.tracked) > self.capacity:
            del self.tracked[next(iter(self.tracked))]
        if len(self.prompted) > self.capacity:
            del self.prompted[list(self.prompted)[1]]

    def select(self, frame: int, *, clip_length: int | None = None) -> Selection:
        """The memories to which a frame attends."""
        rule = self.rule
        reach = rule.pointers if clip_length is None else min(clip_length, rule.pointers)
        ages = range(1, max(reach, rule.window + 1))
        tracked = [(age, self.tracked[frame - age]) for age in ages if frame - age in self.tracked]
        prompted = list(self.prompted.values())
        tokens = [(rule.prompted_row, memory) for memory in prompted]
        tokens += [(age - 1, memory) for age, memory in tracked if age <= rule.window]
        pointers = [(frame - memory.frame, memory) for memory in prompted if memory.frame <= frame]
        pointers += [(age, memory) for age, memory in tracked if age < reach]
        return Selection(tokens, pointers, reach - 1)


@dataclass(frozen=True)
class Answer:
    """One mask of one object.

    Attributes:
        logits: (m, m).
        exact: The mask to show if it is finer than the logits.
    """

    logits: np.ndarray
    iou: float
    pointer: np.ndarray
    score: float
    exact: np.ndarray | None = None


class Tracker:
    """Tracks objects in frames that come one after the other, as `masklet.Tracker` does.

    Its memory does not grow. The memory policy is `recency`, SAM 2's own. Each object is computed by itself.

    Args:
        model: A folder that `masklet export onnx` wrote, or a `Network`.
        capacity: The number of memories to keep for each object. By default, as many as the policy needs.
        clip_length: The number of frames in the clip, if below 16: the published predictor scales the ages of
            object pointers by it. None means 16 or more.
        zoom: See `ImageSession`.

    Raises:
        CheckpointError: The folder is no export.
        OptionError: `capacity` or `clip_length` is not a whole number from 1.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: Network | str | Path,
        *,
        capacity: int | None = None,
        clip_length: int | None = None,
        zoom: Zoom | bool | None = None,
    ) -> None:
        self.network = as_network(model)
        self.frame = 0  # the number of the next frame
        manifest = self.network.manifest
        self._capacity = manifest.memory.capacity if capacity is None else check_count(capacity, "capacity")
        self._clip_length = None if clip_length is None else check_count(clip_length, "clip_length")
        self._zoom = find_zoom(zoom, default=manifest.zoom, frames=True)
        self._banks: dict[int, MemoryBank] = {}

    @property
    def ids(self) -> tuple[int, ...]:
        """The tracked objects, in the order in which they joined."""
        return tuple(self._banks)

    def step(
        self,
        image: object,
        prompts: Mapping[int, Prompt] | None = None,
        *,
        features: Features | None = None,
    ) -> Masks:
        """Track all objects to the next frame. An object joins with its first prompt; later ones correct it.

        Args:
            image: Uint8 (H, W, 3) RGB array, PIL image or path.
            prompts: Prompts by object id, in pixels of this frame.
            features: The encoded image, if you have it.

        Returns:
            The masks of this frame.

        Raises:
            PromptError: An id is not a whole number from 1 on, or a prompt lies outside the frame.
            MediaError: The image cannot be read.
        """
        pixels = read_image(image)
        size = pixels.shape[0], pixels.shape[1]
        prompts = {} if prompts is None else check_frame_prompts(prompts, size)
        answers: dict[int, Answer] = {}
        if self._banks or prompts:
            if features is None:
                features = self.network.encode(frame_to_square(pixels, self.network.manifest.image_size))
            for id in (*self._banks, *(id for id in prompts if id not in self._banks)):
                answers[id] = self._answer(id, features, prompts.get(id), pixels)
        frame, self.frame = self.frame, self.frame + 1
        return self._as_masks(frame, answers, size)

    def forget(self, *ids: int) -> None:
        """Stop tracking objects, and drop their memories.

        Raises:
            PromptError: There is no such object.
        """
        ids = tuple(dict.fromkeys(map(check_id, ids)))
        for id in ids:
            if id not in self._banks:
                present = f"objects {', '.join(map(str, self._banks))}" if self._banks else "none yet"
                raise PromptError(f"no object {id} is tracked. Tracked are {present}.")
        for id in ids:
            del self._banks[id]

    def _answer(self, id: int, features: Features, prompt: Prompt | None, image: np.ndarray) -> Answer:
        """The mask of an object on a frame; its memory is added to the bank."""
        bank = self._banks.get(id)
        if bank is None:
            bank = MemoryBank(self.network.manifest.memory, self._capacity)
            context, before = features.context, None
        else:
            context = self._attend(features, bank)
            before = self._choose(self.network.decode(features, context), single=False)
        if prompt is not None:
            answer = self._respond(features, context, prompt, before, image)
        else:
            assert before is not None
            answer = before
        tokens = self.network.memorize(features, answer.logits, answer.score, prompted=prompt is not None)
        bank.keep(Memory(self.frame, tokens, answer.pointer), prompted=prompt is not None)
        self._banks[id] = bank
        return answer

    def _attend(self, features: Features, bank: MemoryBank) -> np.ndarray:
        selection = bank.select(self.frame, clip_length=self._clip_length)
        span = max(selection.span, 1)
        pointers = [memory.pointer for _, memory in selection.pointers]
        return self.network.attend(
            features,
            np.stack([memory.tokens for _, memory in selection.tokens]),
            [row for row, _ in selection.tokens],
            np.array(pointers, dtype=np.float32).reshape(-1, self.network.manifest.channels),
            [age / span for age, _ in selection.pointers],
        )

    def _respond(
        self,
        features: Features,
        context: np.ndarray,
        prompt: Prompt,
        before: Answer | None,
        image: np.ndarray,
    ) -> Answer:
        """The answer to a prompt, which corrects the previous answer if there is one."""
        manifest = self.network.manifest
        size = image.shape[0], image.shape[1]
        if prompt.mask is not None:  # it replaces the previous answer
            before = None
        if self._zoom is not None and not prompt.is_mask_only:
            session = ImageSession(self.network, image, zoom=self._zoom, features=features)
            masks = None if before is None else self._as_masks(0, {1: before}, size)
            hint = masks if masks is not None and masks[1].any() else None
            shown = prompt.mask if hint is None else hint[1]
            if shown is not None:
                prompt = add_box(prompt, shown)
            zoomed = session.segment(prompt, hint=hint)
            if zoomed.zoomed and zoomed.best.any():
                answer = self._adopt(features, zoomed.best)
                return replace(answer, iou=float(zoomed.iou[0]), exact=zoomed.best)
        if prompt.mask is not None and prompt.is_mask_only:
            return replace(self._adopt(features, prompt.mask), exact=prompt.mask)
        low_res = None if before is None else before.logits
        if low_res is None and prompt.mask is not None:
            low_res = self.network.adopt(mask_to_square(prompt.mask, manifest.image_size))[0]
        if low_res is not None:
            low_res = low_res.clip(-manifest.hint_limit, manifest.hint_limit)
        points, labels = label_points(prompt, size, manifest.image_size)
        decoded = self.network.decode(features, context, points, labels, low_res)
        return self._choose(decoded, single=len(points) > 1)

    def _adopt(self, features: Features, mask: np.ndarray) -> Answer:
        """A person's mask as the answer. The decoder only adds the object pointer."""
        square = mask_to_square(mask, self.network.manifest.image_size)
        logits, hint, score, absent = self.network.adopt(square)
        # The published code shows the decoder the bare features here.
        decoded = self.network.decode(features, features.coarse, hint=hint)
        return Answer(logits, 1.0, decoded.pointers[0] if score > 0 else absent, score)

    def _choose(self, decoded: Decoded, *, single: bool) -> Answer:
        row = 0 if single else 1 + int(decoded.iou[1:].argmax())
        logits = decoded.logits[row]
        if decoded.score <= 0:
            logits = np.full_like(logits, self.network.manifest.absent_logit)
        return Answer(logits, float(decoded.iou[row]), decoded.pointers[row], decoded.score)

    def _as_masks(self, frame: int, answers: Mapping[int, Answer], size: tuple[int, int]) -> Masks:
        side = self.network.manifest.mask_size
        rows = list(answers.values())
        return Masks(
            frame,
            tuple(answers),
            np.array([answer.logits for answer in rows], dtype=np.float32).reshape(-1, side, side),
            size,
            np.array([answer.iou for answer in rows], dtype=np.float32),
            np.array([answer.score for answer in rows], dtype=np.float32),
            exact={id: answer.exact for id, answer in answers.items() if answer.exact is not None},
        )


def track(
    model: Network | str | Path,
    frames: Iterable[object],
    prompts: Mapping[int, Mapping[int, Prompt]],
    *,
    clip_length: int | None = None,
    zoom: Zoom | bool | None = None,
) -> Iterator[Masks]:
    """Track objects from the first prompted frame to the last, in constant memory.

    Args:
        model: A folder that `masklet export onnx` wrote, or a `Network`.
        frames: Uint8 (H, W, 3) RGB arrays, PIL images or paths, in order; any iterable of them.
        prompts: Prompts by frame, then by object id.
        clip_length, zoom: See `Tracker`.

    Returns:
        An iterator over the masks of each frame.

    Raises:
        PromptError: There is no prompt, or a prompt is on a frame that does not come.
        MediaError: `frames` is one path.
    """
    prompts = {frame: by_id for frame, by_id in check_prompts(prompts).items() if by_id}
    if not prompts:
        raise PromptError(
            "tracking needs at least one prompt: {0: {1: Prompt(positive=[(x, y)])}}. Got none."
        )
    if min(prompts) < 0:
        raise PromptError(f"frame numbers must be 0 or more. Got a prompt on frame {min(prompts)}.")
    if isinstance(frames, str | Path):
        raise MediaError(
            f"frames must be images in order: arrays, PIL images or paths. Got the path {frames}: pass "
            "the images of a folder as a list, and read a video with masklet.media.open_frames."
        )
    tracker = Tracker(model, clip_length=clip_length, zoom=zoom)
    return _track_frames(tracker, frames, prompts)


def _track_frames(
    tracker: Tracker, frames: Iterable[object], prompts: Mapping[int, Mapping[int, Prompt]]
) -> Iterator[Masks]:
    tracker.frame = min(prompts)
    for number, image in enumerate(frames):
        if number >= tracker.frame:
            yield tracker.step(image, prompts.get(number))
    if tracker.frame <= max(prompts):
        raise PromptError(f"the frames ended before frame {max(prompts)}, on which there is a prompt.")
