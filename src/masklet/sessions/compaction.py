"""Answers of a long video of which only the mask is left, and memories made again from masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from masklet import rle
from masklet.model import Sam2, fill_mask
from masklet.tracking.bank import make_memory
from masklet.transforms import mask_to_square
from masklet.types import FrameFeatures, MaskPrediction, Masks, Memory


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
    return make_memory(frame, tokens[0], adopted, prompted=False)
