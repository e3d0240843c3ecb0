"""A table of measurements of each mask: area, centre and box, also in micrometres if the pixel size is
known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from masklet import rle
from masklet.media.readers.microscopy import PixelSize
from masklet.media.readers.source import Source, frame_file_name, is_stack, metadata_of
from masklet.media.writers.spool import CocoMask, SpooledWriter

COLUMNS = (
    *("file", "frame", "seconds", "time", "depth", "object", "class", "area", "x", "y"),
    *("x0", "y0", "x1", "y1", "iou", "area_um2", "x_um", "y_um", "z_um"),
)


class MeasuresCsv(SpooledWriter):
    """A CSV with a row for each frame and visible object, for a spreadsheet, R or pandas.

    `file` is the image's own name, or that of the TIFF whose page it is. `area` is in pixels; `x`, `y` are
    the centre of mass; `x0`, `y0`, `x1`, `y1` are the tight box, the last two exclusive. `time` and `depth`
    are the point in time and the slice, from 0 on. Pages of a TIFF that does not say which is which are taken
    for depth. `seconds` is the time since the first frame, empty where the source does not say it, as for a
    folder of images. The columns in micrometres are empty where the source has no `pixel_size`.

    Its arguments are those of `SpooledWriter`.
    """

    def write_file(self, part: Path) -> None:
        with open(part, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for frame in self._spool.frames:
                named = ((id, self._categories.name(id), mask) for id, mask in self._spool.masks_on(frame))
                rows.writerows(measure(self._source, frame, named))


def measure(
    source: Source, frame: int, masks: Iterable[tuple[int, str, CocoMask]]
) -> Iterator[tuple[object, ...]]:
    """The rows of a frame, with the values of `COLUMNS`.

    Args:
        source: Where the frame comes from.
        frame: Its number.
        masks: The object, class and mask of each; no mask is empty.
    """
    metadata = metadata_of(source)
    time, depth = find_place(source, frame)
    moment = find_seconds(source, frame)
    seconds = "" if moment is None else round(moment, 6)
    file = source.file_name(frame)
    has_pages = metadata.axes is not None or is_stack(source)
    if has_pages and file == frame_file_name(metadata.first_page + frame, ".jpg"):
        file = source.name  # pages have no file names; `time` and `depth` identify them
    for id, name, mask in masks:
        yield (file, frame, seconds, time, depth, id, name, *_measure_mask(mask, depth, metadata.pixel_size))


def find_place(source: Source, frame: int) -> tuple[int, int]:
    """The point in time and the slice of a frame, from 0. Pages of an unknown kind are slices."""
    metadata = metadata_of(source)
    page = metadata.first_page + frame
    if metadata.axes is not None:
        return divmod(page, metadata.axes.depth)
    return (0, page) if is_stack(source) else (frame, 0)


def find_seconds(source: Source, frame: int) -> float | None:
    """When a frame was taken, from the first one; None if the source does not say it."""
    metadata = metadata_of(source)
    if metadata.axes is not None:
        seconds = metadata.axes.seconds
        return seconds[find_place(source, frame)[0]] if seconds else None
    return source.time(frame) if metadata.has_times and not is_stack(source) else None


def find_time(source: Source, frame: int) -> float:
    """When a frame was taken; if the source does not say it, when it is shown."""
    seconds = find_seconds(source, frame)
    return source.time(frame) if seconds is None else seconds


def _measure_mask(mask: CocoMask, depth: int, size: PixelSize | None) -> tuple[object, ...]:
    y, x = np.argwhere(rle.decode(mask["segmentation"])).mean(axis=0) + 0.5
    x0, y0, width, height = map(int, mask["bbox"])
    pixels = (mask["area"], round(x, 2), round(y, 2), x0, y0, x0 + width, y0 + height, mask["score"])
    if size is None:
        return (*pixels, "", "", "", "")
    z = "" if size.z is None else f"{depth * size.z:.6g}"
    area = mask["area"] * size.x * size.y
    return (*pixels, f"{area:.6g}", f"{x * size.x:.6g}", f"{y * size.y:.6g}", z)
