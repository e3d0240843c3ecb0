"""What the rooms hand to one another: prompts, features, candidates, memories, masks.

Nothing here computes more than a resize. Dimension letters, the same everywhere: `b` objects in a batch, `m`
candidate masks, `n` tokens, `p` points, `c` channels, `h w` a map, `H W` the source image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from masklet import rle
from masklet.boxes import Box as Box
from masklet.errors import PromptError
from masklet.label_maps import NotAMask, to_mask
from masklet.masks import CERTAIN as CERTAIN
from masklet.masks import ImageCandidates as ImageCandidates
from masklet.masks import Masks as Masks

ABSENT = -1024.0  # the logit of every pixel of an object that is not in the frame

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """Points, a box or a mask that show which object is meant on one frame.

    All positions are in pixels of the source image. `a | b` adds b's clicks to a's; b's box and mask, where
    it has them, replace a's.

    Args:
        positive: (x, y) clicks on the object.
        negative: (x, y) clicks on what is not the object.
        box: (x0, y0, x1, y1) with x0 < x1 and y0 < y1.
        mask: (H, W) of the frame's size: bool, labels, probabilities or logits. A prompt that is only a mask
            is taken as the answer; with clicks, the mask is where they start from.

    Raises:
        PromptError: A click is not a pair of finite numbers, the box has no area, or the mask is no mask.

    Example:
        >>> Prompt(positive=[(5, 5)]) | Prompt(negative=[(1, 2)])
        Prompt(positive=((5.0, 5.0),), negative=((1.0, 2.0),))
    """

    positive: Sequence[Point] = ()
    negative: Sequence[Point] = ()
    box: Box | None = None
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", _points(self.positive, "positive"))
        object.__setattr__(self, "negative", _points(self.negative, "negative"))
        if self.box is not None:
            object.__setattr__(self, "box", _box(self.box))
        if self.mask is not None:
            object.__setattr__(self, "mask", _mask(self.mask))

    @property
    def clicks(self) -> int:
        return len(self.positive) + len(self.negative)

    @property
    def is_mask_only(self) -> bool:
        """Whether the prompt is a mask and nothing else. Then it is the answer."""
        return self.mask is not None and self.box is None and not self.clicks

    def __bool__(self) -> bool:
        return self.clicks > 0 or self.box is not None or self.mask is not None

    def __or__(self, other: Prompt) -> Prompt:
        return Prompt(
            positive=(*self.positive, *other.positive),
            negative=(*self.negative, *other.negative),
            box=self.box if other.box is None else other.box,
            mask=self.mask if other.mask is None else other.mask,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(
            (self.positive, self.negative, self.box, None if self.mask is None else self.mask.tobytes())
        )

    def __repr__(self) -> str:
        names = [name for name in ("positive", "negative", "box") if getattr(self, name)]
        parts = [f"{name}={getattr(self, name)}" for name in names]
        if self.mask is not None:
            parts.append(f"mask={self.mask.shape[0]}x{self.mask.shape[1]}")
        return f"Prompt({', '.join(parts)})"

    def to_json(self) -> dict[str, Any]:
        """A plain dict for `json`, without empty fields. The mask is COCO RLE."""
        fields: dict[str, Any] = {}
        if self.positive:
            fields["positive"] = [list(point) for point in self.positive]
        if self.negative:
            fields["negative"] = [list(point) for point in self.negative]
        if self.box is not None:
            fields["box"] = list(self.box)
        if self.mask is not None:
            fields["mask"] = rle.encode(self.mask)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Prompt:
        """The prompt of a plain dict, as `to_json` makes it.

        Raises:
            PromptError: It is no dict, has another field, or a field has another form.
        """
        if not isinstance(fields, Mapping):
            raise PromptError(f"a prompt is an object with positive, negative, box and mask. Got {fields!r}.")
        unknown = set(fields) - {"positive", "negative", "box", "mask"}
        if unknown:
            raise PromptError(
                f"a prompt has positive, negative, box and mask. Got {', '.join(sorted(map(str, unknown)))}."
            )
        box, mask = fields.get("box"), fields.get("mask")
        return cls(
            positive=_points(fields.get("positive", ()), "positive"),
            negative=_points(fields.get("negative", ()), "negative"),
            box=None if box is None else _box(box),
            mask=None if mask is None else rle.decode(mask),
        )


def _points(points: Any, name: str) -> tuple[Point, ...]:
    array = _numbers(points)
    if array is not None and array.size == 0:
        return ()
    if array is None or array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(f"{name} must be a list of (x, y) points; one click is [(x, y)]. Got {points!r}.")
    if not np.isfinite(array).all():
        raise PromptError(f"{name} must be finite pixel positions. Got {array.tolist()}.")
    return tuple((float(x), float(y)) for x, y in array)


def _numbers(values: Any) -> np.ndarray | None:
    """An array; None where rows differ in length, or not all are numbers."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _box(box: Any) -> Box:
    array = _numbers(box)
    if array is None or array.shape != (4,) or not np.isfinite(array).all():
        raise PromptError(f"box must be four finite numbers (x0, y0, x1, y1). Got {box!r}.")
    x0, y0, x1, y1 = (float(value) for value in array)
    if x1 <= x0 or y1 <= y0:
        raise PromptError(
            "box must have an area: (x0, y0, x1, y1) with x0 < x1 and y0 < y1. "
            f"Got ({x0:g}, {y0:g}, {x1:g}, {y1:g})."
        )
    return x0, y0, x1, y1


def _mask(mask: Any) -> np.ndarray:
    array = np.asarray(mask)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise PromptError(f"mask must have shape (H, W), one value a pixel. Got shape {array.shape}.")
    try:
        return to_mask(array)
    except NotAMask as error:
        raise PromptError(f"mask must be bool, labels, probabilities or logits: {error}.") from error


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

    def to(self, *args: Any) -> FrameFeatures:
        return FrameFeatures(*(part.to(*args) for part in self))

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
