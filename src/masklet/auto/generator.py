"""Masks of a whole image: a grid of points is decoded in batches, and good masks are enlarged to full
size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from masklet import rle
from masklet.auto.contrast import measure_contrasts
from masklet.auto.grid import Crop, Grid, Points
from masklet.auto.segments import Segments
from masklet.boxes import pairwise_iou
from masklet.masks import enlarge
from masklet.model import Sam2
from masklet.postprocess import drop_islands, fill_holes
from masklet.prompts import POSITIVE
from masklet.tracking.step import HINT_LIMIT, encode_image
from masklet.types import Candidates, FrameFeatures, MemorySelection
from masklet.zoom import grid_cells

COMPARED_SIDE = 256  # side of the maps for comparing masks: that of published weights' low-res logits
# Margin of the predicted IoU above its threshold from which a mask is kept, whatever its contrast.
SURE_IOU = 0.15
EDGE_DISTANCE = 20  # pixels from a crop's edge at which a mask counts as cut by it
MAX_PIXELS = 2**26  # pixels that are enlarged in one go


@dataclass(frozen=True)
class EncodedCrop:
    """An image or crop, encoded.

    Attributes:
        size: (H, W) in pixels.
    """

    model: Sam2
    features: FrameFeatures
    context: Float[Tensor, "1 c h w"]
    size: tuple[int, int]

    @classmethod
    def from_features(cls, model: Sam2, features: FrameFeatures, size: tuple[int, int]) -> EncodedCrop:
        """An encoded image, without any memory."""
        return cls(model, features, model.attend(features, [MemorySelection()]), size)


@dataclass(frozen=True)
class Proposals:
    """Masks of one crop, still at low resolution.

    Attributes:
        points: (x, y) in the unit square.
        boxes: x0, y0, x1, y1 in the crop's pixels, the last ones included.
        codes: The masks, at the size for comparison.
    """

    low_res: Float[Tensor, "n h4 w4"]
    iou: Float[Tensor, " n"]
    score: Float[Tensor, " n"]
    stability: Float[Tensor, " n"]
    points: Float[np.ndarray, "n 2"]
    boxes: Float[np.ndarray, "n 4"]
    codes: tuple[rle.RLE, ...]

    def rows(self, rows: Sequence[int]) -> Proposals:
        rows = list(rows)
        return Proposals(
            self.low_res[rows],
            self.iou[rows],
            self.score[rows],
            self.stability[rows],
            self.points[rows],
            self.boxes[rows],
            tuple(self.codes[row] for row in rows),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Proposals]) -> Proposals:
        low_res, iou, score, stability = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("low_res", "iou", "score", "stability")
        )
        points, boxes = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "boxes")
        )
        codes = tuple(code for part in parts for code in part.codes)
        return cls(low_res, iou, score, stability, points, boxes, codes)


@torch.inference_mode()
def generate_segments(
    model: Sam2,
    image: UInt8[np.ndarray, "H W 3"],
    grid: Grid,
    *,
    allowed: Bool[np.ndarray, "H W"] | None = None,
    features: FrameFeatures | None = None,
) -> Segments:
    """The masks that pass a grid's thresholds, highest predicted IoU first, those of smaller crops before
    others.

    Args:
        allowed: The pixels that points may fall on; by default all.
        features: The encoded image, if available; crops are always encoded.
    """
    size = image.shape[0], image.shape[1]
    parts: list[Segments] = []
    for crop in grid.crops(size):
        part = np.s_[crop.y0 : crop.y1, crop.x0 : crop.x1]
        points = grid.points(crop.layer)
        points = points if allowed is None else _points_on(allowed[part], points)
        if features is None or crop.layer:
            encoded = EncodedCrop.from_features(model, encode_image(model, image[part]), crop.size)
        else:
            encoded = EncodedCrop.from_features(model, features, crop.size)
        proposals = propose(encoded, grid, points, crop, size)
        if grid.min_contrast:
            proposals = _drop_patches(proposals, image[part], grid)
        parts.append(to_segments(proposals, crop, size, grid))
    segments = drop_large(Segments.concatenate(parts), grid.max_area)
    if len(parts) == 1 and not grid.min_mask_region_area:
        return segments
    # If crops contain the same object, the smaller crop is used.
    extent = (segments.crops[:, 2:] - segments.crops[:, :2]).prod(axis=1)
    segments = segments.rows(np.argsort(extent, kind="stable").tolist())
    boxes = segments.boxes - (0, 0, 1, 1)
    return segments.rows(suppress_duplicates(grid.nms, segments.codes, boxes, grid.crop_nms_thresh))


def _drop_patches(proposals: Proposals, image: UInt8[np.ndarray, "H W 3"], grid: Grid) -> Proposals:
    """Remove patches of the background: the colours of uncertain masks must differ from those around them."""
    is_sure = proposals.iou.cpu().numpy() >= grid.pred_iou_thresh + SURE_IOU
    is_thing = measure_contrasts(image, proposals.codes) >= grid.min_contrast
    return proposals.rows(np.flatnonzero(is_sure | is_thing).tolist())


def drop_large(segments: Segments, max_area: float) -> Segments:
    """The masks that cover at most a fraction of the image."""
    height, width = segments.size
    return segments.rows(np.flatnonzero(segments.areas <= max_area * height * width).tolist())


def _points_on(allowed: Bool[np.ndarray, "H W"], points: Points) -> Float[np.ndarray, "q 2"]:
    """The points that fall on allowed pixels."""
    columns, rows = (points * allowed.shape[::-1]).astype(int).T
    return points[allowed[rows.clip(max=allowed.shape[0] - 1), columns.clip(max=allowed.shape[1] - 1)]]


def propose(encoded: EncodedCrop, grid: Grid, points: Points, crop: Crop, size: tuple[int, int]) -> Proposals:
    """The masks from the points of one crop, without duplicates, highest predicted IoU first.

    Args:
        size: (H, W) of the whole image.
    """
    batches = range(0, max(1, len(points)), grid.points_per_batch)  # at least one, which may be empty
    proposals = Proposals.concatenate(
        [_propose_batch(encoded, grid, points[i : i + grid.points_per_batch]) for i in batches]
    )
    proposals = proposals.rows(np.flatnonzero(~_is_cut(proposals.boxes, crop, size)).tolist())
    proposals = proposals.rows(proposals.iou.argsort(descending=True, stable=True).tolist())
    return proposals.rows(
        suppress_duplicates(grid.nms, proposals.codes, proposals.boxes, grid.box_nms_thresh)
    )


def _propose_batch(encoded: EncodedCrop, grid: Grid, points: Points) -> Proposals:
    """The masks of a batch of points whose predicted IoU and stability are high enough."""
    square = torch.tensor(points * encoded.model.config.image_size, dtype=torch.float32, device="cpu")[
        :, None
    ]
    square = square.to(encoded.model.device)
    decoded = _decode_points(encoded, square, candidates=3 if grid.multimask_output else 1)
    owner = torch.arange(len(points), dtype=torch.int64, device=square.device).repeat_interleave(
        decoded.iou.shape[1]
    )
    low_res, iou = decoded.logits.flatten(0, 1), decoded.iou.flatten()
    score = decoded.score[owner]
    if grid.use_m2m:
        hints = low_res.clamp(-HINT_LIMIT, HINT_LIMIT).split(grid.points_per_batch)
        rows = owner.split(grid.points_per_batch)
        refined = [
            _decode_points(encoded, square[r], hint, candidates=1)
            for r, hint in zip(rows, hints, strict=True)
        ]
        low_res, iou = (
            torch.cat([getattr(batch, name)[:, 0] for batch in refined]) for name in ("logits", "iou")
        )
        score = torch.cat([batch.score for batch in refined])
    is_good = iou > grid.pred_iou_thresh
    allowed = points[owner[is_good].cpu().numpy()]
    return _select_stable(encoded, grid, low_res[is_good], iou[is_good], score[is_good], allowed)


def _decode_points(
    encoded: EncodedCrop, points: Float[Tensor, "b 1 2"], hint: Tensor | None = None, *, candidates: int
) -> Candidates:
    labels = torch.full(points.shape[:2], POSITIVE, dtype=torch.int64, device=points.device)
    context = encoded.context.expand(len(points), -1, -1, -1)
    return encoded.model.decode(encoded.features, context, points, labels, hint, candidates=candidates)


def _select_stable(
    encoded: EncodedCrop, grid: Grid, low_res: Tensor, iou: Tensor, score: Tensor, points: Points
) -> Proposals:
    """Masks that change little with the threshold, with their boxes."""
    side = max(COMPARED_SIDE, low_res.shape[-1])
    size = encoded.size if grid.nms == "box" else (side, side)
    stability = torch.zeros_like(iou)
    codes: list[rle.RLE] = []
    stable: list[int] = []
    for rows in _chunks(len(low_res), size):
        logits = enlarge(low_res[rows], size)
        inner, outer = (
            (logits > grid.mask_threshold + offset).sum(dim=(1, 2)).float()
            for offset in (grid.stability_score_offset, -grid.stability_score_offset)
        )
        stability[rows] = inner / outer
        inside = logits > grid.mask_threshold
        is_stable = (stability[rows] >= grid.stability_score_thresh) & inside.flatten(1).any(dim=1)
        stable += (rows.start + is_stable.nonzero()[:, 0]).tolist()
        codes += map(rle.encode, inside[is_stable].cpu().numpy())
    scale = np.tile([encoded.size[1] / size[1], encoded.size[0] / size[0]], 2)
    boxes = (rle.boxes(codes) - (0, 0, 1, 1)) * scale
    return Proposals(
        low_res[stable], iou[stable], score[stable], stability[stable], points[stable], boxes, tuple(codes)
    )


def to_segments(proposals: Proposals, crop: Crop, size: tuple[int, int], grid: Grid) -> Segments:
    """The proposals of a crop as masks of the whole image, tidied; without those that cover no pixel.

    Args:
        size: (H, W) of the whole image.
    """
    is_full_size = grid.nms == "box" and crop.size == size and not grid.min_mask_region_area
    codes = proposals.codes if is_full_size else tuple(_tidy(proposals, crop, size, grid))
    corner, extent = (crop.x0, crop.y0), crop.size[::-1]
    segments = Segments(
        frame=0,
        ids=tuple(range(1, len(codes) + 1)),
        low_res=_place(proposals.low_res, crop, size),
        size=size,
        iou=proposals.iou,
        score=proposals.score,
        codes=codes,
        stability=proposals.stability,
        points=proposals.points * extent + corner,
        crops=np.tile(crop[:4], (len(codes), 1)),
    )
    return segments.rows(np.flatnonzero(segments.areas).tolist())


def _tidy(proposals: Proposals, crop: Crop, size: tuple[int, int], grid: Grid) -> Iterator[rle.RLE]:
    max_area = grid.min_mask_region_area - 1  # less than; tidying removes up to and including
    for rows in _chunks(len(proposals.low_res), crop.size):
        masks = (enlarge(proposals.low_res[rows], crop.size) > grid.mask_threshold).cpu().numpy()
        for mask in drop_islands(fill_holes(masks, max_area), max_area):
            full = np.zeros(size, dtype=bool)
            full[crop.y0 : crop.y1, crop.x0 : crop.x1] = mask
            yield rle.encode(full)


def _place(low_res: Tensor, crop: Crop, size: tuple[int, int]) -> Float[Tensor, "n h4 w4"]:
    """Low-res logits of a crop as those of the whole image."""
    if crop.size == size:
        return low_res
    side = low_res.shape[-1]
    top, bottom = grid_cells(crop.y0 / size[0], crop.y1 / size[0], side)
    left, right = grid_cells(crop.x0 / size[1], crop.x1 / size[1], side)
    canvas = torch.full_like(low_res, -HINT_LIMIT)
    if len(low_res):
        canvas[:, top:bottom, left:right] = enlarge(low_res, (bottom - top, right - left))
    return canvas


def _is_cut(boxes: Float[np.ndarray, "n 4"], crop: Crop, size: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Whether masks reach an edge of the crop that is not an edge of the image: they may continue beyond
    it."""
    in_image = boxes + np.tile((crop.x0, crop.y0), 2)
    ends = np.array(crop[:4]), np.array([0, 0, size[1], size[0]])
    at_crop, at_image = (np.abs(in_image - end) <= EDGE_DISTANCE for end in ends)
    return (at_crop & ~at_image).any(axis=1)


def _chunks(count: int, size: tuple[int, int]) -> Iterator[slice]:
    """Rows that can be enlarged together without much memory."""
    step = max(1, MAX_PIXELS // (size[0] * size[1]))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def suppress_duplicates(
    kind: Literal["mask", "box"], codes: Sequence[rle.RLE], boxes: Float[np.ndarray, "n 4"], threshold: float
) -> list[int]:
    """Rows that overlap no kept row before them by more than an IoU of `threshold`; the best come first."""
    overlaps = rle.overlaps(codes, codes) if kind == "mask" else pairwise_iou(boxes, boxes)
    return suppress_overlaps(overlaps, threshold)


def suppress_overlaps(overlaps: Float[np.ndarray, "n n"], threshold: float) -> list[int]:
    """Rows that overlap no selected row before them by more than the threshold.

    Args:
        overlaps: IoU of all pairs.
    """
    selected: list[int] = []
    for row, others in enumerate(overlaps):
        if not (others[selected] > threshold).any():
            selected.append(row)
    return selected
