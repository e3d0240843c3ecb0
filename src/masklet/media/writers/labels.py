"""Masks as PNG: one label map a frame (DAVIS), or one mask an object and frame (SA-V)."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from masklet.errors import MediaError
from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.mask_files import LABEL_MAP_KEY
from masklet.media.readers.source import Image, frame_file_name
from masklet.media.writers.writer import Writer
from masklet.types import Masks

HIGHEST = 2**16 - 1  # id that a pixel can hold


class PalettePngs(Writer):
    """folder/00000.png, ...: a pixel is its object's id, or 0; where masks overlap the highest logit wins.

    A frame with an id above 255, for which the palette has no colour, is 16 bits of grey.
    """

    def __init__(self, path: StrPath) -> None:
        self._folder = make_folder(path)

    def write(self, image: Image, masks: Masks) -> None:
        check_ids(masks.ids)
        write_label_map(self._folder / frame_file_name(masks.frame, ".png"), masks.label_map())


class ObjectPngs(Writer):
    """folder/001/00000.png, ...: a folder an object, 0 and 1, overlaps kept; the layout of SA-V."""

    def __init__(self, path: StrPath) -> None:
        self._folder = make_folder(path)

    def write(self, image: Image, masks: Masks) -> None:
        for id, mask in masks.items():
            write_label_map(self._folder / f"{id:03d}" / frame_file_name(masks.frame, ".png"), mask)


def check_ids(ids: tuple[int, ...]) -> None:
    """Refuse ids that a pixel of a label map cannot hold."""
    refused = [id for id in ids if not 1 <= id <= HIGHEST]
    if refused:
        raise MediaError(
            f"a label map holds object ids 1 to {HIGHEST}. Got {', '.join(map(str, refused))}: choose other "
            f"ids, or write masklets.json or a PNG for each object."
        )


def write_label_map(path: StrPath, labels: np.ndarray) -> None:
    """Write ids, (H, W), as a PNG with DAVIS's palette; where one is above 255, in 16 bits of grey."""
    if labels.max(initial=0) > 255:
        picture = PIL.Image.fromarray(labels.astype(np.uint16))
    else:
        picture = PIL.Image.fromarray(labels.astype(np.uint8))
        picture.putpalette(davis_palette().tobytes())
    note = PIL.PngImagePlugin.PngInfo()
    note.add_text(LABEL_MAP_KEY, "1")
    with atomic_write(path) as part:
        picture.save(part, format="PNG", pnginfo=note, compress_level=1)  # a label map is small at any level


def davis_palette() -> np.ndarray:
    """uint8 (256, 3). An id's bits go to red, green and blue in turn, the lowest as the brightest.

    >>> davis_palette()[:4].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    ids = np.arange(256)[:, None]
    channels = np.arange(3)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette |= ((ids >> (3 * bit + channels) & 1) << (7 - bit)).astype(np.uint8)
    return palette
