"""Masks as outlines: polygons with holes, and YOLO's labels, which have no holes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from pathlib import Path

import numpy as np

from masklet.drawing import TOLERANCE, Ring
from masklet.drawing import outlines as outlines
from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image, Source
from masklet.media.writers.masklets import FrameList
from masklet.media.writers.writer import Categories, Names, Writer, check_masks
from masklet.types import Masks

CLASSES = "classes.txt"


class PolygonsJson(Writer):
    """For each frame and object a list of polygons, each an outer ring and its holes. Always valid.

    Args:
        path: The file.
        source: Where the frames come from.
        tolerance: Pixels by which an outline may differ from the mask's, so that it has few points.

    Raises:
        MediaError: The file cannot be written; frames before a failure are kept.
    """

    def __init__(self, path: StrPath, source: Source, *, tolerance: float = TOLERANCE) -> None:
        self._source, self._tolerance = source, tolerance
        self._list = FrameList(path, {"version": 1, "source": source.name, "size": list(source.size)})

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks, self._source)
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
    """A text file for each frame, a line for each object: its class number and a relative outline.

    A file is named as its frame: cat.jpg has cat.txt. Where that name is not the frame's alone, it holds more
    of the image's own: cat.jpg.txt beside cat.png.txt, a_1.txt for a/1.png. All parts and holes of an
    object are joined into one outline by cuts without width. classes.txt has the names of the classes.

    Args:
        path: The folder.
        source: Where the frames come from.
        names: Classes of the objects by id; without one, "object".
        tolerance: Pixels by which an outline may differ from the mask's, so that it has few points.

    Raises:
        MediaError: The folder cannot be written to, or a class has a control character.
    """

    def __init__(
        self, path: StrPath, source: Source, names: Names | None = None, *, tolerance: float = TOLERANCE
    ) -> None:
        self._folder = make_folder(path)
        self._categories = Categories(names or {})
        self._source = source
        self._tolerance = tolerance
        self._shared_names = _shared_names(source)

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks, self._source)
        height, width = masks.size
        lines = []
        for id, mask in masks.items():
            rings = [ring for polygon in outlines(mask, self._tolerance) for ring in polygon]
            if rings:
                outline = join_rings(rings) / (width, height)
                numbers = " ".join(f"{value:.6f}" for value in outline.flat)
                lines.append(f"{self._categories.number(id)} {numbers}\n")
        stem = self._shared_names.get(masks.frame) or _stem(self._source.file_name(masks.frame))
        with atomic_write(self._folder / f"{stem}.txt") as part:
            part.write_text("".join(lines))

    def close(self) -> None:
        with atomic_write(self._folder / CLASSES) as part:
            part.write_text("".join(f"{name}\n" for name in self._categories.names))


def _flat(name: str) -> str:
    """An image's relative path as a single file name.

    >>> _flat("a/1.png")
    'a_1.png'
    """
    return name.replace("/", "_").replace("\\", "_")


def _stem(name: str) -> str:
    return Path(_flat(name)).stem


def _shared_names(source: Source) -> dict[int, str]:
    """Other names for frames with the same stem, or with the stem of the classes' file."""
    frames = range(len(source)) if isinstance(source, Sized) else ()
    stems = [_stem(source.file_name(frame)) for frame in frames]
    counts = Counter([*stems, Path(CLASSES).stem])
    taken, names = set(counts), dict[int, str]()
    for frame, stem in enumerate(stems):
        if counts[stem] > 1:
            name = _flat(source.file_name(frame))
            while name in taken:
                name += "_"
            taken.add(name)
            names[frame] = name
    return names


def join_rings(rings: list[Ring]) -> Ring:
    """Join rings into one that fills the same: a cut leads to each at its nearest point, and back.

    Args:
        rings: At least one ring, each (n, 2), x and y in pixels.

    Returns:
        One ring, (n, 2).

    Example:
        >>> first, second = np.array([[0.0, 0], [4, 0]]), np.array([[5.0, 0], [9, 0]])
        >>> join_rings([first, second]).astype(int).tolist()
        [[0, 0], [4, 0], [5, 0], [9, 0], [5, 0], [4, 0]]
    """
    outline, *others = rings
    for ring in others:
        distances = ((outline[:, None] - ring[None]) ** 2).sum(axis=2)
        exit, entry = np.unravel_index(distances.argmin(), distances.shape)
        loop = np.roll(ring, -entry, axis=0)
        outline = np.concatenate([outline[: exit + 1], loop, loop[:1], outline[exit:]])
    return outline
