"""Tracking objects through one frame: select memories, attend, decode, select a mask, memorize.

Everything that tracks an object calls `track_frame`. It knows no videos: frames come encoded, in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from masklet.model import Sam2, fill_mask
from masklet.nn.layers import tensor_on, to_device
from masklet.prompts import label_points
from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy, Recency
from masklet.transforms import frame_to_square, mask_to_square, still_to_square
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Memory, MemorySelection, Prompt

Item = TypeVar("Item")

HINT_LIMIT = 32.0  # hints are clamped, as the published predictors do it


@dataclass(eq=False)
class TrackedObject:
    """An object that is tracked.

    Attributes:
        id: The user's id, never a row of a batch.
        last: Its newest answer.
        revised: Answers to earlier frames that the newest frame changed.
        undecided: Frames whose answers later frames may change; only of policies with a latency.
    """

    id: int
    bank: MemoryBank
    policy: MemoryPolicy = field(default_factory=Recency)
    last: MaskPrediction | None = None
    revised: dict[int, MaskPrediction] = field(default_factory=dict)
    undecided: Collection[int] = ()


@dataclass(frozen=True)
class EncodedFrame:
    """A frame that objects are tracked to.

    Attributes:
        reverse: Whether tracking runs backward.
        clip_length: See `Tracker`.
    """

    features: FrameFeatures
    number: int
    reverse: bool = False
    clip_length: int | None = None


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model takes it: points and a hint, or a mask that is itself the answer.

    Attributes:
        points: In pixels of the model's square.
        labels: One for each point; see `masklet.nn.prompt_encoder`.
        mask: The answer, 0 or 1 in the model's square. Then there are no points.
        hint: Low-res logits of the mask with which the model starts.
        alone: Whether the prompt is answered without memories, as in an image.
    """

    points: Float[Tensor, "1 p 2"]
    labels: Int[Tensor, "1 p"]
    mask: Float[Tensor, "1 S S"] | None
    hint: Float[Tensor, "1 h4 w4"] | None
    alone: bool

    @classmethod
    def of(
        cls,
        prompt: Prompt,
        size: tuple[int, int],
        model: Sam2,
        hint: Tensor | None = None,
        *,
        alone: bool = True,
        adopts: bool = False,
    ) -> EncodedPrompt:
        """Encode a prompt in pixels of a frame of `size` (H, W).

        A mask with clicks or a box is where the model starts, unless there is a hint, which is newer.

        Args:
            adopts: A mask alone is the answer, as in videos; otherwise the start, as in images.
        """
        side, device = model.config.image_size, model.device
        positions, kinds = label_points(prompt, size, side)
        points = to_device(torch.from_numpy(positions)[None], device)
        labels = tensor_on(device, [kinds], torch.int64)
        mask = None if prompt.mask is None else to_device(mask_to_square(prompt.mask, side), device)
        if mask is not None and not (adopts and prompt.is_mask_only):
            if hint is None or prompt.is_mask_only:
                hint = fill_mask(mask, model.config.mask_size)
            mask = None
        hint = None if hint is None else hint.clamp(-HINT_LIMIT, HINT_LIMIT)
        return cls(points, labels, mask, hint, alone)

    @property
    def shape(self) -> Hashable:
        """Prompts that have the same shape run as one batch."""
        return self.mask is None, self.points.shape[1], self.hint is None


@dataclass(frozen=True)
class Choice:
    """The candidates of one object, and which one its policy selects."""

    candidates: Candidates
    index: Int[Tensor, " 1"]


@dataclass(frozen=True)
class ObjectQuery:
    """All that the network is given for one object on a frame."""

    object: TrackedObject
    selection: MemorySelection
    prompt: EncodedPrompt | None


@torch.inference_mode()
def encode_image(model: Sam2, image: UInt8[np.ndarray, "H W 3"], *, mirrored: bool = False) -> FrameFeatures:
    """Encode an image or its mirror image, resized as the published image predictor does it."""
    square = still_to_square(image, model.config.image_size, model.device)
    return model.encode(square.flip(-1) if mirrored else square)


@torch.inference_mode()
def encode_images(model: Sam2, images: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> list[FrameFeatures]:
    """Encode images in one call. Their sizes may differ."""
    side, device = model.config.image_size, model.device
    return _encode_together(model, [still_to_square(image, side, device) for image in images])


@torch.inference_mode()
def encode_frame(model: Sam2, image: UInt8[np.ndarray, "H W 3"]) -> FrameFeatures:
    """Encode a frame of a video, resized as the published video predictor does it."""
    return model.encode(frame_to_square(image, model.config.image_size, model.device))


@torch.inference_mode()
def encode_frames(model: Sam2, images: Iterable[UInt8[np.ndarray, "H W 3"]]) -> list[FrameFeatures]:
    """Encode frames of a video in one call."""
    side, device = model.config.image_size, model.device
    return _encode_together(model, [frame_to_square(image, side, device) for image in images])


def _encode_together(model: Sam2, squares: list[Float[Tensor, "1 3 S S"]]) -> list[FrameFeatures]:
    if not squares:
        return []
    features = model.encode(torch.cat(squares))
    if len(squares) == 1:
        return [features]
    return [features.row(row) for row in range(len(squares))]


@torch.inference_mode()
def track_frame(
    model: Sam2,
    frame: EncodedFrame,
    objects: Sequence[TrackedObject],
    prompts: Mapping[int, EncodedPrompt] | None = None,
) -> dict[int, Choice]:
    """Track objects to a frame, or answer their prompts there, and store the memories.

    Afterwards `last` of each object is its answer, and its policy has stored the memory in its bank.

    Args:
        prompts: By object id.

    Returns:
        By object id, the candidates and the one that was selected.
    """
    choices: dict[int, Choice] = {}
    limit = model.backend.objects_per_batch
    for batch in batch_queries(frame, objects, prompts or {}, limit):
        offered, prediction = predict_masks(model, frame.features, batch)
        prompted, reads = batch[0].prompt is not None, batch[0].object.policy.reads
        memories = make_memories(model, frame, prediction, prompted=prompted, reads=reads)
        for row, (query, choice, memory) in enumerate(zip(batch, offered, memories, strict=True)):
            obj = query.object
            obj.last, obj.revised, obj.undecided = prediction.row(row), {}, ()
            choices[obj.id] = choice
            obj.policy.store(obj.bank, memory, choice.candidates)
    return choices


def make_memories(
    model: Sam2, frame: EncodedFrame, prediction: MaskPrediction, *, prompted: bool, reads: bool
) -> list[Memory]:
    """The memories of answers on a frame, one for each object.

    Args:
        reads: Whether policies read IoU and score, which are then moved to the host in one transfer.
    """
    tokens = model.memorize(frame.features, prediction, binary=prompted)
    iou_and_score = prediction.iou, prediction.score
    on_host = torch.stack(iou_and_score).cpu() if reads else iou_and_score
    rows = zip(tokens, prediction.pointer, *on_host, strict=True)
    dtype = tokens.dtype if model.memory_dtype == torch.float32 else model.memory_dtype
    return [  # copies: a memory that is kept must not keep those of the other objects
        Memory(frame.number, row.to(dtype, copy=True), pointer, iou, score, prompted)
        for row, pointer, iou, score in rows
    ]


def batch_queries(
    frame: EncodedFrame,
    objects: Sequence[TrackedObject],
    prompts: Mapping[int, EncodedPrompt],
    limit: int,
) -> Iterator[list[ObjectQuery]]:
    """Select each object's memories, and batch objects whose memories and prompts have the same shape.

    So none needs padding, and each gets the numbers that it would get alone. The policies of a batch have the
    same `present` and `reads`, so it is enough to ask the first. A batch has at most `limit` objects.
    """
    queries: list[tuple[Hashable, ObjectQuery]] = []
    for obj in objects:
        prompt, policy = prompts.get(obj.id), obj.policy
        is_alone = prompt is not None and prompt.alone
        selection = MemorySelection() if is_alone else select_memories(policy, obj.bank, frame)
        shape = selection.shape, prompt and prompt.shape, policy.present, policy.reads
        queries.append((shape, ObjectQuery(obj, selection, prompt)))
    return batch_alike(queries, limit)


def select_memories(policy: MemoryPolicy, bank: MemoryBank, frame: EncodedFrame) -> MemorySelection:
    """The memories that a policy selects for a frame, of those of the same scene and of prompts."""
    scene = bank.scene(frame.number) if bank.cuts else bank
    return policy.select_memories(scene, frame.number, reverse=frame.reverse, clip_length=frame.clip_length)


def batch_alike(items: Iterable[tuple[Hashable, Item]], limit: int) -> Iterator[list[Item]]:
    """Items of the same shape in batches of at most `limit`.

    Args:
        items: (shape, item) pairs.
    """
    by_shape: dict[Hashable, list[Item]] = defaultdict(list)
    for shape, item in items:
        by_shape[shape].append(item)
    for group in by_shape.values():
        yield from (group[i : i + limit] for i in range(0, len(group), limit))


@torch.inference_mode()
def predict_masks(
    model: Sam2, features: FrameFeatures, batch: Sequence[ObjectQuery]
) -> tuple[list[Choice], MaskPrediction]:
    """What each object of a batch is offered, and the masks that their policies select."""
    prompts = [query.prompt for query in batch if query.prompt is not None]
    masks = [prompt.mask for prompt in prompts if prompt.mask is not None]
    if masks:
        mask = model.adopt(features, torch.cat(masks))
        only = Candidates(mask.logits[:, None], mask.iou[:, None], mask.pointer[:, None], mask.score)
        first = torch.zeros(1, dtype=torch.int64, device=mask.iou.device)
        return [Choice(only.row(row), first) for row in range(len(batch))], mask
    context = model.attend(features, [query.selection for query in batch])
    present = batch[0].object.policy.present
    if prompts:
        candidates = decode_prompts(model, features, context, prompts, present=present)
    else:
        candidates = model.decode(features, context, present=present)
    rows = [candidates.row(row) for row in range(len(batch))]
    indices = [query.object.policy.select_mask(row) for query, row in zip(batch, rows, strict=True)]
    prediction = candidates.pick(torch.cat(indices)).hide_absent(present)
    return [Choice(*choice) for choice in zip(rows, indices, strict=True)], prediction


def decode_prompts(
    model: Sam2,
    features: FrameFeatures,
    context: Float[Tensor, "b c h w"],
    prompts: Sequence[EncodedPrompt],
    *,
    candidates: int | None = None,
    present: float = 0.0,
) -> Candidates:
    """What the network offers for prompts of the same shape, without masks that are answers.

    Args:
        candidates: 3 or 1. By default three for at most one point, which may mean the part or the whole.
        present: The object score above which an object is in the frame.
    """
    points = torch.cat([prompt.points for prompt in prompts])
    labels = torch.cat([prompt.labels for prompt in prompts])
    hints = [prompt.hint for prompt in prompts if prompt.hint is not None]
    has_points = points.shape[1] > 0
    return model.decode(
        features,
        context,
        points if has_points else None,
        labels if has_points else None,
        torch.cat(hints) if hints else None,
        candidates=candidates or (3 if points.shape[1] <= 1 else 1),
        present=present,
    )
