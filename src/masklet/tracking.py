"""Following objects through one frame: look at the memory, decode, choose, remember.

Everything that follows an object calls `advance`. It knows no videos: frames come encoded, and in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from masklet.memory import MemoryBank, MemoryPolicy, Recency, remembered
from masklet.model import Sam2, drawn
from masklet.transforms import mask_to_square, points_to_square
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Prompt, Recall

HINT_LIMIT = 32.0  # hints are clamped, as the published predictors do it
TOGETHER = 16  # objects in one pass; more go in several, so that memory stays bounded


@dataclass
class TrackedObject:
    """What is followed.

    id : the user's, never a row of a batch
    last : its newest answer
    """

    id: int
    bank: MemoryBank
    policy: MemoryPolicy = field(default_factory=Recency)
    last: MaskPrediction | None = None


@dataclass(frozen=True)
class Ask:
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
    ) -> Ask:
        """What a prompt in source pixels asks of the model, on a frame of `size` (H, W)."""
        side, device = model.config.image_size, model.device
        points, labels = (part.to(device) for part in points_to_square(prompt, size, side))
        mask = None if prompt.mask is None else mask_to_square(prompt.mask, side).to(device)
        if mask is not None and points.shape[1]:  # a mask with clicks is where the clicks start from
            hint = drawn(mask, model.config.mask_size) if hint is None else hint
            mask = None
        hint = None if hint is None else hint.clamp(-HINT_LIMIT, HINT_LIMIT)
        return cls(points, labels, mask, hint, alone)

    @property
    def shape(self) -> Hashable:
        """Asks that agree in this run as one batch."""
        return self.mask is None, self.points.shape[1], self.hint is None


@dataclass(frozen=True)
class Look:
    """One object about to be looked for on a frame."""

    object: TrackedObject
    recall: Recall
    ask: Ask | None


@torch.inference_mode()
def advance(
    model: Sam2,
    features: FrameFeatures,
    frame: int,
    objects: Sequence[TrackedObject],
    asks: Mapping[int, Ask] | None = None,
    *,
    reverse: bool = False,
    clip_length: int | None = None,
) -> None:
    """Follow objects to a frame, or answer what is asked of them there, and remember it.

    Afterwards each object's `last` is its answer, and its bank is what its policy made of it.
    """
    for batch in looks(frame, objects, asks or {}, reverse=reverse, clip_length=clip_length):
        candidates, prediction = answer(model, features, batch)
        prompted = batch[0].ask is not None
        tokens = model.memorize(features, prediction, binary=prompted)
        for row, look in enumerate(batch):
            one = prediction.row(row)
            offered = None if candidates is None else candidates.row(row)
            memory = remembered(frame, tokens[row], one, prompted=prompted)
            look.object.last = one
            look.object.policy.admit(look.object.bank, memory, offered)


def looks(
    frame: int,
    objects: Sequence[TrackedObject],
    asks: Mapping[int, Ask],
    *,
    reverse: bool = False,
    clip_length: int | None = None,
) -> Iterator[list[Look]]:
    """Objects in batches that run as one: those that recall, and are asked, as much.

    So none needs padding, and each gets the numbers that it would get apart.
    """
    alike: dict[Hashable, list[Look]] = defaultdict(list)
    for each in objects:
        ask = asks.get(each.id)
        if ask is not None and ask.alone:
            recall = Recall()
        else:
            recall = each.policy.recall(each.bank, frame, reverse=reverse, clip_length=clip_length)
        alike[recall.shape, ask and ask.shape].append(Look(each, recall, ask))
    for group in alike.values():
        yield from (group[i : i + TOGETHER] for i in range(0, len(group), TOGETHER))


@torch.inference_mode()
def answer(
    model: Sam2, features: FrameFeatures, batch: Sequence[Look]
) -> tuple[Candidates | None, MaskPrediction]:
    """What the model offers for objects that run as one, and what their policies believe of it."""
    asks = [look.ask for look in batch if look.ask is not None]
    masks = [ask.mask for ask in asks if ask.mask is not None]
    if masks:
        return None, model.adopt(features, torch.cat(masks))
    context = model.attend(features, [look.recall for look in batch])
    if asks:
        points, labels = torch.cat([ask.points for ask in asks]), torch.cat([ask.labels for ask in asks])
        hints = [ask.hint for ask in asks if ask.hint is not None]
        hint = torch.cat(hints) if hints else None
        candidates = model.decode(
            features, context, points, labels, hint, candidates=3 if points.shape[1] <= 1 else 1
        )
    else:
        candidates = model.decode(features, context)
    choice = torch.cat([look.object.policy.choose(candidates.row(row)) for row, look in enumerate(batch)])
    return candidates, candidates.pick(choice).hidden()
