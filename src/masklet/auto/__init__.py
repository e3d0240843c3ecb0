"""Everything in a picture or video, without a prompt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import PIL.Image

from masklet.auto.detections import make_detector
from masklet.auto.generator import generate
from masklet.auto.grid import PRESETS, Grid, grid_of
from masklet.auto.partition import parted
from masklet.auto.picture import Sort, everything_in_image
from masklet.auto.segments import CodedMasks, Segments
from masklet.auto.track_records import Life
from masklet.auto.video import Followed, everything_in_video
from masklet.media import open_frames
from masklet.media.readers.pictures import is_picture
from masklet.model import Sam2
from masklet.tracking.policies import Policy

__all__ = [
    "PRESETS",
    "CodedMasks",
    "Followed",
    "Grid",
    "Life",
    "Segments",
    "Sort",
    "everything",
    "everything_in_image",
    "everything_in_video",
    "generate",
    "grid_of",
    "is_still",
    "make_detector",
    "parted",
]


def everything(
    model: Sam2,
    source: object,
    grid: Grid | str = "balanced",
    *,
    sort: Sort | None = None,
    partition: bool | None = None,
    detections: object = None,
    every: int | None = None,
    patience: int | None = None,
    max_objects: int | None = None,
    backward: bool | None = None,
    policy: Policy | None = None,
    cuts: bool | None = None,
    progress: Callable[[float], None] | None = None,
) -> Segments | Followed:
    """Find masks of everything in a picture; or find and follow everything in a video or stream.

    source : what `ImageSession` takes, or `track`
    grid : which points are asked about, and what masks must be worth; or "fast", "balanced", "dense"
    sort, partition : of a picture, see `masklet.auto.everything_in_image`
    detections, every, patience, max_objects, backward, policy, cuts, progress : of a video, see
        `masklet.auto.everything_in_video`
    """
    of_video = {
        "detections": detections,
        "every": every,
        "patience": patience,
        "max_objects": max_objects,
        "backward": backward,
        "policy": policy,
        "cuts": cuts,
        "progress": progress,
    }
    if is_still(source):
        _refuse(of_video, "a video", "a picture")
        return everything_in_image(model, source, grid, sort=sort or "score", partition=bool(partition))
    _refuse({"sort": sort, "partition": partition}, "a picture", "a video")
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


def is_still(source: object) -> bool:
    """Whether a source is one picture, and not a video or stream."""
    if isinstance(source, np.ndarray):
        return source.ndim < 4
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return is_picture(path) and path.is_file() and len(open_frames(path)) == 1
    return isinstance(source, PIL.Image.Image)


def _refuse(options: Mapping[str, object], theirs: str, got: str) -> None:
    given = ", ".join(name for name, value in options.items() if value is not None)
    if given:
        raise ValueError(f"{given}: this is said of {theirs}. Got {got}: leave it out.")
