"""Everything in an image or video, without a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from masklet.auto.detections import Detection, make_detector
from masklet.auto.generator import generate_segments
from masklet.auto.grid import PRESETS, Grid, resolve_grid
from masklet.auto.segments import RleMasks, Segments, partition_segments
from masklet.auto.tiles import generate_in_tiles
from masklet.auto.tracker import TrackRecord
from masklet.auto.video import MaskletSet, everything_in_video
from masklet.errors import OptionError
from masklet.media import is_still, read_image
from masklet.model import Sam2, check_model
from masklet.tracking.policies import Policy

Sort = Literal["score", "area"]

IMAGE_OPTIONS = ("sort", "partition", "tiles")

__all__ = [
    "PRESETS",
    "Detection",
    "Grid",
    "MaskletSet",
    "RleMasks",
    "Segments",
    "Sort",
    "TrackRecord",
    "everything",
    "everything_in_image",
    "everything_in_video",
    "generate_segments",
    "is_still",
    "make_detector",
    "partition_segments",
    "resolve_grid",
]


def everything(
    model: Sam2,
    source: object,
    grid: Grid | str = "balanced",
    *,
    sort: Sort | None = None,
    partition: bool | None = None,
    tiles: int | None = None,
    detections: object = None,
    every: int | None = None,
    patience: int | None = None,
    max_objects: int | None = None,
    backward: bool | None = None,
    policy: Policy | None = None,
    cuts: bool | None = None,
    progress: Callable[[float], None] | None = None,
) -> Segments | MaskletSet:
    """Find masks of everything in an image, or find and track everything in a video or stream.

    Args:
        model: The network.
        source: An image as `ImageSession` takes it, or a video or stream as `track` takes it.
        grid: The options of the search, or a preset: "fast", "balanced" or "dense".
        sort: For an image, see `masklet.auto.everything_in_image`.
        partition: Likewise.
        tiles: Likewise.
        detections: For a video, see `masklet.auto.everything_in_video`.
        every: Likewise.
        patience: Likewise.
        max_objects: Likewise.
        backward: Likewise.
        policy: Likewise.
        cuts: Likewise.
        progress: Called with the finished share until the first masks are available.

    Returns:
        `Segments` of an image; a `MaskletSet` of a video, to iterate over frame by frame.

    Raises:
        OptionError: An option for images is given for a video, or the other way round.
    """
    check_model(model)
    is_image = is_still(source)
    options = {
        "sort": sort,
        "partition": partition,
        "tiles": tiles,
        "detections": detections,
        "every": every,
        "patience": patience,
        "max_objects": max_objects,
        "backward": backward,
        "policy": policy,
        "cuts": cuts,
    }
    check_options(options, is_image=is_image)
    if is_image:
        return everything_in_image(
            model,
            source,
            grid,
            sort=sort or "score",
            partition=bool(partition),
            tiles=tiles,
            progress=progress,
        )
    return everything_in_video(
        model,
        source,
        grid,
        detections=detections,
        every=every,
        patience=patience,
        max_objects=32 if max_objects is None else max_objects,
        backward=backward,
        policy=policy or "recency",
        cuts=bool(cuts),
        progress=progress,
    )


def everything_in_image(
    model: Sam2,
    image: object,
    grid: Grid | str = "balanced",
    *,
    sort: Sort = "score",
    partition: bool = False,
    tiles: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Segments:
    """Find masks of everything in an image.

    Args:
        model: The network.
        image: uint8 (H, W, 3) RGB array, PIL image or path.
        grid: See `Grid`; or "fast", "balanced", "dense".
        sort: The highest predicted IoU first, or the largest area.
        partition: Cut the masks so that they cover every pixel once.
        tiles: Search a large image in overlapping tiles of so many pixels a side, each as finely as an
            image of its own. Objects that several tiles see become one mask.
        progress: Called with the finished fraction of the tiles.
    """
    if sort not in ("score", "area"):
        raise OptionError(f'sort must be "score" or "area" (highest first). Got {sort!r}.')
    pixels = read_image(image)
    resolved = resolve_grid(grid, model.config)
    if tiles is None:
        segments = generate_segments(model, pixels, resolved)
    else:
        segments = generate_in_tiles(model, pixels, resolved, tiles, progress)
    segments = segments.sorted("score").with_image(lambda: pixels)
    return (partition_segments(segments) if partition else segments).sorted(sort)


def check_options(options: Mapping[str, object], *, is_image: bool) -> None:
    """Raise for options of images for a video, and vice versa.

    Args:
        options: Options of `everything`, by name; None if not given.

    Raises:
        OptionError: Some cannot be used.
    """
    theirs, got = ("a video", "an image") if is_image else ("an image", "a video")
    given = [name for name, value in options.items() if value is not None]
    refused = ", ".join(name for name in given if (name in IMAGE_OPTIONS) != is_image)
    if refused:
        raise OptionError(f"{refused} can be used only with {theirs}. Got {got}: omit it.")
