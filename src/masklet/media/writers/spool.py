"""Masks waiting on disk until a whole video is known. In memory stays only where each one lies."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypedDict, cast

from masklet import rle
from masklet.files import StrPath, make_folder, write_errors
from masklet.types import Masks


class Kept(TypedDict):
    """One object on one frame, in COCO's words."""

    segmentation: rle.RLE
    area: int
    bbox: list[float]  # x, y, width, height
    score: float  # predicted IoU


class Shelf:
    """Masks by object and frame; a later one replaces an earlier.

    path : the file that will be made of them; in its folder they wait, in a file without a name
    """

    def __init__(self, path: StrPath) -> None:
        self._path = path
        place = make_folder(Path(path).parent)
        with write_errors(path):
            self._file = TemporaryFile(dir=place)  # noqa: SIM115 - open until `close`
        self._places: dict[int, dict[int, int]] = {}
        self.sizes: dict[int, tuple[int, int]] = {}  # (H, W) of every frame that was put

    @property
    def ids(self) -> list[int]:
        return sorted(self._places)

    @property
    def frames(self) -> list[int]:
        return sorted(self.sizes)

    def put(self, masks: Masks) -> None:
        self.sizes[masks.frame] = masks.size
        rows = zip(masks.ids, masks.rle(), masks.boxes.tolist(), masks.iou.tolist(), strict=True)
        for id, code, (x0, y0, x1, y1), iou in rows:
            box = [x0, y0, x1 - x0, y1 - y0]
            kept = Kept(segmentation=code, area=rle.area(code), bbox=box, score=round(iou, 4))
            with write_errors(self._path):
                place = self._file.seek(0, 2)
                self._file.write(json.dumps(kept).encode() + b"\n")
            self._places.setdefault(id, {})[masks.frame] = place

    def get(self, id: int, frame: int) -> Kept | None:
        """None where the object has no mask: it was not followed there, or was not to be seen."""
        place = self._places[id].get(frame)
        if place is None:
            return None
        self._file.seek(place)
        kept = cast(Kept, json.loads(self._file.readline()))
        return kept if kept["area"] else None

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed
