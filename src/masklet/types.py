"""What the rooms hand to one another: prompts, features, candidates, memories, masks.

Nothing here computes more than a resize. Dimension letters, the same everywhere: `b` objects in a batch, `m`
candidate masks, `n` tokens, `p` points, `c` channels, `h w` a map, `H W` the source image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.boxes import Box as Box
from masklet.masks import CERTAIN as CERTAIN
from masklet.masks import ImageCandidates as ImageCandidates
from masklet.masks import Masks as Masks
from masklet.prompts import Prompt as Prompt

ABSENT = -1024.0  # the logit of every pixel of an object that is not in the frame


@dataclass(frozen=True)
class FrameFeatures:
    """An encoded frame. Made once; every object, prompt and propagation reads it.

    b is 1 unless frames were batched; middle and fine are already projected for the mask decoder.
    """

    coarse: Float[Tensor, "b c h w"]  # stride 16
    middle: Float[Tensor, "b c2 h2 w2"]  # stride 8
    fine: Float[Tensor, "b c4 h4 w4"]  # stride 4

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.coarse, self.middle, self.fine))

    def row(self, index: int) -> FrameFeatures:
        """The features of one of several frames, in memory of their own."""
        return FrameFeatures(*(part[index : index + 1].clone() for part in self))

    def to(self, *args: Any) -> FrameFeatures:
        return FrameFeatures(self.coarse.to(*args), self.middle.to(*args), self.fine.to(*args))

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self)


@dataclass(frozen=True)
class MaskPrediction:
    """One mask for each object of a batch."""

    logits: Float[Tensor, "b h4 w4"]  # low-res logits: float32 at stride 4, > 0 is the object
    iou: Float[Tensor, " b"]  # predicted quality, 0 to 1
    pointer: Float[Tensor, "b c"]  # object pointer
    score: Float[Tensor, " b"]  # object score: logit, > 0 when the object is in the frame

    def row(self, index: int) -> MaskPrediction:
        """The prediction of one object, still as a batch of one."""
        rows = slice(index, index + 1)
        return MaskPrediction(self.logits[rows], self.iou[rows], self.pointer[rows], self.score[rows])

    def hide_absent(self, present: float = 0.0) -> MaskPrediction:
        """The same, without a mask where the object score says that the object is absent.

        Args:
            present: The object score above which an object is in the frame.
        """
        is_present = (self.score > present)[:, None, None]
        logits = torch.where(is_present, self.logits, ABSENT)
        return MaskPrediction(logits, self.iou, self.pointer, self.score)

    def numbers_on_host(self) -> MaskPrediction:
        """The same with IoU and score on the host, in one transfer."""
        iou, score = torch.stack([self.iou, self.score]).cpu()
        return MaskPrediction(self.logits, iou, self.pointer, score)

    @staticmethod
    def stack(predictions: Sequence[MaskPrediction]) -> MaskPrediction:
        """Many predictions as one batch, in their order."""
        return MaskPrediction(
            torch.cat([prediction.logits for prediction in predictions]),
            torch.cat([prediction.iou for prediction in predictions]),
            torch.cat([prediction.pointer for prediction in predictions]),
            torch.cat([prediction.score for prediction in predictions]),
        )


@dataclass(frozen=True)
class Candidates:
    """The masks that the decoder offers for each object: three, or one."""

    logits: Float[Tensor, "b m h4 w4"]
    iou: Float[Tensor, "b m"]
    pointer: Float[Tensor, "b m c"]
    score: Float[Tensor, " b"]

    def row(self, index: int) -> Candidates:
        """The candidates of one object, still as a batch of one."""
        rows = slice(index, index + 1)
        return Candidates(self.logits[rows], self.iou[rows], self.pointer[rows], self.score[rows])

    @staticmethod
    def of_one(mask: MaskPrediction) -> Candidates:
        """One candidate for each object, such as a person's mask."""
        return Candidates(mask.logits[:, None], mask.iou[:, None], mask.pointer[:, None], mask.score)

    def pick(self, choice: Tensor) -> MaskPrediction:
        """Select one candidate for each object.

        Args:
            choice: Int64 (b,), on the candidates' device, so that nothing waits for the host.
        """
        rows = torch.arange(len(choice), dtype=torch.int64, device=choice.device)
        return MaskPrediction(
            self.logits[rows, choice], self.iou[rows, choice], self.pointer[rows, choice], self.score
        )


@dataclass(frozen=True)
class Memory:
    """One object on one frame, as later frames are compared with it: spatial tokens and an object pointer."""

    frame: int
    tokens: Float[Tensor, "n d"]
    pointer: Float[Tensor, " c"]
    iou: Float[Tensor, ""]
    score: Float[Tensor, ""]
    prompted: bool


@dataclass(frozen=True)
class MemorySelection:
    """The memories with which one object is compared on a frame.

    Attributes:
        spatial: (age row, memory). The row of the learned age table is added to the memory's tokens.
        pointers: (signed age in frames, pointer). Positive ages lie behind, in the direction of travel.
        span: The age that counts as 1.0 in the pointers' age encoding.
        weights: Factors of the keys, for each memory and then for each pointer. Empty where all count alike.
    """

    spatial: tuple[tuple[int, Memory], ...] = ()
    pointers: tuple[tuple[int, Tensor], ...] = ()
    span: int = 15
    weights: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, int, bool]:
        """Objects whose selections have the same shape run as one batch."""
        return len(self.spatial), len(self.pointers), bool(self.weights)
