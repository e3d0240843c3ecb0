"""Everything in a picture: the grid's masks in the order, and perhaps parted, as asked for."""

from __future__ import annotations

from typing import Literal

from masklet.auto.generator import generate
from masklet.auto.grid import Grid, grid_of
from masklet.auto.partition import parted
from masklet.auto.segments import Segments
from masklet.media import read_image
from masklet.model import Sam2

Sort = Literal["score", "area"]


def everything_in_image(
    model: Sam2,
    image: object,
    grid: Grid | str = "balanced",
    *,
    sort: Sort = "score",
    partition: bool = False,
) -> Segments:
    """Find masks of everything in a picture.

    image : uint8 (H, W, 3) RGB array, PIL image or path
    grid : see `Grid`; or "fast", "balanced", "dense"
    sort : the highest predicted IoU first, or the largest area
    partition : part the masks, so that they cover every pixel once
    """
    if sort not in ("score", "area"):
        raise ValueError(f'sort must be "score" or "area", of which the highest comes first. Got {sort!r}.')
    segments = generate(model, read_image(image), grid_of(grid, model.config)).sorted("score")
    return (parted(segments) if partition else segments).sorted(sort)
