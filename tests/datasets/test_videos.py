"""Videos with labels, as PNGs and as SA-V's json: labelled frames, and the objects on them."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from datasets.made import LEFT, RIGHT, H, W, write_labels, write_picture, write_video
from masklet import rle
from masklet.datasets import read_png_videos, read_sav


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("frames", "masks"),
    [
        ("JPEGImages/480p", "Annotations/480p"),
        ("JPEGImages", "Annotations"),
        ("JPEGImages_24fps", "Annotations_6fps"),
    ],
)
def test_videos_with_png_masks(tmp_path: Path, frames: str, masks: str, apart: bool) -> None:
    write_video(tmp_path / "davis", frames, masks, apart)
    (clip,) = read_png_videos(tmp_path / "davis")
    reel = clip.open()
    assert clip.name == "davis/clip" and len(reel) == 2 and list(reel.objects(0)) == [1, 2]
    assert abs(int(reel.image(1)[0, 0, 0]) - 100) < 4  # frame 2 of the video
    assert (reel.masks(0, [2, 1]) == [RIGHT, LEFT]).all()
    gone, there = reel.masks(1, [2, 1])
    assert not gone.any() and (there == LEFT).all()


def test_white_is_an_object_only_where_it_is_alone(tmp_path: Path) -> None:
    for name, labels in (("alone", LEFT * 255), ("void", LEFT * 1 + RIGHT * 255)):
        write_picture(tmp_path / name / "frames" / "00000.jpg")
        write_labels(tmp_path / name / "masks" / "00000.png", labels)
    alone, void = read_png_videos(tmp_path)
    assert alone.open().objects(0) == [1] and void.open().objects(0) == [1]


def test_sav_from_a_video_and_from_frames(tmp_path: Path) -> None:
    empty = np.zeros((H, W), dtype=bool)
    said = {
        "masklet_id": [0, 3],
        "masklet": [[rle.encode(LEFT), rle.encode(RIGHT)], [rle.encode(RIGHT), rle.encode(empty)]],
    }
    root = tmp_path / "sav"
    root.mkdir()
    for name in ("one_manual", "two_auto"):
        (root / f"{name}.json").write_text(json.dumps(said))
    with av.open(str(root / "one.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=24, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for frame in range(6):
            image = np.full((H, W, 3), (40 * frame, 0, 0), dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    for frame in range(6):
        write_picture(root / "two" / f"{frame:05}.jpg", red=40 * frame)
    footage = read_sav(root)
    assert sorted(each.name for each in footage) == ["sav/one_manual", "sav/two_auto"]
    for each in footage:
        reel = each.open()
        assert len(reel) == 2 and list(reel.objects(0)) == [0, 3]
        assert abs(int(reel.image(1)[..., 0].mean()) - 160) < 8  # every fourth frame is labelled
        assert (reel.masks(0, [3, 0]) == [RIGHT, LEFT]).all()
        assert (reel.masks(1, [0, 3]) == [RIGHT, empty]).all()
