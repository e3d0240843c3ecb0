"""Masks for people to look at: painted over the picture, as a video or as one picture."""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from masklet.drawing import color as color
from masklet.drawing import paint_masks as paint_masks
from masklet.drawing import paint_objects
from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image
from masklet.media.writers.video import H264, VideoWriter
from masklet.media.writers.writer import Writer
from masklet.types import Masks


def overlay(image: Image, masks: Masks) -> Image:
    """The picture with its masks painted in, each in its object's colour and with an outline."""
    return paint_objects(image, masks.items(), masks.boxes)


class OverlayPng(Writer):
    """One picture; of several frames, the last."""

    def __init__(self, path: StrPath) -> None:
        make_folder(Path(path).parent)
        self._path = path

    def write(self, image: Image, masks: Masks) -> None:
        with atomic_write(self._path) as part:
            PIL.Image.fromarray(overlay(image, masks)).save(part, format="PNG")


class OverlayVideo(VideoWriter):
    """H.264 in MP4, which every player shows. Frames beyond H.264's largest size are scaled down."""

    coding = H264

    def picture(self, image: Image, masks: Masks) -> Image:
        return overlay(image, masks)
