"""The pictures themselves: objects cut out of them, with all else transparent; or whole, as they are."""

from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt8

from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image, Source, frame_file_name
from masklet.media.writers.video import VP9_ALPHA, VideoWriter
from masklet.media.writers.writer import Writer
from masklet.types import Masks

MARGIN = 4  # transparent pixels around the objects that keep the picture's colour


def cutout(image: Image, masks: Masks, *, margin: int = 0) -> UInt8[np.ndarray, "H W 4"]:
    """The picture as RGBA: opaque where any object is, transparent and black elsewhere.

    Args:
        image: The picture.
        masks: Its masks.
        margin: Transparent pixels around the objects that keep their colour.
    """
    inside = np.zeros(image.shape[:2], dtype=np.uint8)
    for _, mask in masks.items():
        inside |= mask
    colored = cv2.dilate(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) if margin else inside
    return np.dstack([image * colored[:, :, None], inside * np.uint8(255)])


class CutoutPngs(Writer):
    """folder/00000.png, ...: a picture with alpha for each frame."""

    def __init__(self, path: StrPath) -> None:
        self._folder = make_folder(path)

    def write(self, image: Image, masks: Masks) -> None:
        picture = PIL.Image.fromarray(cutout(image, masks))
        with atomic_write(self._folder / frame_file_name(masks.frame, ".png")) as part:
            picture.save(part, format="PNG", compress_level=1)


class CutoutVideo(VideoWriter):
    """VP9 with alpha in WebM, which browsers and editors play over whatever lies below."""

    coding = VP9_ALPHA

    def picture(self, image: Image, masks: Masks) -> UInt8[np.ndarray, "H W 4"]:
        # Two by two pixels share their colour in a video: without a margin, edges would go dark.
        return cutout(image, masks, margin=MARGIN)


class FramePictures(Writer):
    """folder/00000.jpg, ...: the frames, under the names that COCO and YouTube-VIS files have for them.

    Pictures with a file name keep it, and with it their format.
    """

    def __init__(self, path: StrPath, source: Source) -> None:
        self._folder = make_folder(path)
        self._source = source

    def write(self, image: Image, masks: Masks) -> None:
        path = self._folder / self._source.file_name(masks.frame)
        format = PIL.Image.registered_extensions().get(path.suffix.lower(), "JPEG")
        with atomic_write(path) as part:
            PIL.Image.fromarray(image).save(part, format=format, quality=95)
