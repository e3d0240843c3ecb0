"""Images are read without torch as masklet reads them, or refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile

from masklet import media
from masklet.errors import MediaError
from masklet.onnx.masks import read_image

RAMP = np.arange(240, dtype=np.uint8).reshape(12, 20)
COLOURS = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "transparent P", "CMYK"])
def test_an_image_is_what_masklet_reads(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = PIL.Image.fromarray(COLOURS).convert(mode.split()[-1])
    if mode in ("RGBA", "LA"):
        image.putalpha(PIL.Image.fromarray(RAMP))
    image.save(path, **({"transparency": 3} if mode == "transparent P" else {}))
    expected = media.read_image(path).astype(int)
    assert np.abs(read_image(path) - expected).max() <= 1
    with PIL.Image.open(path) as opened:
        assert np.abs(read_image(opened) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_deep_image_is_refused_and_not_cut_off(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "deep.tif"
    PIL.Image.fromarray((RAMP * 200.0).astype(dtype)).save(path)
    with pytest.raises(MediaError, match="must have 8 bits per channel"):
        read_image(path)


@pytest.mark.parametrize("name", ["colours.png", "clear.png", "colours.tif"])
def test_a_deep_image_in_colours_is_refused_too(tmp_path: Path, name: str) -> None:
    """Pillow opens it with mode RGB, and would keep the upper eight of sixteen bits."""
    deep = COLOURS.astype(np.uint16) * 4
    if name == "clear.png":
        deep = np.dstack([deep, np.full(RAMP.shape, 65535, dtype=np.uint16)])
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, deep, photometric="rgb")
    else:
        cv2.imwrite(str(tmp_path / name), deep)
    assert media.read_image(tmp_path / name).max() > 200, "masklet scales it"
    with pytest.raises(MediaError, match="must have 8 bits per channel"):
        read_image(tmp_path / name)
    with PIL.Image.open(tmp_path / name) as opened, pytest.raises(MediaError, match="8 bits per channel"):
        read_image(opened)
