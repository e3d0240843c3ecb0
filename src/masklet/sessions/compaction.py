"""What a long video leaves: the newest answers and memories in full, of older answers the masks."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from masklet import rle
from masklet.model import Sam2, fill_mask
from masklet.tracking.bank import make_memory
from masklet.transforms import mask_to_square
from masklet.types import FrameFeatures, MaskPrediction, Masks, Memory


class Room:
    """Answers and memories in full, in the order in which they came, while a budget of bytes lasts.

    It holds on to nothing: what all others have let go of takes no room.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held = 0  # bytes
        self._numbers = count()
        self._kept: OrderedDict[int, tuple[int, weakref.ref[MaskPrediction | Memory], int]] = OrderedDict()

    def add(self, frame: int, each: MaskPrediction | Memory) -> None:
        """Count an answer, or a memory, of a frame."""
        number = next(self._numbers)
        size = (each.tokens if isinstance(each, Memory) else each.logits).nbytes
        self._kept[number] = frame, weakref.ref(each, partial(self._gone, number)), size
        self.held += size

    def overdue(self, spared: int) -> Iterator[tuple[int, MaskPrediction | Memory]]:
        """The oldest, with their frames, that there is no room for; the newest are spared in any case."""
        while self.held > self.budget and len(self._kept) > spared:
            _, (frame, kept, size) = self._kept.popitem(last=False)
            self.held -= size
            each = kept()
            if each is not None:
                yield frame, each

    def _gone(self, number: int, _: object) -> None:
        _, _, size = self._kept.pop(number, (0, None, 0))
        self.held -= size


@dataclass(frozen=True)
class CompactAnswer:
    """An answer of which the mask is left, as the user saw it.

    remembered : whether a memory was made of it, which is let go of with it
    """

    counts: str
    iou: float
    score: float
    remembered: bool

    @classmethod
    def of(cls, answer: MaskPrediction, size: tuple[int, int], *, remembered: bool) -> CompactAnswer:
        """Pack the answer of one object, on frames of `size` (H, W)."""
        mask = Masks(0, (0,), answer.logits, size, answer.iou, answer.score).rle()[0]
        return cls(mask["counts"], float(answer.iou), float(answer.score), remembered)

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """bool (H, W)"""
        return rle.decode({"size": list(size), "counts": self.counts})

    def hint(self, size: tuple[int, int], model: Sam2) -> Float[Tensor, "1 h4 w4"]:
        """Low-res logits in place of those that it had."""
        square = mask_to_square(self.mask(size), model.config.image_size).to(model.device)
        return fill_mask(square, model.config.mask_size)


@torch.inference_mode()
def rebuild_memory(
    model: Sam2, features: FrameFeatures, frame: int, answer: CompactAnswer, size: tuple[int, int]
) -> Memory:
    """A memory in place of one that there was no room for, made as if a person had drawn the mask."""
    mask = mask_to_square(answer.mask(size), model.config.image_size).to(model.device)
    seen = model.adopt(features, mask)
    iou, score = torch.full_like(seen.iou, answer.iou), torch.full_like(seen.score, answer.score)
    seen = replace(seen, iou=iou, score=score)
    tokens = model.memorize(features, seen, binary=True)
    return make_memory(frame, tokens[0], seen, prompted=False)


def shown(
    frame: int,
    answers: Mapping[int, MaskPrediction | CompactAnswer],
    size: tuple[int, int],
    model: Sam2,
) -> Masks:
    """The masks of a frame of which some are packed, in the size of the source."""
    parts = {}
    for id, answer in answers.items():
        if isinstance(answer, CompactAnswer):
            iou, score = (
                torch.tensor([value], dtype=torch.float32, device=model.device)
                for value in (answer.iou, answer.score)
            )
            exact = {id: answer.mask(size)}
            parts[id] = Masks(frame, (id,), answer.hint(size, model), size, iou, score, exact=exact)
        else:
            parts[id] = Masks(frame, (id,), answer.logits, size, answer.iou, answer.score)
    return Masks.joined(parts)
