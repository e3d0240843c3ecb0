"""A table of measures of each mask: area, centre and box, also in micrometres where pixels have a size."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from masklet import rle
from masklet.media.readers.microscopy import PixelSize, StackAxes
from masklet.media.readers.source import frame_file_name
from masklet.media.writers.writer import CocoMask, SpooledWriter, is_stack

COLUMNS = (
    *("file", "frame", "seconds", "time", "depth", "object", "class", "area", "x", "y"),
    *("x0", "y0", "x1", "y1", "iou", "area_um2", "x_um", "y_um", "z_um"),
)


class MeasuresCsv(SpooledWriter):
    """A CSV with a row for each frame and visible object, for a spreadsheet, R or pandas.

    `file` is the picture's own name, or that of the TIFF whose page it is. `area` is in pixels; `x`, `y` are
    the centre of mass; `x0`, `y0`, `x1`, `y1` are the tight box, the last two exclusive. `time` and `depth`
    are the point in time and the slice, from 0 on; `seconds` is empty for stacks. Pages of a TIFF that does
    not say which is which are taken for depth. The columns in micrometres are empty where the source has no
    `pixel_size`.

    Args:
        path: The file.
        source: Where the frames come from.
        names: Classes of the objects by id; without one, "object".

    Raises:
        MediaError: The file cannot be written, or a class has a control character.
    """

    def write_file(self, part: Path) -> None:
        with open(part, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for frame in self._spool.frames:
                rows.writerows(self._rows(frame))

    def _rows(self, frame: int) -> Iterator[tuple[object, ...]]:
        axes: StackAxes | None = getattr(self._source, "axes", None)
        page = frame + getattr(self._source, "first_page", 0)
        is_timed = axes is None and not is_stack(self._source)
        time, depth = divmod(page, axes.depth) if axes is not None else (frame, 0) if is_timed else (0, page)
        seconds = round(self._source.time(frame), 6) if is_timed else ""  # a stack names no rate
        file = self._source.file_name(frame)
        if not is_timed and file == frame_file_name(page, ".jpg"):
            file = self._source.name  # pages have no files of their own; `time` and `depth` tell which it is
        for id, mask in self._spool.masks_on(frame):
            place = (file, frame, seconds, time, depth)
            yield (*place, id, self._categories.name(id), *self._measure(mask, depth))

    def _measure(self, mask: CocoMask, depth: int) -> tuple[object, ...]:
        y, x = np.argwhere(rle.decode(mask["segmentation"])).mean(axis=0) + 0.5
        x0, y0, width, height = map(int, mask["bbox"])
        pixels = (mask["area"], round(x, 2), round(y, 2), x0, y0, x0 + width, y0 + height, mask["score"])
        size: PixelSize | None = getattr(self._source, "pixel_size", None)
        if size is None:
            return (*pixels, "", "", "", "")
        z = "" if size.z is None else f"{depth * size.z:.6g}"
        area = mask["area"] * size.x * size.y
        return (*pixels, f"{area:.6g}", f"{x * size.x:.6g}", f"{y * size.y:.6g}", z)
