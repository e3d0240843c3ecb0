"""Masks found without a prompt, at the image's size, as run lengths; and their partition of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from masklet import rle
from masklet.errors import OptionError
from masklet.masks import EDGE, Masks, enlarge, match_mask

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]

MIN_AREA = 1 / 2000  # share of the image; smaller components are added to a neighbour


@dataclass(frozen=True, eq=False)
class RleMasks(Masks):
    """Masks that are kept as run lengths, so that hundreds of them need little memory.

    Attributes:
        codes: The masks at the frame's size as COCO RLE. Enlarged low-res logits may differ from them.
    """

    codes: tuple[rle.RLE, ...] = field(repr=False)

    @cached_property
    def logits(self) -> Float[Tensor, "n H W"]:
        """The enlarged low-res logits, changed where the masks disagree with their sign. Above 0 is the
        object."""
        enlarged = enlarge(self.low_res, self.size)
        inside = torch.from_numpy(self._arrays).to(enlarged.device)
        return match_mask(enlarged, inside)

    @cached_property
    def _arrays(self) -> Bool[np.ndarray, "n H W"]:
        return np.array([rle.decode(code) for code in self.codes], dtype=bool).reshape(-1, *self.size)

    def __getitem__(self, id: int) -> Bool[np.ndarray, "H W"]:
        return rle.decode(self.codes[self._row(id)])

    def replace_masks(self, masks: Bool[np.ndarray, "n H W"]) -> RleMasks:
        """The same objects with other masks and unchanged low-res logits.

        Args:
            masks: In the order of `ids`.
        """
        return replace(self, codes=tuple(map(rle.encode, masks)))

    @cached_property
    def areas(self) -> Int[np.ndarray, " n"]:
        """Pixels of each mask."""
        return np.array([rle.area(code) for code in self.codes], dtype=np.int64)

    @cached_property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """Tight boxes (x0, y0, x1, y1) in source pixels, x1 and y1 exclusive; zeros where a mask is empty."""
        return rle.boxes(self.codes)

    def label_map(self) -> np.ndarray:
        """int32 (H, W): the object's id at each pixel, or 0; of masks that overlap the smallest is on top."""
        rows = np.argsort(-self.areas, kind="stable").tolist()
        return rle.paint([self.codes[row] for row in rows], [self.ids[row] for row in rows], self.size)

    def rle(self) -> list[rle.RLE]:
        """Every mask as COCO RLE, in the order of `ids`."""
        return list(self.codes)

    def select(self, *ids: int) -> RleMasks:
        """Return the frame with only these objects, in this order, each once."""
        rows = self._rows(ids)
        parts = self.low_res[rows], self.size, self.iou[rows], self.score[rows]
        codes = tuple(self.codes[row] for row in rows)
        return RleMasks(self.frame, tuple(self.ids[row] for row in rows), *parts, codes, image=self.image)

    def _rows(self, ids: Sequence[int]) -> list[int]:
        return list(dict.fromkeys(map(self._row, ids)))


@dataclass(frozen=True, eq=False)
class Segments(RleMasks):
    """Masks of everything in an image, with ids from 1 on, and the points and crops that gave them.

    Attributes:
        stability: (n,) the IoU of a mask with itself when its threshold moves up and down.
        points: (n, 2) the prompting point (x, y) in pixels of the image; NaN if there was none.
        crops: (n, 4) the crop that was encoded, x0, y0, x1, y1 in pixels of the image.

    Example:
        >>> mask, one = np.ones((4, 6), dtype=bool), torch.ones(1)
        >>> origin = np.zeros((1, 2)), np.array([[0, 0, 6, 4]])
        >>> codes = (rle.encode(mask),)
        >>> segments = Segments(0, (1,), torch.ones(1, 2, 2), (4, 6), one, one, codes, one, *origin)
        >>> segments.areas.tolist(), segments.records()[0]["bbox"]
        ([24], [0.0, 0.0, 6.0, 4.0])
    """

    stability: Float[Tensor, " n"]
    points: Float[np.ndarray, "n 2"] = field(repr=False)
    crops: Int[np.ndarray, "n 4"] = field(repr=False)

    def select(self, *ids: int) -> Segments:
        """Return only these masks, in this order, each once.

        Args:
            *ids: The masks to keep.

        Raises:
            KeyError: There is no mask with such an id.
        """
        rows = self._rows(ids)
        return self.rows(rows, tuple(self.ids[row] for row in rows))

    def uncovered(self) -> Segments:
        """Remove from each mask the pixels of masks on top of it. Some may become empty."""
        labels = self.label_map()
        codes = []
        for id, box in zip(self.ids, self.boxes.astype(int).tolist(), strict=True):
            x0, y0, x1, y1 = box
            codes.append(rle.encode_at(labels[y0:y1, x0:x1] == id, (x0, y0), self.size))
        return replace(self, codes=tuple(codes))

    def sorted(self, by: Literal["score", "area"]) -> Segments:
        """Sort the masks, the highest first, and number them from 1 on.

        Args:
            by: The key: predicted IoU ("score") or number of pixels ("area").
        """
        keys = self.areas if by == "area" else self.iou.cpu().numpy()
        return self.rows(np.argsort(-keys, kind="stable").tolist())

    def rows(self, rows: Sequence[int], ids: Sequence[int] | None = None) -> Segments:
        """Select masks by row, in a given order.

        Args:
            rows: The rows to keep, from 0 on.
            ids: Their new ids. By default, they are numbered from 1 on.
        """
        rows = list(rows)
        return Segments(
            self.frame,
            tuple(range(1, len(rows) + 1) if ids is None else ids),
            self.low_res[rows],
            self.size,
            self.iou[rows],
            self.score[rows],
            tuple(self.codes[row] for row in rows),
            self.stability[rows],
            self.points[rows],
            self.crops[rows],
            image=self.image,
        )

    @classmethod
    def empty(cls, frame: int, size: tuple[int, int]) -> Segments:
        """An image without masks.

        Args:
            frame: The frame's number; 0 of an image.
            size: (H, W) of the image.
        """
        nothing = torch.zeros(0, dtype=torch.float32, device="cpu")
        points, crops = np.zeros((0, 2)), np.zeros((0, 4), dtype=np.int64)
        return cls(
            frame, (), nothing.view(0, 1, 1), size, nothing, nothing, (), nothing, points=points, crops=crops
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Segments]) -> Segments:
        """Join the masks of several crops, numbered from 1 on.

        Args:
            parts: The masks of each crop; at least one.
        """
        codes = tuple(code for part in parts for code in part.codes)
        low_res, iou, score, stability = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("low_res", "iou", "score", "stability")
        )
        points, crops = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "crops")
        )
        ids = tuple(range(1, len(codes) + 1))
        return cls(parts[0].frame, ids, low_res, parts[0].size, iou, score, codes, stability, points, crops)

    def records(self, output_mode: OutputMode = "binary_mask") -> list[dict[str, Any]]:
        """Return the records of sam2's mask generator.

        Args:
            output_mode: Masks as bool arrays (H, W), or as run lengths.

        Returns:
            A dict for each mask: segmentation, area, bbox (x, y, width, height), predicted_iou,
            point_coords, stability_score and crop_box (x, y, width, height).

        Raises:
            OptionError: There is no such mode.
        """
        if output_mode not in ("binary_mask", "uncompressed_rle", "coco_rle"):
            raise OptionError(
                f'output_mode must be "binary_mask", "uncompressed_rle" or "coco_rle". Got {output_mode!r}.'
            )
        return [
            {
                "segmentation": _in_mode(code, output_mode),
                "area": int(area),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "predicted_iou": iou,
                "point_coords": [] if np.isnan(point).any() else [point],
                "stability_score": stability,
                "crop_box": [left, top, right - left, bottom - top],
            }
            for code, area, (x0, y0, x1, y1), iou, point, stability, (left, top, right, bottom) in zip(
                self.codes,
                self.areas,
                self.boxes.tolist(),
                self.iou.tolist(),
                self.points.tolist(),
                self.stability.tolist(),
                self.crops.tolist(),
                strict=True,
            )
        ]


def masks_to_low_res(masks: Sequence[np.ndarray], side: int) -> Float[Tensor, "n side side"]:
    """Low-res logits that give these masks: the covered fraction of each cell, from -1 to 1.

    If a mask fills no cell by half, its fullest cell is kept, so that it is not lost.
    """
    if not masks:
        return torch.zeros(0, side, side, dtype=torch.float32, device="cpu")
    pixels = torch.from_numpy(np.stack(masks)).float()[:, None]
    shares = F.interpolate(pixels, (side, side), mode="area")[:, 0]
    largest = shares.amax(dim=(1, 2), keepdim=True)
    small = (shares == largest) & (largest > 0) & (largest <= 0.5)
    return torch.where(small, EDGE, 2 * shares - 1)


def _in_mode(code: rle.RLE, mode: OutputMode) -> Any:
    if mode == "coco_rle":
        return code
    mask = rle.decode(code)
    if mode == "binary_mask":
        return mask
    return {"size": code["size"], "counts": rle.encode_rows(mask.T)}  # COCO's runs go down the columns


def partition_segments(segments: Segments, min_area: int | None = None) -> Segments:
    """Segments that cover every pixel once: if several overlap, the smallest is on top.

    Pixels without a mask become new segments, one for each connected component, with an IoU and stability of
    0. Components of less than `min_area` pixels, by default 1/2000 of the image, are added to the nearest
    segment.
    """
    height, width = segments.size
    min_area = max(1, round(height * width * MIN_AREA) if min_area is None else min_area)
    segments = segments.rows(range(len(segments)))  # so that ids are 1 to n
    labels = _fill_from_nearest(_drop_small_components(segments, min_area))
    masks = {label: labels == label for label in np.unique(labels).tolist()}
    covered = [label for label in masks if label <= len(segments)]
    rest = [mask for label, mask in masks.items() if label > len(segments)]
    visible = segments.rows([label - 1 for label in covered])
    visible = replace(visible, codes=tuple(rle.encode(masks[label]) for label in covered))
    return Segments.concatenate([visible, _uncovered_segments(rest, segments)])


def _drop_small_components(segments: Segments, min_area: int) -> np.ndarray:
    """A label map without small components, which become 0; large components that were 0 get new numbers."""
    labels = segments.label_map()
    large, count = np.zeros_like(labels), len(segments)
    for label, (x0, y0, x1, y1) in enumerate(segments.boxes.astype(int), start=1):
        window = np.s_[y0:y1, x0:x1]
        for component in _components(labels[window] == label, min_area):
            large[window][component] = label
    for component in _components(labels == 0, min_area):
        count += 1
        large[component] = count
    if not large.any():  # all components are small
        large[:] = count + 1
    return large


def _components(mask: np.ndarray, min_area: int) -> list[np.ndarray]:
    """The connected components of a mask with at least this many pixels."""
    if mask.size == 0:
        return []
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area) + 1
    return [components == component for component in large]


def _fill_from_nearest(labels: np.ndarray) -> np.ndarray:
    """Assign each pixel that is 0 to the nearest one that is not."""
    empty = (labels == 0).astype(np.uint8)
    if not empty.any():
        return labels
    _, nearest = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(nearest.max() + 1, dtype=labels.dtype)
    owner[nearest[labels > 0]] = labels[labels > 0]
    return owner[nearest]


def _uncovered_segments(masks: list[np.ndarray], like: Segments) -> Segments:
    """Parts of the image without a mask, as segments without scores."""
    count, (height, width) = len(masks), like.size
    nothing = torch.zeros(count, dtype=torch.float32, device="cpu")
    return Segments(
        frame=like.frame,
        ids=tuple(range(1, count + 1)),
        low_res=masks_to_low_res(masks, like.low_res.shape[-1]).to(like.low_res.device),
        size=like.size,
        iou=nothing.to(like.iou),
        score=nothing.to(like.score),
        codes=tuple(map(rle.encode, masks)),
        stability=nothing.to(like.stability),
        points=np.full((count, 2), np.nan),
        crops=np.tile([0, 0, width, height], (count, 1)),
    )
