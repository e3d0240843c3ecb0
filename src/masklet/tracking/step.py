"""Following objects through one frame: look at the memory, decode, choose, remember.

Everything that follows an object calls `advance`. It knows no videos: frames come encoded, and in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from masklet.model import Sam2, fill_mask
from masklet.tracking.bank import MemoryBank, make_memory
from masklet.tracking.policies.recency import MemoryPolicy, Recency
from masklet.transforms import frame_to_square, mask_to_square, points_to_square, still_to_square
from masklet.types import Candidates, FrameFeatures, MaskPrediction, MemorySelection, Prompt

HINT_LIMIT = 32.0  # hints are clamped, as the published predictors do it
BATCH = 16  # objects in one pass; more go in several, so that memory stays bounded


@dataclass
class TrackedObject:
    """An object that is tracked.

    Attributes:
        id: The user's, never a row of a batch.
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
class EncodedPrompt:
    """A prompt as the model takes it: points, or a mask that is itself the answer.

    hint : low-res logits of the answer that the prompt corrects
    alone : look at no memory, as in a picture
    """

    points: Float[Tensor, "1 p 2"]
    labels: Int[Tensor, "1 p"]
    mask: Float[Tensor, "1 S S"] | None = None
    hint: Float[Tensor, "1 h4 w4"] | None = None
    alone: bool = False

    @classmethod
    def of(
        cls, prompt: Prompt, size: tuple[int, int], model: Sam2, hint: Tensor | None = None, *, alone: bool
    ) -> EncodedPrompt:
        """What a prompt in source pixels asks of the model, on a frame of `size` (H, W)."""
        side, device = model.config.image_size, model.device
        points, labels = (part.to(device) for part in points_to_square(prompt, size, side))
        mask = None if prompt.mask is None else mask_to_square(prompt.mask, side).to(device)
        if mask is not None and points.shape[1]:  # a mask with clicks is where the clicks start from
            hint = fill_mask(mask, model.config.mask_size) if hint is None else hint
            mask = None
        hint = None if hint is None else hint.clamp(-HINT_LIMIT, HINT_LIMIT)
        return cls(points, labels, mask, hint, alone)

    @property
    def shape(self) -> Hashable:
        """Asks that agree in this run as one batch."""
        return self.mask is None, self.points.shape[1], self.hint is None


@dataclass(frozen=True)
class Choice:
    """What the decoder offers for an object, as a batch of one, and which candidate its policy selects."""

    candidates: Candidates
    index: Int[Tensor, " b"]

    def row(self, index: int) -> Choice:
        """The choice for one object of a batch."""
        return Choice(self.candidates.row(index), self.index[index : index + 1])


@dataclass(frozen=True)
class ObjectQuery:
    """One object about to be looked for on a frame."""

    object: TrackedObject
    selection: MemorySelection
    ask: EncodedPrompt | None


@torch.inference_mode()
def encode_image(model: Sam2, image: UInt8[np.ndarray, "H W 3"]) -> FrameFeatures:
    """Encode a picture, resized as the published image predictor does it."""
    return model.encode(still_to_square(image, model.config.image_size, model.device))


@torch.inference_mode()
def encode_frame(model: Sam2, image: UInt8[np.ndarray, "H W 3"]) -> FrameFeatures:
    """Encode a frame of a video, resized as the published video predictor does it."""
    return model.encode(frame_to_square(image, model.config.image_size, model.device))


@torch.inference_mode()
def track_frame(
    model: Sam2,
    features: FrameFeatures,
    frame: int,
    objects: Sequence[TrackedObject],
    asks: Mapping[int, EncodedPrompt] | None = None,
    *,
    reverse: bool = False,
    clip_length: int | None = None,
) -> dict[int, Choice]:
    """Follow objects to a frame, or answer what is asked of them there, and remember it.

    Afterwards each object's `last` is its answer, and its bank is what its policy made of it.

    Returns:
        By object id, what the decoder offered and the policy selected.
    """
    asks = asks or {}
    choices: dict[int, Choice] = {}
    for batch in looks(frame, objects, asks, reverse=reverse, clip_length=clip_length):
        choice, prediction = answer(model, features, batch)
        prompted = batch[0].ask is not None
        tokens = model.memorize(features, prediction, binary=prompted)
        told = prediction.counted() if batch[0].object.policy.reads else prediction
        for row, look in enumerate(batch):
            memory = make_memory(frame, tokens[row], told.row(row), prompted=prompted)
            look.object.last = prediction.row(row)
            look.object.revised, look.object.undecided = {}, ()
            choices[look.object.id] = choice.row(row)
            look.object.policy.store(look.object.bank, memory, choices[look.object.id].candidates)
    return choices


def looks(
    frame: int,
    objects: Sequence[TrackedObject],
    asks: Mapping[int, EncodedPrompt],
    *,
    reverse: bool = False,
    clip_length: int | None = None,
) -> Iterator[list[ObjectQuery]]:
    """Objects in batches that run as one: those that recall, and are asked, as much.

    So none needs padding, and each gets the numbers that it would get apart.
    """
    alike: dict[Hashable, list[ObjectQuery]] = defaultdict(list)
    for each in objects:
        ask, policy = asks.get(each.id), each.policy
        if ask is not None and ask.alone:
            selection = MemorySelection()
        else:
            seen = each.bank.scene(frame)
            selection = policy.select_memories(seen, frame, reverse=reverse, clip_length=clip_length)
        key = selection.shape, ask and ask.shape, policy.present, policy.reads
        alike[key].append(ObjectQuery(each, selection, ask))
    for group in alike.values():
        yield from (group[i : i + BATCH] for i in range(0, len(group), BATCH))


@torch.inference_mode()
def answer(
    model: Sam2, features: FrameFeatures, batch: Sequence[ObjectQuery]
) -> tuple[Choice, MaskPrediction]:
    """What the model offers for objects that run as one, and what their policies believe of it."""
    asks = [look.ask for look in batch if look.ask is not None]
    masks = [ask.mask for ask in asks if ask.mask is not None]
    if masks:
        adopted = model.adopt(features, torch.cat(masks))
        first = torch.zeros(len(batch), dtype=torch.int64, device=adopted.iou.device)
        return Choice(Candidates.only(adopted), first), adopted
    context = model.attend(features, [look.selection for look in batch])
    present = batch[0].object.policy.present
    if asks:
        points, labels = torch.cat([ask.points for ask in asks]), torch.cat([ask.labels for ask in asks])
        hints = [ask.hint for ask in asks if ask.hint is not None]
        hint = torch.cat(hints) if hints else None
        many = 3 if points.shape[1] <= 1 else 1
        candidates = model.decode(features, context, points, labels, hint, candidates=many, present=present)
    else:
        candidates = model.decode(features, context, present=present)
    choice = torch.cat(
        [look.object.policy.select_mask(candidates.row(row)) for row, look in enumerate(batch)]
    )
    return Choice(candidates, choice), candidates.pick(choice).hidden(present)
