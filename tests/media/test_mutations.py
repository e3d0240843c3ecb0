"""Images and videos with changed bytes are read, or are one sentence: never a traceback, never for ever."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import is_still, open_frames, read_image, read_label_map
from media.made import numbered, write_video

IMAGES = [
    "png",
    "jpg",
    "webp",
    "tiff",
    "avif",
    "bmp",
    "gif",
    "ppm",
    "jp2",
    "ico",
    "tga",
    "deep.png",
    "deep.tiff",
    "float.tiff",
    "pages.tiff",
    "pages.png",
]
VIDEOS = {"mp4": {}, "mkv": {}, "ts": {}, "h264": {}, "avi": {"codec": "mpeg4", "b_frames": 0}}
MUTATIONS = 12  # of each kind


def write(path: Path, kind: str) -> Path:
    path = path / f"a.{kind}"
    if kind in VIDEOS:
        return write_video(path, [numbered(n) for n in range(12)], **VIDEOS[kind])
    if kind.startswith(("deep", "float")):
        values = np.random.default_rng(0).random((48, 64, 3)) * 4000
        cv2.imwrite(str(path), values.astype(np.uint16 if kind.startswith("deep") else np.float32))
        return path
    images = [PIL.Image.fromarray(numbered(n)) for n in range(3)]
    pages = {"save_all": True, "append_images": images[1:]} if kind.startswith("pages") else {}
    images[0].save(path, **pages)
    return path


def mutate(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    kind = rng.randrange(5)
    place = rng.randrange(len(data))
    if kind == 0:
        return data[:place]
    if kind == 1:
        del changed[place : place + rng.randrange(1, 100)]
    elif kind == 2:
        changed[place:place] = data[: rng.randrange(200)]
    for _ in range(rng.randrange(1, 30)):
        reach = 200 if kind == 3 else len(changed)  # heads more often
        changed[rng.randrange(min(reach, len(changed)))] = rng.choice([0, 1, 127, 128, 255])
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*IMAGES, *VIDEOS])
def test_mutated_files(tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    path = write(tmp_path, kind)
    data = path.read_bytes()
    readers = [
        lambda: list(open_frames(path)),
        lambda: len(open_frames(path)),
        lambda: open_frames(path)[1],
        lambda: open_frames(path.read_bytes())[0],
        lambda: read_image(path),
        lambda: read_label_map(path),
        lambda: is_still(path),
    ]
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(data, rng))
        for read in readers:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of metadata that is damaged
                try:
                    read()
                except MediaError as error:
                    str(error).encode()
