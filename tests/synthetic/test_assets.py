"""What clips are made of: cut-outs with alpha, stretches of real videos, sets that are taken more often."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from masklet.synthetic import ClipMix, Composer, scenes
from masklet.synthetic.assets import (
    AssetLibrary,
    PackedImage,
    UnlabelledVideo,
    load_cutouts,
    load_unlabelled_videos,
    pack_image,
)

DEMO = Path(__file__).parents[2] / "examples" / "demo.mp4"
PASTED_ON_VIDEO = ClipMix(0, 0, 0, 0, pasted_on_video=1)


def square(name: str, side: int = 24) -> PackedImage:
    mask = np.zeros((64, 64), dtype=bool)
    mask[20 : 20 + side, 20 : 20 + side] = True
    return pack_image(name, np.full((64, 64, 3), 128, np.uint8), [mask])


def numbered(frames: int) -> UnlabelledVideo:
    return UnlabelledVideo("numbered", np.stack([np.full((40, 60, 3), i, np.uint8) for i in range(frames)]))


def test_cutouts_keep_their_alpha_and_have_room_around(tmp_path: Path) -> None:
    rgba = np.zeros((60, 80, 4), np.uint8)
    cv2.circle(rgba, (40, 30), 30, (10, 20, 200, 255), -1)
    cv2.imwrite(str(tmp_path / "disc.png"), rgba)
    cv2.imwrite(str(tmp_path / "opaque.png"), rgba[..., :3])
    for _ in range(2):  # packed, and read again
        (cutout,) = load_cutouts([tmp_path], tmp_path / "cache", max_side=40)
        assert cutout.pixels.shape == (38, 48, 3) and len(cutout) == 1
        x0, y0, x1, y1 = cutout.boxes[0]
        assert min(x0, y0) > 1 and x1 < 47 and y1 < 37
        middle = cutout.pixels[19, 24].tolist()
        assert middle == [200, 20, 10]


def test_a_video_is_shrunk_once_and_read_again(tmp_path: Path) -> None:
    (video,) = load_unlabelled_videos([DEMO], tmp_path, max_side=96)
    assert max(video.frames.shape[1:3]) == 96 and len(video.frames) >= 2
    (again,) = load_unlabelled_videos([DEMO], tmp_path, max_side=96)
    assert np.array_equal(video.frames, again.frames) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("length", [1, 2, 5, 50])
def test_a_stretch_of_a_video_goes_to_and_fro_where_it_is_short(length: int) -> None:
    for seed in range(20):
        background = scenes._video_background(default_rng(seed), numbered(length), 9)
        shown = [int(background.render(frame, 16)[0].mean()) for frame in range(9)]
        assert all(0 <= number < length for number in shown) and len(background) == 9
        assert all(abs(a - b) <= 3 for a, b in pairwise(shown))


def test_things_are_pasted_over_videos_where_there_are_any() -> None:
    assets = AssetLibrary([square("a/1")], videos=[numbered(30)])
    clip = Composer(assets, 48, 4, 2, 0, PASTED_ON_VIDEO).clip(3)
    assert clip.images.shape == (4, 48, 48, 3) and clip.objects
    with pytest.raises(ValueError, match="no weight"):
        Composer(AssetLibrary([square("a/1")]), 48, 4, 2, 0, PASTED_ON_VIDEO)


def test_sets_are_taken_as_often_as_they_weigh() -> None:
    assets = AssetLibrary(
        [square("often/1"), square("seldom/1"), square("plain/1")], weights={"often": 4, "seldom": 0}
    )
    rng = default_rng(0)
    for draw in (assets.draw_instance, assets.draw_large_instance, assets.draw_cutout):
        names = [draw(rng)[0].name for _ in range(200)]
        assert "seldom/1" not in names and 2 * names.count("plain/1") < names.count("often/1")


def test_thin_things_count_by_what_they_span() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[np.arange(10, 60), np.arange(10, 60)] = True
    dot = np.zeros((64, 64), dtype=bool)
    dot[20:27, 20:27] = True
    composer = Composer([square("a/1")], 64, 1, 2, 0, min_area=0.02)
    assert composer._large_enough(mask) and not composer._large_enough(dot)
