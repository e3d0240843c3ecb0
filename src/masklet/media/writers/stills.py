"""The frames themselves as pictures, under the names by which COCO, YouTube-VIS and YOLO files know them."""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image, Source
from masklet.media.writers.writer import Writer
from masklet.types import Masks


class FramePictures(Writer):
    """folder/00000.jpg, ...; pictures that have a name of their own keep it, and with it their format."""

    def __init__(self, path: StrPath, source: Source) -> None:
        self._folder = make_folder(path)
        self._source = source

    def write(self, image: Image, masks: Masks) -> None:
        name = Path(self._source.file_name(masks.frame)).name
        kind = PIL.Image.registered_extensions().get(Path(name).suffix.lower(), "JPEG")
        with atomic_write(self._folder / name) as part:
            PIL.Image.fromarray(image).save(part, format=kind, quality=95)
