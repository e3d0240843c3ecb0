"""Masks of a whole picture: points are asked about in batches, and only what survives gets its full size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from masklet import rle
from masklet.auto.duplicates import distinct
from masklet.auto.grid import Crop, Grid, Points
from masklet.auto.segments import Segments
from masklet.model import Sam2
from masklet.nn.prompt_encoder import POSITIVE
from masklet.postprocess import drop_islands, fill_holes
from masklet.tracking.step import HINT_LIMIT
from masklet.transforms import still_to_square
from masklet.types import Candidates, FrameFeatures, MemorySelection

MEASURED = 256  # side of the maps on which masks are judged, that of published weights' low-res logits
NEAR = 20  # pixels from a crop's edge at which a mask counts as cut by it
AT_ONCE = 2**26  # pixels that are enlarged in one go


@dataclass(frozen=True)
class Scene:
    """What the model sees of a picture or crop.

    size : (H, W) in pixels
    """

    model: Sam2
    features: FrameFeatures
    context: Float[Tensor, "1 c h w"]
    size: tuple[int, int]

    @classmethod
    def of(cls, model: Sam2, features: FrameFeatures, size: tuple[int, int]) -> Scene:
        """An encoded picture, as one that nothing is remembered of."""
        return cls(model, features, model.attend(features, [MemorySelection()]), size)


@dataclass(frozen=True)
class Finds:
    """Masks of one scene, still small.

    points : (x, y) in the unit square
    boxes : x0, y0, x1, y1 in the scene's pixels, the last ones included
    codes : the masks at the size at which they are compared
    """

    low_res: Float[Tensor, "n h4 w4"]
    iou: Float[Tensor, " n"]
    score: Float[Tensor, " n"]
    stability: Float[Tensor, " n"]
    points: Float[np.ndarray, "n 2"]
    boxes: Float[np.ndarray, "n 4"]
    codes: tuple[rle.RLE, ...]

    def rows(self, rows: Sequence[int]) -> Finds:
        rows = list(rows)
        return Finds(
            self.low_res[rows],
            self.iou[rows],
            self.score[rows],
            self.stability[rows],
            self.points[rows],
            self.boxes[rows],
            tuple(self.codes[row] for row in rows),
        )

    @classmethod
    def joined(cls, parts: Sequence[Finds]) -> Finds:
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
def generate(
    model: Sam2,
    image: UInt8[np.ndarray, "H W 3"],
    grid: Grid,
    *,
    asked: Bool[np.ndarray, "H W"] | None = None,
    features: FrameFeatures | None = None,
) -> Segments:
    """The masks that survive a grid, the surest first, but those of smaller crops before all others.

    asked : the pixels that points may fall on; by default all
    features : the encoded picture, where it is at hand; crops are encoded in any case
    """
    size = image.shape[0], image.shape[1]
    parts: list[Segments] = []
    for crop in grid.crops(size):
        part = np.s_[crop.y0 : crop.y1, crop.x0 : crop.x1]
        points = grid.points(crop.layer)
        points = points if asked is None else _on(asked[part], points)
        if features is None or crop.layer:
            square = still_to_square(image[part], model.config.image_size, model.device)
            scene = Scene.of(model, model.encode(square), crop.size)
        else:
            scene = Scene.of(model, features, crop.size)
        found = found_in(scene, grid, points, crop, size)
        parts.append(full_size(found, crop, size, grid))
    segments = Segments.joined_rows(parts)
    if len(parts) == 1 and not grid.min_mask_region_area:
        return segments
    # Where crops see the same thing, the one that sees it larger is believed.
    extent = (segments.crops[:, 2:] - segments.crops[:, :2]).prod(axis=1)
    segments = segments.rows(np.argsort(extent, kind="stable").tolist())
    boxes = segments.boxes - (0, 0, 1, 1)
    return segments.rows(distinct(grid.nms, segments.codes, boxes, grid.crop_nms_thresh))


def _on(asked: Bool[np.ndarray, "H W"], points: Points) -> Float[np.ndarray, "q 2"]:
    """The points that fall on pixels that may be asked about."""
    columns, rows = (points * asked.shape[::-1]).astype(int).T
    return points[asked[rows.clip(max=asked.shape[0] - 1), columns.clip(max=asked.shape[1] - 1)]]


def found_in(scene: Scene, grid: Grid, points: Points, crop: Crop, size: tuple[int, int]) -> Finds:
    """What the points of one crop find, without duplicates, the surest first.

    size : (H, W) of the whole picture
    """
    batches = range(0, max(1, len(points)), grid.points_per_batch)  # one at least, though it be empty
    found = Finds.joined([_asked(scene, grid, points[i : i + grid.points_per_batch]) for i in batches])
    found = found.rows(np.flatnonzero(~_cut(found.boxes, crop, size)).tolist())
    found = found.rows(found.iou.argsort(descending=True, stable=True).tolist())
    return found.rows(distinct(grid.nms, found.codes, found.boxes, grid.box_nms_thresh))


def _asked(scene: Scene, grid: Grid, points: Points) -> Finds:
    """What a batch of points offers, as far as it is good enough."""
    square = torch.tensor(points * scene.model.config.image_size, dtype=torch.float32)[:, None]
    square = square.to(scene.model.device)
    offered = _decoded(scene, square, candidates=3 if grid.multimask_output else 1)
    owner = torch.arange(len(points), device=square.device).repeat_interleave(offered.iou.shape[1])
    low_res, iou = offered.logits.flatten(0, 1), offered.iou.flatten()
    score = offered.score[owner]
    if grid.use_m2m:
        hints = low_res.clamp(-HINT_LIMIT, HINT_LIMIT).split(grid.points_per_batch)
        rows = owner.split(grid.points_per_batch)
        again = [_decoded(scene, square[r], hint, candidates=1) for r, hint in zip(rows, hints, strict=True)]
        low_res, iou = (
            torch.cat([getattr(each, name)[:, 0] for each in again]) for name in ("logits", "iou")
        )
        score = torch.cat([each.score for each in again])
    good = iou > grid.pred_iou_thresh
    asked = points[owner[good].cpu().numpy()]
    return _judged(scene, grid, low_res[good], iou[good], score[good], asked)


def _decoded(
    scene: Scene, points: Float[Tensor, "b 1 2"], hint: Tensor | None = None, *, candidates: int
) -> Candidates:
    labels = torch.full(points.shape[:2], POSITIVE, device=points.device)
    context = scene.context.expand(len(points), -1, -1, -1)
    return scene.model.decode(scene.features, context, points, labels, hint, candidates=candidates)


def _judged(scene: Scene, grid: Grid, low_res: Tensor, iou: Tensor, score: Tensor, points: Points) -> Finds:
    """Masks that change little with the threshold, with their boxes."""
    side = max(MEASURED, low_res.shape[-1])
    size = scene.size if grid.nms == "box" else (side, side)
    stability = torch.zeros_like(iou)
    codes: list[rle.RLE] = []
    stable: list[int] = []
    for rows in _chunks(len(low_res), size):
        logits = _enlarged(low_res[rows], size)
        surely, maybe = (
            (logits > grid.mask_threshold + offset).sum(dim=(1, 2))
            for offset in (grid.stability_score_offset, -grid.stability_score_offset)
        )
        stability[rows] = surely / maybe
        inside = logits > grid.mask_threshold
        stays = (stability[rows] >= grid.stability_score_thresh) & inside.flatten(1).any(dim=1)
        stable += (rows.start + stays.nonzero()[:, 0]).tolist()
        codes += map(rle.encode, inside[stays].cpu().numpy())
    scale = np.tile([scene.size[1] / size[1], scene.size[0] / size[0]], 2)
    boxes = (rle.boxes(codes) - (0, 0, 1, 1)) * scale
    return Finds(
        low_res[stable], iou[stable], score[stable], stability[stable], points[stable], boxes, tuple(codes)
    )


def full_size(found: Finds, crop: Crop, size: tuple[int, int], grid: Grid) -> Segments:
    """The finds of a crop as masks of the whole picture, tidied.

    size : (H, W) of the whole picture
    """
    as_judged = grid.nms == "box" and crop.size == size and not grid.min_mask_region_area
    codes = found.codes if as_judged else tuple(_tidied(found, crop, size, grid))
    corner, extent = (crop.x0, crop.y0), crop.size[::-1]
    return Segments(
        frame=0,
        ids=tuple(range(1, len(codes) + 1)),
        low_res=_placed(found.low_res, crop, size),
        size=size,
        iou=found.iou,
        score=found.score,
        codes=codes,
        stability=found.stability,
        points=found.points * extent + corner,
        crops=np.tile(crop[:4], (len(codes), 1)),
    )


def _tidied(found: Finds, crop: Crop, size: tuple[int, int], grid: Grid) -> Iterator[rle.RLE]:
    least = grid.min_mask_region_area - 1  # smaller than, where tidying takes up to
    for rows in _chunks(len(found.low_res), crop.size):
        masks = (_enlarged(found.low_res[rows], crop.size) > grid.mask_threshold).cpu().numpy()
        for mask in drop_islands(fill_holes(masks, least), least):
            whole = np.zeros(size, dtype=bool)
            whole[crop.y0 : crop.y1, crop.x0 : crop.x1] = mask
            yield rle.encode(whole)


def _placed(low_res: Tensor, crop: Crop, size: tuple[int, int]) -> Float[Tensor, "n h4 w4"]:
    """Low-res logits of a crop as those of the whole picture."""
    if crop.size == size:
        return low_res
    side = low_res.shape[-1]
    (top, left), (bottom, right) = (
        (round(y / size[0] * side), round(x / size[1] * side))
        for x, y in ((crop.x0, crop.y0), (crop.x1, crop.y1))
    )
    placed = torch.full_like(low_res, -HINT_LIMIT)
    if len(low_res):
        placed[:, top:bottom, left:right] = _enlarged(low_res, (bottom - top, right - left))
    return placed


def _cut(boxes: Float[np.ndarray, "n 4"], crop: Crop, size: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Which masks reach an edge of the crop that is not one of the picture: they may go on behind it."""
    whole = boxes + np.tile((crop.x0, crop.y0), 2)
    ends = np.array(crop[:4]), np.array([0, 0, size[1], size[0]])
    at_crop, at_picture = (np.abs(whole - end) <= NEAR for end in ends)
    return (at_crop & ~at_picture).any(axis=1)


def _enlarged(low_res: Tensor, size: tuple[int, int]) -> Float[Tensor, "n H W"]:
    return F.interpolate(low_res[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _chunks(count: int, size: tuple[int, int]) -> Iterator[slice]:
    """Rows that may be enlarged together without much memory."""
    step = max(1, AT_ONCE // (size[0] * size[1]))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
