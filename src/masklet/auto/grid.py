"""The settings of `everything`: a grid of points as prompts, and the thresholds that a mask must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from masklet.config import Sam2Config
from masklet.errors import OptionError, check_count

MAX_POINTS_PER_SIDE = 1024  # a million points, each of which is a call of the decoder
MAX_CROP_LAYERS = 6  # which are 5,461 crops
Points = Float[np.ndarray, "p 2"]  # (x, y) in the unit square


class Crop(NamedTuple):
    """A part of the image that is segmented separately, in pixels; `layer` 0 is the whole."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True)
class Grid:
    """Options of sam2's automatic mask generator, with the same names and defaults.

    Args:
        points_per_side: Points along each side of the image, or None if you pass point_grids.
        points_per_batch: Points decoded at once.
        pred_iou_thresh: Minimum predicted IoU of a mask.
        stability_score_thresh: Minimum stability: the IoU of a mask with itself when its threshold moves.
        stability_score_offset: How far the threshold moves up and down, in logits.
        mask_threshold: Pixels with a higher logit belong to the mask.
        box_nms_thresh: If two masks of a crop overlap by a larger IoU, the one with the lower predicted IoU
            is removed.
        crop_nms_thresh: If two masks of different crops overlap by a larger IoU, that of the larger crop is
            removed.
        crop_n_layers: Layers of crops. The n-th layer divides the image into 2**n by 2**n.
        crop_overlap_ratio: Overlap of the first layer's crops, as a share of the image's shorter side.
        crop_n_points_downscale_factor: The n-th layer has fewer points along a side, divided by this number
            to the power n.
        point_grids: The points (p, 2) of each layer, in the unit square.
        min_mask_region_area: Holes and islands with fewer pixels are removed.
        max_area: Masks that cover a larger share of the image, such as sky and ground, are removed.
        min_contrast: Masks with a lower contrast, such as patches of wall or ground, are removed, unless
            their predicted IoU is 0.15 or more above pred_iou_thresh. Contrast is 1 - the overlap of the
            colour histograms on both sides of the outline, from 0 to 1.
        use_m2m: Refine each mask by decoding again, with the mask as the hint.
        multimask_output: Decode three masks for each point, not one.
        nms: Find duplicates by the overlap of masks ("mask") or of their boxes ("box"), as in sam2. With
            "box", stability and boxes are also measured at the image's size, as in sam2; with "mask", on
            small maps.

    Raises:
        OptionError: A value is out of range, or points_per_side and point_grids are both given or both
            missing.

    Example:
        >>> Grid(points_per_side=2).points(0).tolist()
        [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[Points] | None = None
    min_mask_region_area: int = 0
    max_area: float = 1.0
    min_contrast: float = 0.0
    use_m2m: bool = False
    multimask_output: bool = True
    nms: Literal["mask", "box"] = "mask"

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise OptionError(
                "a grid must have either points_per_side or point_grids, and None for the other. Got "
                f"{'neither' if self.point_grids is None else 'both'}."
            )
        for name in (
            *("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "crop_nms_thresh"),
            "min_contrast",
        ):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise OptionError(f"{name} must be a fraction from 0 to 1. Got {value}.")
        if not 0 <= self.crop_overlap_ratio < 1:
            raise OptionError(f"crop_overlap_ratio must be from 0 to below 1. Got {self.crop_overlap_ratio}.")
        if not 0 < self.max_area <= 1:
            raise OptionError(
                f"max_area must be a fraction of the image, above 0 and at most 1. Got {self.max_area}."
            )
        if not self.stability_score_offset > 0:
            raise OptionError(f"stability_score_offset must be above 0. Got {self.stability_score_offset}.")
        for name, least, most in (
            ("points_per_side", 1, MAX_POINTS_PER_SIDE),
            ("points_per_batch", 1, None),
            ("crop_n_layers", 0, MAX_CROP_LAYERS),
            ("crop_n_points_downscale_factor", 1, None),
            ("min_mask_region_area", 0, None),
        ):
            count = getattr(self, name)
            if count is not None and check_count(count, name, least) > (count if most is None else most):
                raise OptionError(f"{name} must be at most {most}. Got {count}.")
        if self.nms not in ("mask", "box"):
            raise OptionError(f'nms must be "mask" or "box". Got {self.nms!r}.')
        if self.point_grids is not None:
            self._check_points(self.point_grids)

    def _check_points(self, layers: Sequence[Points]) -> None:
        if len(layers) != self.crop_n_layers + 1:
            raise OptionError(
                "point_grids must have one array of points for the image and each layer of crops, "
                f"{self.crop_n_layers + 1} in all. Got {len(layers)}."
            )
        for layer in map(np.asarray, layers):
            if layer.ndim != 2 or layer.shape[1] != 2 or len(layer) == 0:
                raise OptionError(f"point_grids must be arrays (p, 2) of points. Got shape {layer.shape}.")
            if not ((layer >= 0) & (layer <= 1)).all():
                raise OptionError(
                    "point_grids must be fractions of width and height, from 0 to 1: divide pixels by the "
                    f"image's size. Got values from {layer.min():g} to {layer.max():g}."
                )

    def points(self, layer: int) -> Points:
        """Return the points of a layer, row by row, each in the middle of its cell.

        Args:
            layer: 0 for the whole image, then the layers of crops.
        """
        if self.point_grids is not None:
            return np.asarray(self.point_grids[layer], dtype=np.float64)
        assert self.points_per_side is not None
        count = max(1, self.points_per_side // self.crop_n_points_downscale_factor**layer)
        middles = (np.arange(count) + 0.5) / count
        return np.stack([np.tile(middles, count), np.repeat(middles, count)], axis=1)

    def crops(self, size: tuple[int, int]) -> list[Crop]:
        """Return the boxes of the image and of all crops. The overlap halves from layer to layer.

        Args:
            size: (H, W) of the image.
        """
        height, width = size
        crops = [Crop(0, 0, width, height, 0)]
        for layer in range(1, self.crop_n_layers + 1):
            count = 2**layer
            overlap = int(self.crop_overlap_ratio * min(size) * 2 / count)
            high, wide = (ceil((overlap * (count - 1) + side) / count) for side in size)
            for column, row in product(range(count), repeat=2):
                x, y = column * (wide - overlap), row * (high - overlap)
                if x < width and y < height:  # an image may have fewer pixels than crops
                    crops.append(Crop(x, y, min(x + wide, width), min(y + high, height), layer))
        return crops


# Balanced has the original's defaults. Dense also segments four crops, with half the points along each side.
PRESETS = {
    "fast": Grid(points_per_side=16, points_per_batch=256),
    "balanced": Grid(points_per_batch=256),
    "dense": Grid(
        points_per_batch=256,
        pred_iou_thresh=0.7,
        stability_score_thresh=0.92,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=25,
        use_m2m=True,
    ),
}

# Nano's logits and predicted IoU are lower: docs/everything.md has the measurements.
NANO_PRESETS = {
    name: replace(
        preset,
        pred_iou_thresh=0.25,
        stability_score_thresh=0.65,
        stability_score_offset=0.2,
        box_nms_thresh=0.5,
        min_mask_region_area=400,
        min_contrast=0.05,
    )
    for name, preset in PRESETS.items()
}


def resolve_grid(grid: Grid | str, config: Sam2Config) -> Grid:
    """A grid, or the preset with this name for this network."""
    if isinstance(grid, Grid):
        return grid
    presets = PRESETS if config.trunk == "hiera" else NANO_PRESETS
    if not isinstance(grid, str) or grid not in presets:
        raise OptionError(f"grid must be a Grid, or one of the presets {', '.join(presets)}. Got {grid!r}.")
    return presets[grid]
