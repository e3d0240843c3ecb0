"""Everything in a large image: tiles are searched one at a time, and an object's fragments become one mask.

Neighbouring tiles overlap. Two fragments belong to one object if they agree in the overlap of their tiles.
Fragments are kept as run lengths of their tile, so that memory does not grow with the image times its
objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from masklet import rle
from masklet.auto.generator import drop_large, generate_segments
from masklet.auto.grid import Crop, Grid
from masklet.auto.segments import Segments
from masklet.boxes import Box, box_area, intersect_boxes
from masklet.errors import OptionError, check_count
from masklet.masks import EDGE
from masklet.model import Sam2

LEAST_TILE = 64  # pixels of a tile's side
OVERLAP = 4  # overlap of tiles, as a fraction of their side
SAME_IOU = 0.5  # IoU of two fragments in the overlap from which they belong to one object
CONTAINED = 0.75  # fraction of a fragment cut by its tile's edge that must be inside the other fragment


@dataclass(frozen=True)
class Fragment:
    """One mask of one tile.

    Attributes:
        tile: The tile's number.
        origin: (x, y) of the tile's upper left corner in the image.
        box: The tight box in the image.
        code: The mask, of the tile's size.
        iou: Predicted quality.
        score: Object score.
        stability: The IoU of the mask with itself when its threshold moves.
        point: (x, y) in the image, the prompt.
        sides: Whether the tile's left, upper, right and lower edge cuts it: the image goes on there.
    """

    tile: int
    origin: tuple[int, int]
    box: Box
    code: rle.RLE
    iou: float
    score: float
    stability: float
    point: tuple[float, float]
    sides: tuple[bool, bool, bool, bool]

    @property
    def area(self) -> int:
        return rle.area(self.code)

    def within(self, window: Box) -> Bool[np.ndarray, "h w"]:
        """The mask in a window of the image that lies within the tile."""
        (x0, y0), (left, top, right, bottom) = self.origin, map(int, window)
        return rle.decode(self.code)[top - y0 : bottom - y0, left - x0 : right - x0]


def generate_in_tiles(
    model: Sam2,
    image: UInt8[np.ndarray, "H W 3"],
    grid: Grid,
    side: int,
    progress: Callable[[float], None] | None = None,
) -> Segments:
    """The masks of an image that is searched tile by tile, each like a separate image.

    Args:
        model: The network.
        image: The image.
        grid: The points of each tile, and the thresholds for masks.
        side: The side of a tile, in pixels.
        progress: Called with the share of the tiles that is done.

    Raises:
        OptionError: The side is too short.
    """
    if check_count(side, "tiles") < LEAST_TILE:
        raise OptionError(f"tiles must have a side of at least {LEAST_TILE} pixels. Got {side}.")
    size = image.shape[0], image.shape[1]
    tiles, of_tile = split_into_tiles(size, side), replace(grid, max_area=1.0)
    fragments: list[Fragment] = []
    rows: list[range] = []  # rows of each tile's fragments
    pairs: list[Pair] = []
    for number, tile in enumerate(tiles):
        part = np.ascontiguousarray(image[tile.y0 : tile.y1, tile.x0 : tile.x1])
        start = len(fragments)
        fragments += _fragments(generate_segments(model, part, of_tile), number, tile, size)
        rows.append(range(start, len(fragments)))
        for other in range(number):
            shared = intersect_boxes(tile[:4], tiles[other][:4])
            if box_area(shared):
                pairs += _match(fragments, rows[other], rows[number], shared)
        if progress is not None:
            progress((number + 1) / len(tiles))
    groups = _drop_edges(_unite(fragments, pairs), tiles)
    merged = [_merge(group, size, tiles) for group in groups]
    best_first = sorted(merged, key=lambda segments: -float(segments.iou[0]))
    return drop_large(_drop_duplicates(best_first, grid.crop_nms_thresh, size), grid.max_area)


def split_into_tiles(size: tuple[int, int], side: int) -> list[Crop]:
    """Tiles that cover an image of `size` (H, W), row by row, with even overlaps.

    >>> [tile[:4] for tile in split_into_tiles((100, 230), 100)]
    [(0, 0, 100, 100), (65, 0, 165, 100), (130, 0, 230, 100)]
    """
    rows, columns = (_starts(length, side) for length in size)
    return [Crop(x, y, min(x + side, size[1]), min(y + side, size[0]), 0) for y, x in product(rows, columns)]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    overlap = side // OVERLAP
    count = -(-(length - overlap) // (side - overlap))
    return [round(index * (length - side) / (count - 1)) for index in range(count)]


def _fragments(segments: Segments, number: int, tile: Crop, size: tuple[int, int]) -> Iterator[Fragment]:
    goes_on = tile.x0 > 0, tile.y0 > 0, tile.x1 < size[1], tile.y1 < size[0]
    shift = np.tile((tile.x0, tile.y0), 2)
    for row, box in enumerate(segments.boxes + shift):
        touches = box[0] <= tile.x0, box[1] <= tile.y0, box[2] >= tile.x1, box[3] >= tile.y1
        x, y = (segments.points[row] + shift[:2]).tolist()
        x0, y0, x1, y1 = map(int, box)
        yield Fragment(
            tile=number,
            origin=(tile.x0, tile.y0),
            box=(x0, y0, x1, y1),
            code=segments.codes[row],
            iou=float(segments.iou[row]),
            score=float(segments.score[row]),
            stability=float(segments.stability[row]),
            point=(x, y),
            sides=tuple(bool(a and b) for a, b in zip(touches, goes_on, strict=True)),  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Pair:
    """Two fragments of different tiles that agree in the overlap, by their rows in the list of all."""

    iou: float
    first: int
    second: int


def _match(fragments: Sequence[Fragment], first: range, second: range, shared: Box) -> Iterator[Pair]:
    """The pairs among the fragments of two tiles.

    Args:
        fragments: Those of all tiles.
        first: Rows of one tile's fragments.
        second: Rows of the other's.
        shared: The overlap of both tiles.
    """
    left, right = _crop(fragments, first, shared), _crop(fragments, second, shared)
    overlaps = rle.overlaps(list(left.values()), list(right.values()))
    for (i, code), ious in zip(left.items(), overlaps.tolist(), strict=True):
        for (j, other), iou in zip(right.items(), ious, strict=True):
            smaller = fragments[i if rle.area(code) <= rle.area(other) else j]
            if iou >= SAME_IOU or (any(smaller.sides) and rle.containment(code, other, iou) >= CONTAINED):
                yield Pair(iou, i, j)


def _crop(fragments: Sequence[Fragment], rows: range, window: Box) -> dict[int, rle.RLE]:
    """The masks within a window of the fragments that have pixels there, by row."""
    near = (row for row in rows if _overlap(fragments[row].box, window))
    masks = ((row, fragments[row].within(window)) for row in near)
    return {row: rle.encode(mask) for row, mask in masks if mask.any()}


def _overlap(box: Box, other: Box) -> bool:
    return box_area(intersect_boxes(box, other)) > 0


def _unite(fragments: Sequence[Fragment], pairs: Sequence[Pair]) -> list[list[Fragment]]:
    """Fragments by object. Those that agree best are united first.

    Two fragments of one tile that overlap, such as a part and the whole, never become one object.
    """
    groups = [{row} for row in range(len(fragments))]  # by row; united fragments share a set
    for pair in sorted(pairs, key=lambda pair: -pair.iou):
        first, second = groups[pair.first], groups[pair.second]
        if first is second or _conflict(first, second, fragments):
            continue
        first |= second
        for row in second:
            groups[row] = first
    unique = {id(group): group for group in groups}
    return [[fragments[row] for row in sorted(group)] for group in unique.values()]


def _conflict(first: set[int], second: set[int], fragments: Sequence[Fragment]) -> bool:
    """Whether the groups have two fragments of one tile, one of them mostly inside the other."""
    return any(
        rle.containment(a.code, b.code) > SAME_IOU
        for a in map(fragments.__getitem__, first)
        for b in map(fragments.__getitem__, second)
        if a.tile == b.tile and _overlap(a.box, b.box)
    )


def _drop_edges(groups: Sequence[list[Fragment]], tiles: Sequence[Crop]) -> list[list[Fragment]]:
    """All but single fragments that are cut by their tile's edge while another tile contains the whole area.

    The other tile did not find them, so they are artifacts of the tile's edge.
    """
    remaining = []
    for group in groups:
        fragment = group[0]
        if len(group) == 1 and any(fragment.sides):
            contained = (intersect_boxes(fragment.box, tile[:4]) == fragment.box for tile in tiles)
            if sum(contained) > 1:
                continue
        remaining.append(group)
    return remaining


def _merge(group: Sequence[Fragment], size: tuple[int, int], tiles: Sequence[Crop]) -> Segments:
    """The fragments of an object as one mask; its scores are their mean, weighted by area."""
    corners = np.array([fragment.box for fragment in group])
    (x0, y0), (x1, y1) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    mask = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for fragment in group:
        left, top, right, bottom = map(int, fragment.box)
        mask[top - y0 : bottom - y0, left - x0 : right - x0] |= fragment.within(fragment.box)
    areas = np.array([fragment.area for fragment in group], dtype=np.float64)
    largest = group[int(areas.argmax())]

    def mean(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor([np.average(values, weights=areas)], dtype=torch.float32, device="cpu")

    return Segments(
        frame=0,
        ids=(1,),
        low_res=torch.full((1, 1, 1), EDGE, dtype=torch.float32, device="cpu"),  # the codes are the masks
        size=size,
        iou=mean([fragment.iou for fragment in group]),
        score=mean([fragment.score for fragment in group]),
        codes=(rle.encode_at(mask, (int(x0), int(y0)), size),),
        stability=mean([fragment.stability for fragment in group]),
        points=np.array([largest.point]),
        crops=np.array([tiles[largest.tile][:4]]),
    )


def _drop_duplicates(rows: Sequence[Segments], threshold: float, size: tuple[int, int]) -> Segments:
    """The masks, the best first, without those that overlap a better one by more than a threshold."""
    boxes: Float[np.ndarray, "n 4"] = np.array([row.boxes[0] for row in rows]).reshape(-1, 4)
    selected: list[int] = []
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        others = boxes[selected]
        near = (others[:, 0] < x1) & (others[:, 2] > x0) & (others[:, 1] < y1) & (others[:, 3] > y0)
        codes = [rows[selected[index]].codes[0] for index in np.flatnonzero(near)]
        if not codes or rle.overlaps([rows[row].codes[0]], codes).max() <= threshold:
            selected.append(row)
    if not selected:
        return Segments.empty(0, size)
    return Segments.concatenate([rows[row] for row in selected])
