"""Parquet files of masks: the schema, a writer that buffers at most some thousand rows, and a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from masklet import rle
from masklet.jobs.stores import StoreError
from masklet.media import Image, Source, Writer
from masklet.media.writers.measures import find_time
from masklet.types import Masks

GROUP_ROWS = 4096  # masks in memory, and in one row group

SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("time", pa.float64(), nullable=False),
        pa.field("object", pa.int32(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("class", pa.string()),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("rle", pa.string(), nullable=False),
        pa.field("area", pa.int64(), nullable=False),
        pa.field("x0", pa.float32(), nullable=False),
        pa.field("y0", pa.float32(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("iou", pa.float32(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)


class MaskTable(Writer):
    """A Parquet file with a row for each frame and object.

    Args:
        path: The file.
        video: The source, as the manifest has it.
        part: The number of the part, 0 if the video is not split.
        first_frame: The video's frame that is frame 0 of the masks.
        names: Names of the objects.
        classes: Their classes.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        video: str,
        part: int,
        first_frame: int,
        names: Mapping[int, str],
        classes: Mapping[int, str],
    ) -> None:
        self._source = source
        self._video, self._part, self._first_frame = video, part, first_frame
        self._names, self._classes = names, classes
        self._rows: list[dict[str, Any]] = []
        self._is_open = True
        self.count = 0
        with _table_errors(path):
            self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._path = path

    def write(self, image: Image, masks: Masks) -> None:
        height, width = masks.size
        frame = self._first_frame + masks.frame
        time = find_time(self._source, masks.frame)
        columns = (masks.ids, masks.rle(), masks.boxes.tolist(), masks.iou.tolist(), masks.score.tolist())
        for id, code, (x0, y0, x1, y1), iou, score in zip(*columns, strict=True):
            self._rows.append(
                {
                    "video": self._video,
                    "part": self._part,
                    "frame": frame,
                    "time": time,
                    "object": id,
                    "name": self._names.get(id),
                    "class": self._classes.get(id),
                    "height": height,
                    "width": width,
                    "rle": code["counts"],
                    "area": rle.area(code),
                    "x0": x0,
                    "y0": y0,
                    "x1": x1,
                    "y1": y1,
                    "iou": iou,
                    "score": score,
                }
            )
        if len(self._rows) >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._flush()
            with _table_errors(self._path):
                self._file.close()

    def _flush(self) -> None:
        self.count += len(self._rows)
        with _table_errors(self._path):
            self._file.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows = []


@contextmanager
def _table_errors(path: Path) -> Iterator[None]:
    """Raise errors of the file system as a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}.") from error


def read_masks(file: Any) -> Iterator[Masks]:
    """The masks of a Parquet file, frame by frame; in a merged one, of one item after the other.

    Args:
        file: A path, or an open file.
    """
    batches = pq.ParquetFile(file).iter_batches(GROUP_ROWS)
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, objects in groupby(rows, key=itemgetter("video", "part", "frame")):
        yield _masks(list(objects))


def _masks(rows: list[dict[str, Any]]) -> Masks:
    size = (rows[0]["height"], rows[0]["width"])
    arrays: dict[int, np.ndarray] = {
        row["object"]: rle.decode({"size": size, "counts": row["rle"]}) for row in rows
    }
    iou, score = [row["iou"] for row in rows], [row["score"] for row in rows]
    return Masks.from_arrays(rows[0]["frame"], arrays, size, iou, score)
