"""The masks of one frame, as the user gets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from masklet import rle
from masklet.boxes import tight_box

DRAWN = 10.0  # the logit of what a person drew, and less that of what surrounds it

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in source pixels, x1 and y1 exclusive


@dataclass(frozen=True)
class Closeup:
    """A mask that was found by a closer look: its logits within a window, beyond which the object is not."""

    window: Window
    logits: Float[Tensor, "h4 w4"] = field(repr=False)

    def spread(self, size: tuple[int, int]) -> Float[Tensor, "H W"]:
        """The logits over the whole frame of `size` (H, W)."""
        x0, y0, x1, y1 = self.window
        inside = _resized(self.logits[None], (y1 - y0, x1 - x0))[0]
        return F.pad(inside, (x0, size[1] - x1, y0, size[0] - y1), value=-DRAWN)


@dataclass(frozen=True)
class Masks:
    """The masks of one frame, by object id; upsampled to source pixels when first asked for.

    low_res : float32 (n, h, w) logits at stride 4, as the decoder made them; the hint for the next clicks
    size : (H, W) of the source frame
    iou : (n,) predicted quality, 0 to 1
    score : (n,) object score logit, > 0 when the object is in the frame
    drawn : by id, masks that stand as a person drew them, finer than what the model keeps of them
    closeups : by id, masks that a closer look found, finer than `low_res` too

    >>> masks = Masks(0, (7,), torch.full((1, 2, 2), 3.0), (4, 6), torch.ones(1), torch.ones(1))
    >>> masks[7].shape, int(masks.label_map().max()), masks.boxes.tolist()
    ((4, 6), 7, [[0.0, 0.0, 6.0, 4.0]])
    """

    frame: int
    ids: tuple[int, ...]
    low_res: Float[Tensor, "n h4 w4"] = field(repr=False)
    size: tuple[int, int]
    iou: Float[Tensor, " n"]
    score: Float[Tensor, " n"]
    drawn: Mapping[int, Bool[np.ndarray, "H W"]] = field(default_factory=dict, repr=False, kw_only=True)
    closeups: Mapping[int, Closeup] = field(default_factory=dict, repr=False, kw_only=True)

    @cached_property
    def logits(self) -> Float[Tensor, "n H W"]:
        """Mask logits in source pixels; > 0 is the object."""
        logits = _resized(self.low_res, self.size)
        if not self.drawn and not self.closeups:
            return logits
        return torch.stack([self._finest(id, row) for id, row in zip(self.ids, logits, strict=True)])

    def _finest(self, id: int, logits: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
        if id in self.drawn:
            return _sides(self.drawn[id], logits)
        return self.closeups[id].spread(self.size) if id in self.closeups else logits

    @cached_property
    def _arrays(self) -> Bool[np.ndarray, "n H W"]:
        return (self.logits > 0).cpu().numpy()

    def __getitem__(self, id: int) -> Bool[np.ndarray, "H W"]:
        mask: np.ndarray = self._arrays[self._row(id)]
        return mask

    def __contains__(self, id: object) -> bool:
        return id in self.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)

    def items(self) -> Iterator[tuple[int, Bool[np.ndarray, "H W"]]]:
        return ((id, self[id]) for id in self.ids)

    @staticmethod
    def joined(each: Mapping[int, Masks]) -> Masks:
        """One mask for each object, made apart on the same frame; the keys become the ids."""
        parts = list(each.values())
        first = parts[0]
        low_res, iou, score = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("low_res", "iou", "score")
        )
        drawn = {id: mask for id, part in each.items() for mask in part.drawn.values()}
        closeups = {id: close for id, part in each.items() for close in part.closeups.values()}
        return Masks(
            first.frame, tuple(each), low_res, first.size, iou, score, drawn=drawn, closeups=closeups
        )

    def select(self, *ids: int) -> Masks:
        """The same frame with only these objects, in this order."""
        rows = [self._row(id) for id in ids]
        parts = self.low_res[rows], self.size, self.iou[rows], self.score[rows]
        drawn = {id: mask for id, mask in self.drawn.items() if id in ids}
        closeups = {id: close for id, close in self.closeups.items() if id in ids}
        return Masks(self.frame, ids, *parts, drawn=drawn, closeups=closeups)

    def _row(self, id: int) -> int:
        if id not in self.ids:
            there = ", ".join(map(str, self.ids)) or "none"
            raise KeyError(f"no object {id} on frame {self.frame}; there are {there}")
        return self.ids.index(id)

    @cached_property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """Tight boxes (x0, y0, x1, y1) in source pixels, x1 and y1 exclusive; zeros where a mask is empty."""
        boxes = np.zeros((len(self), 4))
        for row, mask in zip(boxes, self._arrays, strict=True):
            row[:] = tight_box(mask) or 0
        return boxes

    def label_map(self) -> np.ndarray:
        """int32 (H, W): the object's id at each pixel, or 0; where masks overlap the highest logit wins."""
        labels = np.zeros(self.size, dtype=np.int32)
        claims = np.zeros(self.size, dtype=np.uint16)
        for id, mask in self.items():
            labels[mask] = id
            claims += mask
        disputed = claims > 1  # few pixels, if any: reading the logits of all would take most of the time
        if disputed.any():
            logits = self.logits[:, torch.from_numpy(disputed).to(self.logits.device)]
            labels[disputed] = np.array(self.ids)[logits.argmax(dim=0).cpu().numpy()]
        return labels

    def rle(self) -> list[rle.RLE]:
        """Every mask as COCO RLE, in the order of `ids`."""
        return [rle.encode(mask) for mask in self._arrays]


def _sides(mask: Bool[np.ndarray, "H W"], like: Tensor) -> Float[Tensor, "H W"]:
    inside = torch.from_numpy(mask).to(like.device)
    return like.new_full((), DRAWN).where(inside, -DRAWN)


def _resized(logits: Float[Tensor, "n h4 w4"], size: tuple[int, int]) -> Float[Tensor, "n H W"]:
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
