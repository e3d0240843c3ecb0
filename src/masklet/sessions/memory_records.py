"""What a session keeps of an object on a frame: the answer, in full or as a mask alone, and its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from masklet import rle
from masklet.model import Sam2, fill_mask
from masklet.results import ReadImage
from masklet.sessions.object_state import ObjectState
from masklet.tracking.bank import MemoryBank
from masklet.transforms import mask_to_square
from masklet.types import FrameFeatures, MaskPrediction, Masks, Memory


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """What the model made of one object on one frame.

    Attributes:
        answer: Compact where there was no room for its logits.
        memory: None where the policy kept none, or there was no room for it.
        exact: COCO run lengths of a mask finer than the answer, which is shown in its place: a person's, or
            one that zoom refined.
        anchor: Whether the policy wants to look at the memory when it is old.
        policy_state: What the policy knew behind this frame, where the store writes that down.
    """

    answer: MaskPrediction | CompactAnswer
    memory: Memory | None
    exact: str | None = None
    anchor: bool = False
    policy_state: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        held = 0 if self.memory is None else self.memory.tokens.nbytes
        return held + (self.answer.logits.nbytes if isinstance(self.answer, MaskPrediction) else 0)


@dataclass(frozen=True, slots=True)
class CompactAnswer:
    """An answer of which the mask is left, as the user saw it.

    Attributes:
        counts: The mask as COCO run lengths, in the size of the source.
        had_memory: Whether a memory was made of it, for which there was no room either.
    """

    counts: str
    iou: float
    score: float
    had_memory: bool

    @classmethod
    def of(cls, answer: MaskPrediction, size: tuple[int, int], *, had_memory: bool) -> CompactAnswer:
        """Compact the answer of one object, on frames of `size` (H, W)."""
        mask = Masks(0, (0,), answer.logits, size, answer.iou, answer.score).rle()[0]
        return cls(mask["counts"], float(answer.iou), float(answer.score), had_memory)

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """bool (H, W)"""
        return rle.decode({"size": list(size), "counts": self.counts})

    def hint(self, size: tuple[int, int], model: Sam2) -> Float[Tensor, "1 h4 w4"]:
        """Low-res logits in place of those that it had."""
        square = mask_to_square(self.mask(size), model.config.image_size).to(model.device)
        return fill_mask(square, model.config.mask_size)


def to_masks(
    frame: int,
    records: Mapping[int, MemoryRecord],
    size: tuple[int, int],
    model: Sam2,
    image: ReadImage | None = None,
) -> Masks:
    """The masks of objects on a frame of `size` (H, W), by their records."""
    if not records:
        return replace(Masks.empty(frame, size), image=image)
    rows, exact = [], {}
    for id, record in records.items():
        answer, counts = record.answer, record.exact
        if isinstance(answer, MaskPrediction):
            rows.append((answer.logits, answer.iou, answer.score))
        else:
            counts = answer.counts if counts is None else counts
            numbers = [[answer.iou], [answer.score]]
            iou, score = torch.tensor(numbers, dtype=torch.float32, device=model.device)
            rows.append((answer.hint(size, model), iou, score))
        if counts is not None:
            exact[id] = rle.decode({"size": list(size), "counts": counts})
    low_res, iou, score = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return Masks(frame, tuple(records), low_res, size, iou, score, exact=exact, image=image)


def fill_bank(bank: MemoryBank, obj: ObjectState, records: Mapping[int, MemoryRecord]) -> None:
    """Put an object's memories into an empty bank: its conditioning frames, and the others in their order."""
    for frame in obj.conditioning:
        memory = records[frame].memory if frame in records else None
        if memory is not None:
            bank.prompted[frame] = replace(memory, prompted=True)
    for frame, record in records.items():
        if record.memory is None or frame in bank.prompted:
            continue
        bank.tracked[frame] = replace(record.memory, prompted=False)
        if record.anchor:
            bank.anchors[frame] = bank.tracked[frame]


@torch.inference_mode()
def rebuild_memory(
    model: Sam2, features: FrameFeatures, frame: int, answer: CompactAnswer, size: tuple[int, int]
) -> Memory:
    """A memory in place of one for which there was no room, made as if a person had drawn the mask."""
    mask = mask_to_square(answer.mask(size), model.config.image_size).to(model.device)
    adopted = model.adopt(features, mask)
    iou, score = torch.full_like(adopted.iou, answer.iou), torch.full_like(adopted.score, answer.score)
    adopted = replace(adopted, iou=iou, score=score)
    tokens = model.memorize(features, adopted, binary=True)
    kept = tokens[0].to(model.memory_dtype)
    return Memory(frame, kept, adopted.pointer[0], iou[0], score[0], prompted=False)
