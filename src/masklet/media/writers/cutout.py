"""Objects cut out of their pictures: everything else is transparent."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt8

from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image, Source, numbered
from masklet.media.writers.encoder import Coding, VideoWriter
from masklet.media.writers.writer import Writer
from masklet.types import Masks

MARGIN = 4  # pixels of the picture kept around the objects, out of sight


def cutout(image: Image, masks: Masks, *, margin: int = 0) -> UInt8[np.ndarray, "H W 4"]:
    """The picture as RGBA: opaque where any object is, transparent and black elsewhere.

    margin : so many transparent pixels around the objects keep their colour
    """
    inside = np.zeros(image.shape[:2], dtype=np.uint8)
    for _, mask in masks.items():
        inside |= mask
    kept = cv2.dilate(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) if margin else inside
    return np.dstack([image * kept[:, :, None], inside * np.uint8(255)])


class CutoutPngs(Writer):
    """folder/00000.png, ...: a picture with alpha for each frame."""

    def __init__(self, path: StrPath) -> None:
        self._folder = make_folder(path)

    def write(self, image: Image, masks: Masks) -> None:
        picture = PIL.Image.fromarray(cutout(image, masks))
        with atomic_write(self._folder / numbered(masks.frame, ".png")) as part:
            picture.save(part, format="PNG", compress_level=1)


class CutoutVideo(VideoWriter):
    """VP9 with alpha in WebM, which browsers and editors play over whatever lies below."""

    coding = Coding(
        container="webm",
        codec="libvpx-vp9",
        pixels="yuva420p",
        tuning={"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
        options={},
        tick=Fraction(1, 1000),
    )

    def __init__(self, path: StrPath, source: Source) -> None:
        super().__init__(path, source)
        self._stream.metadata["alpha_mode"] = "1"

    def picture(self, image: Image, masks: Masks) -> UInt8[np.ndarray, "H W 4"]:
        # Two by two pixels share their colour in a video: without a margin, edges would go dark.
        return cutout(image, masks, margin=MARGIN)
