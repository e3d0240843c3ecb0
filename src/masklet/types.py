"""The types that modules exchange: features, candidates, predictions, memories, prompts and masks.

Dimension letters: `b` objects in a batch, `m`
candidate masks, `n` tokens, `p` points, `c` channels, `h w` a map, `H W` the source image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from masklet.boxes import Box as Box
from masklet.image_candidates import ImageCandidates as ImageCandidates
from masklet.masks import CERTAIN as CERTAIN
from masklet.masks import Masks as Masks
from masklet.prompts import Prompt as Prompt

ABSENT = -1024.0  # the logit of every pixel of an object that is not in the frame


@dataclass(frozen=True)
class FrameFeatures:
    """An encoded frame, shared by all objects, prompts and propagations.

    Attributes:
        coarse: (b, c, h, w) at stride 16. b is 1 unless frames were batched.
        middle: (b, c / 4, 2h, 2w) at stride 8, already projected for the mask decoder.
        fine: (b, c / 8, 4h, 4w) at stride 4, likewise.

    Example:
        >>> sizes = (8, 4), (2, 8), (1, 16)
        >>> features = FrameFeatures(*(torch.zeros(2, c, side, side) for c, side in sizes))
        >>> features.row(1).coarse.shape, features.nbytes
        (torch.Size([1, 8, 4, 4]), 4096)
    """

    coarse: Float[Tensor, "b c h w"]
    middle: Float[Tensor, "b c2 h2 w2"]
    fine: Float[Tensor, "b c4 h4 w4"]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.coarse, self.middle, self.fine))

    def row(self, index: int) -> FrameFeatures:
        """Copy the features of one of several frames.

        Args:
            index: The row of the frame in the batch.
        """
        return FrameFeatures(*(part[index : index + 1].clone() for part in self))

    def to(self, *args: Any) -> FrameFeatures:
        """Return the features on another device or in another dtype.

        Args:
            *args: As `torch.Tensor.to` takes them.
        """
        return FrameFeatures(self.coarse.to(*args), self.middle.to(*args), self.fine.to(*args))

    @property
    def nbytes(self) -> int:
        """Size of the three maps in bytes."""
        return sum(part.nbytes for part in self)


@dataclass(frozen=True)
class ObjectBatch:
    """Tensors with a row for each object of a batch."""

    def row(self, index: int) -> Self:
        """The same of one object, still as a batch of one.

        Args:
            index: The row of the object in the batch.
        """
        return type(self)(*(part[index : index + 1] for part in vars(self).values()))


@dataclass(frozen=True)
class MaskPrediction(ObjectBatch):
    """One mask for each object of a batch.

    Attributes:
        logits: Low-res logits, float32 (b, h, w) at stride 4 of the model's square. Above 0 is the object.
        iou: (b,) predicted quality, 0 to 1.
        pointer: (b, c) object pointers.
        score: (b,) object scores, as logits. Above 0 the object is in the frame.

    Example:
        >>> logits, iou = torch.full((2, 4, 4), 3.0), torch.tensor([0.9, 0.8])
        >>> prediction = MaskPrediction(logits, iou, torch.zeros(2, 8), torch.tensor([5.0, -5.0]))
        >>> prediction.hide_absent().logits.amax(dim=(1, 2)).tolist()
        [3.0, -1024.0]
        >>> MaskPrediction.stack([prediction.row(1), prediction.row(0)]).score.tolist()
        [-5.0, 5.0]
    """

    logits: Float[Tensor, "b h4 w4"]
    iou: Float[Tensor, " b"]
    pointer: Float[Tensor, "b c"]
    score: Float[Tensor, " b"]

    def hide_absent(self, present: float = 0.0) -> MaskPrediction:
        """Remove the masks of objects that are absent according to their object score.

        Args:
            present: The object score above which an object is in the frame.

        Returns:
            The prediction; the logits of absent objects are -1024 everywhere.
        """
        is_present = (self.score > present)[:, None, None]
        return replace(self, logits=torch.where(is_present, self.logits, ABSENT))

    @staticmethod
    def stack(predictions: Sequence[MaskPrediction]) -> MaskPrediction:
        """Stack predictions to one batch, in order.

        Args:
            predictions: Batches of any length.
        """
        parts = zip(*(vars(prediction).values() for prediction in predictions), strict=True)
        return MaskPrediction(*(torch.cat(rows) for rows in parts))


@dataclass(frozen=True)
class Candidates(ObjectBatch):
    """The masks that the decoder offers for each object: three, or one.

    Attributes:
        logits: Low-res logits, float32 (b, m, h, w) at stride 4 of the model's square. Above 0 is the object.
        iou: (b, m) predicted quality, 0 to 1.
        pointer: (b, m, c) object pointers.
        score: (b,) object scores, as logits. Above 0 the object is in the frame.

    Example:
        >>> iou = torch.tensor([[0.2, 0.9, 0.5]])
        >>> candidates = Candidates(torch.zeros(1, 3, 4, 4), iou, torch.zeros(1, 3, 8), torch.ones(1))
        >>> candidates.pick(candidates.iou.argmax(dim=1)).iou
        tensor([0.9000])
    """

    logits: Float[Tensor, "b m h4 w4"]
    iou: Float[Tensor, "b m"]
    pointer: Float[Tensor, "b m c"]
    score: Float[Tensor, " b"]

    def pick(self, choice: Tensor) -> MaskPrediction:
        """Select one candidate for each object.

        Args:
            choice: Int64 (b,), on the candidates' device, so that nothing waits for the host.

        Returns:
            The chosen masks, with their IoU and pointers.
        """
        rows = torch.arange(len(choice), dtype=torch.int64, device=choice.device)
        return MaskPrediction(
            self.logits[rows, choice], self.iou[rows, choice], self.pointer[rows, choice], self.score
        )


@dataclass(frozen=True)
class Memory:
    """One object on one frame, to which later frames attend: spatial tokens and an object pointer.

    Attributes:
        frame: The frame's number.
        tokens: (n, d) memory tokens of the coarse map, row by row, rounded to the model's `memory_dtype`.
        pointer: (c,) object pointer.
        iou: Predicted quality of the mask, 0 to 1; a scalar tensor.
        score: Object score, as a logit; a scalar tensor.
        prompted: Whether the object was prompted on this frame.

    Example:
        >>> one = torch.tensor(1.0)
        >>> tokens = torch.zeros(16, 8, dtype=torch.bfloat16)
        >>> memory = Memory(3, tokens, torch.zeros(32), one, one, prompted=True)
        >>> memory.frame, memory.tokens.shape
        (3, torch.Size([16, 8]))
    """

    frame: int
    tokens: Float[Tensor, "n d"]
    pointer: Float[Tensor, " c"]
    iou: Float[Tensor, ""]
    score: Float[Tensor, ""]
    prompted: bool


@dataclass(frozen=True)
class MemorySelection:
    """The memories to which one object attends on a frame.

    Attributes:
        spatial: (age row, memory). The row of the learned age table is added to the memory's tokens.
        pointers: (signed age in frames, pointer). Positive ages are past frames, in the direction of
            tracking.
        span: The age that counts as 1.0 in the pointers' age encoding.
        weights: Weights of the keys, for each memory and then for each pointer. Empty for equal weights.

    Example:
        >>> selection = MemorySelection(pointers=((1, torch.zeros(32)), (2, torch.zeros(32))))
        >>> selection.shape
        (0, 2, False)
    """

    spatial: tuple[tuple[int, Memory], ...] = ()
    pointers: tuple[tuple[int, Tensor], ...] = ()
    span: int = 15
    weights: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, int, bool]:
        """Objects whose selections have the same shape run as one batch."""
        return len(self.spatial), len(self.pointers), bool(self.weights)


def tight_boxes(masks: Bool[Tensor, "n H W"]) -> Float[Tensor, "n 4"]:
    """The boxes around masks, on the masks' device; zeros if a mask is empty."""
    x0, x1 = _ends(masks.any(dim=1))
    y0, y1 = _ends(masks.any(dim=2))
    return torch.stack([x0, y0, x1, y1], dim=1).float()


def _ends(occupied: Bool[Tensor, "n side"]) -> tuple[Tensor, Tensor]:
    """The first true index of each row, and the index after the last; zeros if there is none."""
    first, last = occupied.int().argmax(dim=1), occupied.shape[1] - occupied.flip(1).int().argmax(dim=1)
    return first, torch.where(occupied.any(dim=1), last, 0)
