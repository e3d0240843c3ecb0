"""Masks as outlines: polygons with their holes, and YOLO's labels, which know no holes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float

from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.kinds import Kinds, Names
from masklet.media.readers.source import Image, Source
from masklet.media.writers.jsonlist import JsonList
from masklet.media.writers.writer import Writer
from masklet.types import Masks

Ring = Float[np.ndarray, "_ 2"]  # (x, y) in pixels, (0, 0) being the corner of the first; not closed

TOLERANCE = 0.75


class PolygonsJson(Writer):
    """Per frame and object a list of polygons, each an outer ring and its holes. Valid after every frame.

    tolerance : pixels that an outline may stray from the mask's, to be short
    """

    def __init__(self, path: StrPath, source: Source, *, tolerance: float = TOLERANCE) -> None:
        self._tolerance = tolerance
        self._list = JsonList(path, {"version": 1, "source": source.name, "size": list(source.size)})

    def write(self, image: Image, masks: Masks) -> None:
        objects = [
            {
                "id": id,
                "polygons": [
                    [ring.round(2).tolist() for ring in polygon]
                    for polygon in outlines(mask, self._tolerance)
                ],
            }
            for id, mask in masks.items()
        ]
        self._list.write(masks.frame, {"objects": objects})

    def close(self) -> None:
        self._list.close()


class YoloTxts(Writer):
    """A text file a frame, named as the frame; a line an object: its class's number and a relative outline.

    All parts and holes of an object are joined into one outline by cuts without width. The names of the
    classes are in classes.txt, a line each.
    """

    def __init__(
        self, path: StrPath, source: Source, names: Names | None = None, *, tolerance: float = TOLERANCE
    ) -> None:
        self._folder = make_folder(path)
        self._kinds = Kinds(names or {})
        self._source = source
        self._tolerance = tolerance

    def write(self, image: Image, masks: Masks) -> None:
        height, width = masks.size
        lines = []
        for id, mask in masks.items():
            rings = [ring for polygon in outlines(mask, self._tolerance) for ring in polygon]
            if rings:
                outline = joined(rings) / (width, height)
                lines.append(
                    f"{self._kinds.number(id)} {' '.join(f'{value:.6f}' for value in outline.flat)}\n"
                )
        name = Path(self._source.file_name(masks.frame)).stem
        with atomic_write(self._folder / f"{name}.txt") as part:
            part.write_text("".join(lines))

    def close(self) -> None:
        with atomic_write(self._folder / "classes.txt") as part:
            part.write_text("".join(f"{name}\n" for name in self._kinds.all))


def outlines(mask: Bool[np.ndarray, "H W"], tolerance: float = TOLERANCE) -> list[list[Ring]]:
    """The polygons of a mask, each an outer ring and its holes. At tolerance 0 they fill to the same mask.

    >>> outlines(np.ones((2, 3), dtype=bool), 0)[0][0].tolist()
    [[0.25, 0.25], [0.25, 1.75], [2.75, 1.75], [2.75, 0.25]]
    """
    # OpenCV draws contours through pixel centres, half a pixel inside the mask, where a lone pixel has no
    # area. On twice the pixels they run a quarter inside, and every pixel's centre lies on its own side.
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_ring(contour, tolerance) for contour in contours]
    parents = tree[0, :, 3].tolist() if rings else []  # of holes; -1 of outer rings
    polygons = {place: [ring] for place, ring in enumerate(rings) if parents[place] < 0}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0:
            polygons[parent].append(ring)
    return list(polygons.values())


def joined(rings: list[Ring]) -> Ring:
    """One ring that fills like all: each is entered, walked round and left again at its nearest point."""
    whole, *others = rings
    for ring in others:
        distances = ((whole[:, None] - ring[None]) ** 2).sum(axis=2)
        at, entry = np.unravel_index(distances.argmin(), distances.shape)
        loop = np.roll(ring, -entry, axis=0)
        whole = np.concatenate([whole[: at + 1], loop, loop[:1], whole[at:]])
    return whole


def _ring(contour: np.ndarray, tolerance: float) -> Ring:
    simple = cv2.approxPolyDP(contour, 2 * tolerance, closed=True)
    if len(simple) < 3:  # thinner than the tolerance
        simple = contour
    return simple[:, 0].astype(np.float64) / 2 + 0.25
