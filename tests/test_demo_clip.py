"""The demo clip is small, plays, and its true masks lie on the red balloon."""

import importlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

from masklet import rle

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIP, TRUTH = EXAMPLES / "demo.mp4", EXAMPLES / "demo_masks.json"
SIZE = (360, 640)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    with av.open(CLIP) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    return [rle.decode(mask) for mask in json.loads(TRUTH.read_text())["masks"]]


def point() -> tuple[int, int]:
    x, y = json.loads(TRUTH.read_text())["point"]
    return x, y


def redness(image: np.ndarray) -> np.ndarray:
    red, green, blue = image.astype(int).transpose(2, 0, 1)
    return red - np.maximum(green, blue)


def test_small_enough_to_ship() -> None:
    assert CLIP.stat().st_size <= 300_000
    assert TRUTH.stat().st_size <= 150_000


def test_plays_everywhere() -> None:
    with av.open(CLIP) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width) == SIZE
        assert stream.average_rate == 24


def test_every_frame_has_its_mask(images: list[np.ndarray], masks: list[np.ndarray]) -> None:
    assert len(images) == len(masks)
    assert {mask.shape for mask in masks} == {SIZE}


def test_the_click_is_on_the_balloon(masks: list[np.ndarray]) -> None:
    x, y = point()
    assert masks[0][y - 8 : y + 9, x - 8 : x + 9].all(), "a hand that is 8 pixels off still hits it"


def test_the_click_is_named() -> None:
    x, y = point()
    assert f"\n    POINT={x},{y}\n" in (EXAMPLES / "README.md").read_text()
    assert f"\nDEMO_POINT := {x},{y}\n" in (EXAMPLES.parent / "Makefile").read_text()


def test_masks_lie_on_what_is_red(images: list[np.ndarray], masks: list[np.ndarray]) -> None:
    """Above the lake, which mirrors it, nothing else is red; its band, crown and basket are not."""
    for image, mask in zip(images, masks, strict=True):
        red = redness(image)[:230] > 90
        assert red[mask[:230]].mean() > 0.6
        assert (red & ~mask[:230]).sum() < 0.03 * mask.sum()


def test_it_is_hidden_in_part_and_never_lost(masks: list[np.ndarray]) -> None:
    areas = np.array([mask.sum() for mask in masks], dtype=float)
    free = np.interp(np.arange(len(areas)), [0, len(areas) - 1], areas[[0, -1]])
    assert 0.5 < (areas / free).min() < 0.8


@pytest.mark.slow
def test_the_script_renders_this_clip(
    images: list[np.ndarray], masks: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to compression, which costs a few grey levels; another image costs many more."""
    monkeypatch.syspath_prepend(EXAMPLES)
    image, mask = next(importlib.import_module("render_demo").frames())
    assert np.abs(image.astype(int) - images[0]).mean() < 6
    assert (mask != masks[0]).mean() < 0.001
