"""The candidate masks for a prompt in an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from masklet.arrays import ComparesArrays
from masklet.drawing import Image, Tile
from masklet.masks import CERTAIN, Masks, enlarge
from masklet.prompts import check_id
from masklet.results import MaskResult, ReadImage
from masklet.zoom import Window, grid_cells


@dataclass(frozen=True, eq=False)
class Candidate(ComparesArrays):
    """One candidate mask for a prompt.

    Attributes:
        logits: Float32 (h, w) within the window.
        iou: Predicted quality, 0 to 1.
        score: Object score.
        size: (H, W) of the image.
        window: The part of the image that the network saw; None for the whole. The object is inside it.
    """

    logits: Float[Tensor, "h4 w4"] = field(repr=False)
    iou: Float[Tensor, ""]
    score: Float[Tensor, ""]
    size: tuple[int, int]
    window: Window | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def inside(self) -> Bool[np.ndarray, "h4 w4"]:
        """The cells of the mask."""
        return (self.logits > 0).cpu().numpy()

    def with_cells(self, inside: Bool[np.ndarray, "h4 w4"]) -> Candidate:
        """The candidate with the cells of another mask; if they differ, logits change their sign."""
        changed = inside != self.inside
        if not changed.any():
            return self
        differs = torch.from_numpy(changed).to(self.logits.device)
        return replace(self, logits=torch.where(differs, -self.logits, self.logits))

    def with_logits(self, logits: Float[np.ndarray, "h4 w4"]) -> Candidate:
        """The candidate with other logits in the same window."""
        return replace(self, logits=torch.from_numpy(logits).to(self.logits.device))

    @cached_property
    def full(self) -> Float[Tensor, "H W"]:
        """The logits over the image."""
        if self.window is None:
            return enlarge(self.logits[None], self.size)[0]
        return self.part((0, 0, self.size[1], self.size[0]))

    @cached_property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """The mask over the image."""
        if self.window is None:
            return (self.full > 0).cpu().numpy()
        mask = np.zeros(self.size, dtype=np.bool_)  # a large image costs no more than the window
        x0, y0, x1, y1 = self.window
        mask[y0:y1, x0:x1] = (self.part(self.window) > 0).cpu().numpy()
        return mask

    def part(self, part: Window) -> Float[Tensor, "h w"]:
        """The logits over a part of the image, equal to those of `full`. Only the window is enlarged."""
        if self.window is None:
            return self.full[part[1] : part[3], part[0] : part[2]]
        x0, y0, x1, y1 = self.window
        inside = enlarge(self.logits[None], (y1 - y0, x1 - x0))[0]
        if part == self.window:
            return inside
        logits = inside.new_full((part[3] - part[1], part[2] - part[0]), -CERTAIN)
        left, top = max(x0, part[0]), max(y0, part[1])
        right, bottom = min(x1, part[2]), min(y1, part[3])
        if left < right and top < bottom:
            rows = slice(top - part[1], bottom - part[1])
            columns = slice(left - part[0], right - part[0])
            logits[rows, columns] = inside[top - y0 : bottom - y0, left - x0 : right - x0]
        return logits

    @property
    def low_res(self) -> Float[Tensor, "h4 w4"]:
        """The logits over the image, with the same number of cells as in the window."""
        if self.window is None:
            return self.logits
        x0, y0, x1, y1 = self.window
        side, (height, width) = self.logits.shape[-1], self.size
        grid = 4 * side
        left, right = grid_cells(x0 / width, x1 / width, grid)
        top, bottom = grid_cells(y0 / height, y1 / height, grid)
        inside = F.interpolate(
            self.logits[None, None], (bottom - top, right - left), mode="bilinear", antialias=True
        )
        padded = F.pad(inside, (left, grid - right, top, grid - bottom), value=-CERTAIN)
        return F.avg_pool2d(padded, 4)[0, 0]


@dataclass(frozen=True, eq=False)
class ImageCandidates(MaskResult):
    """The candidate masks for a prompt in an image, best first.

    `candidates[0]` is the best mask, bool (H, W). Pass the candidates as the hint for the next prompt to
    correct the best one, or `candidates.select(2)` to correct another.

    Attributes:
        size: (H, W) of the image.
        ranked: The candidates, by predicted IoU, the highest first.
        image: Reads the image, to show it with its masks.

    Example:
        >>> logits, one = torch.full((2, 2), 3.0), torch.tensor(1.0)
        >>> worse, better = Candidate(-logits, one / 2, one, (4, 6)), Candidate(logits, one, one, (4, 6))
        >>> candidates = ImageCandidates.rank((4, 6), [worse, better])
        >>> candidates.iou.tolist(), bool(candidates[0].all()), candidates.label_map().tolist()[0]
        ([1.0, 0.5], True, [1, 1, 1, 1, 1, 1])
    """

    size: tuple[int, int]
    ranked: tuple[Candidate, ...]
    image: ReadImage | None = field(default=None, repr=False, compare=False, kw_only=True)

    @classmethod
    def rank(cls, size: tuple[int, int], candidates: Sequence[Candidate]) -> ImageCandidates:
        """Sort candidates by predicted IoU.

        Args:
            size: (H, W) of the image.
            candidates: In any order; at least one.
        """
        order = torch.stack([candidate.iou for candidate in candidates]).argsort(descending=True, stable=True)
        return cls(size, tuple(candidates[row] for row in order.tolist()))

    @cached_property
    def iou(self) -> Float[Tensor, " m"]:
        """Predicted quality of each mask, 0 to 1."""
        return torch.stack([candidate.iou for candidate in self.ranked])

    @cached_property
    def score(self) -> Float[Tensor, " m"]:
        """Object score of each mask."""
        return torch.stack([candidate.score for candidate in self.ranked])

    @cached_property
    def logits(self) -> Float[Tensor, "m H W"]:
        """Mask logits in source pixels. Above 0 is the object."""
        return torch.stack([candidate.full for candidate in self.ranked])

    @cached_property
    def low_res(self) -> Float[Tensor, "m h4 w4"]:
        """Mask logits at stride 4 over the whole image."""
        return torch.stack([candidate.low_res for candidate in self.ranked])

    @property
    def best(self) -> Bool[np.ndarray, "H W"]:
        """The mask with the highest predicted IoU."""
        return self[0]

    @property
    def zoomed(self) -> bool:
        """Whether any of the masks was segmented in a window of the image."""
        return any(candidate.window is not None for candidate in self.ranked)

    def best_part(self, part: Window) -> Float[Tensor, "h w"]:
        """Mask logits of the best candidate in a part of the image. Only that part is enlarged.

        Args:
            part: x0, y0, x1, y1 in pixels of the image, x1 and y1 exclusive.
        """
        return self.ranked[0].part(part)

    def __getitem__(self, rank: int) -> Bool[np.ndarray, "H W"]:
        return np.array(self.ranked[rank].mask)  # a copy: callers may draw on it

    def numpy(self) -> Bool[np.ndarray, "m H W"]:
        """All candidates as one new bool array, best first."""
        return np.stack(list(self))

    def draw(self, image: object = None) -> Image:
        """The image with the best mask painted in; see `Masks.draw`.

        Args:
            image: The image, if masklet does not have it.
        """
        return self.as_masks().draw(image)

    def _numbered(self) -> Iterator[tuple[int, Bool[np.ndarray, "H W"]]]:
        return enumerate(self, 1)

    def _tiles(self, image: object) -> list[Tile]:
        alone = [self.select(rank) for rank in range(len(self))]
        iou = self.iou.tolist()
        return [Tile(one.draw(image), f"{rank}: IoU {iou[rank]:.2f}") for rank, one in enumerate(alone)]

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "ranked": self.ranked, "image": None}

    def __len__(self) -> int:
        return len(self.ranked)

    def __iter__(self) -> Iterator[Bool[np.ndarray, "H W"]]:
        return (self[rank] for rank in range(len(self)))

    def select(self, *ranks: int) -> ImageCandidates:
        """Return only the candidates with these ranks, in this order.

        Args:
            *ranks: Places from 0 on; negative ones count from the worst.
        """
        return replace(self, ranked=tuple(self.ranked[rank] for rank in ranks))

    def as_masks(self, id: int = 1) -> Masks:
        """The best candidate as the mask of an object, for writers and label maps.

        Args:
            id: The object's id, from 1 on.
        """
        exact = {check_id(id): self[0]} if self.ranked[0].window is not None else {}
        low_res = self.ranked[0].low_res[None]
        numbers = self.iou[:1], self.score[:1]
        return Masks(0, (check_id(id),), low_res, self.size, *numbers, exact=exact, image=self.image)

    def label_map(self) -> np.ndarray:
        """Int32 (H, W): 1 inside the best mask, otherwise 0."""
        return self.best.astype(np.int32)
