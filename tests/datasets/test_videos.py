"""Videos with labels, as PNGs and as SA-V's json: labelled frames, and the objects on them."""

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datasets.made import LEFT, RIGHT, H, W, write_image, write_labels, write_masked, write_video
from masklet import rle
from masklet.datasets import find_items, find_sav_videos, read_png_videos, read_sav
from masklet.errors import MediaError
from masklet.evaluate.samples import find_clips
from masklet.media import open_frames, writers
from masklet.types import Masks


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
        write_image(tmp_path / name / "frames" / "00000.jpg")
        write_labels(tmp_path / name / "masks" / "00000.png", labels)
    alone, void = read_png_videos(tmp_path)
    assert alone.open().objects(0) == [1] and void.open().objects(0) == [1]


def test_objects_that_enter_late_stay_apart(tmp_path: Path) -> None:
    late = (LEFT * 0, LEFT * 0 + RIGHT * 255, LEFT * 1 + RIGHT * 2)
    for number, labels in enumerate(late):
        write_image(tmp_path / "late" / "frames" / f"{number:05d}.jpg")
        write_labels(tmp_path / "late" / "masks" / f"{number:05d}.png", labels)
    (item,) = read_png_videos(tmp_path)
    (video,) = find_clips(tmp_path)
    assert [list(item.open().objects(frame)) for frame in range(3)] == [[], [], [1, 2]]
    assert video.first_frames == {1: 2, 2: 2} and (video.truth(2).masks[2] == RIGHT).all()


def test_two_frames_of_one_name_are_refused(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        write_image(tmp_path / "clip" / "frames" / f"00001{suffix}")
    write_image(tmp_path / "clip" / "frames" / "00000.png")
    write_labels(tmp_path / "clip" / "masks" / "00001.png", LEFT * 1)
    with pytest.raises(MediaError, match="two frames with the name 00001"):
        find_clips(tmp_path)


def test_sav_from_a_video_and_from_frames(tmp_path: Path) -> None:
    empty = np.zeros((H, W), dtype=bool)
    said = {
        "masklet_id": [0, 3],
        "masklet": [[rle.encode(LEFT), rle.encode(RIGHT)], [rle.encode(RIGHT), None]],
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
        write_image(root / "two" / f"{frame:05}.jpg", red=40 * frame)
    footage = read_sav(root)
    assert sorted(each.name for each in footage) == ["sav/one_manual", "sav/two_auto"]
    for each in footage:
        reel = each.open()
        assert len(reel) == 2 and list(reel.objects(0)) == [0, 3]
        assert abs(int(reel.image(1)[..., 0].mean()) - 160) < 8  # every fourth frame is labelled
        assert (reel.masks(0, [3, 0]) == [RIGHT, LEFT]).all()
        assert (reel.masks(1, [0, 3]) == [RIGHT, empty]).all()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """NAME/sav.json beside NAME/frames, as a user exports it: seven frames, of which six have masks."""
    source = open_frames([np.full((H, W, 3), 30 * frame, dtype=np.uint8) for frame in range(7)])
    with writers(["sa-v", "frames"], tmp_path / "set" / "clip", source) as writer:
        for frame, image in enumerate(source):
            if frame < 6:
                masks = {1: LEFT, 2: RIGHT} if frame % 2 else {1: RIGHT}
                writer.write(image, Masks.from_arrays(frame, masks, (H, W)))
            else:
                writer.write(image, Masks.empty(frame, (H, W)))
    return tmp_path / "set"


def test_an_export_of_every_frame_is_read_back_frame_by_frame(exported: Path) -> None:
    (item,) = find_items(exported)
    video = item.open()
    assert (item.name, len(video)) == ("set/clip", 7)
    for frame in range(7):
        assert abs(int(video.image(frame)[0, 0, 0]) - 30 * frame) < 4
        one, two = video.masks(frame, [1, 2])
        expected = (LEFT, RIGHT) if frame % 2 else (RIGHT, 0 * RIGHT)
        assert ([one, two] == np.array(expected)).all() if frame < 6 else not one.any()


def test_evaluation_reads_the_same_frames_of_an_export(exported: Path) -> None:
    (video,) = find_sav_videos(exported)
    assert list(video.labelled) == list(range(7))
    assert (video.truth(3).masks[2] == RIGHT).all() and (video.truth(2).masks[1] == RIGHT).all()
    assert video.annotated_frames(2) == list(range(7)) and not video.annotated_frames(3)


def test_labels_of_a_video_of_another_length_are_refused(exported: Path) -> None:
    (exported / "clip" / "frames" / "00006.jpg").unlink()
    (item,) = read_sav(exported)
    with pytest.raises(MediaError, match="labels a video of 7 frames, but frames has 6"):
        item.open()


def test_an_export_without_the_step_labels_every_frame(exported: Path) -> None:
    """As masklet wrote these files before they named the step."""
    path = exported / "clip" / "sav.json"
    content = json.loads(path.read_text())
    del content["masklet_frame_step"]
    path.write_text(json.dumps(content))
    assert len(find_items(exported)[0].open()) == 7


@pytest.mark.parametrize("step", [0, -1, "4", 1.5])
def test_a_step_that_is_no_number_of_frames_is_refused(exported: Path, step: object) -> None:
    path = exported / "clip" / "sav.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "masklet_frame_step": step}))
    with pytest.raises(MediaError, match="a whole number from 1 as masklet_frame_step"):
        find_items(exported)[0].open()


def write_sav(folder: Path, frames: int, **fields: object) -> Path:
    """A folder of frames beside labels of SA-V's own form, on every fourth frame of nine."""
    for number in range(frames):
        write_image(folder / "clip" / f"{number:05d}.jpg")
    masks = [[rle.encode(LEFT), rle.encode(RIGHT)] for _ in range(3)]
    content = {"masklet_id": [0, 3], "masklet": masks, "video_frame_count": 9.0, **fields}
    (folder / "clip_manual.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(("frames", "labelled"), [(9, [0, 4, 8]), (7, [0, 4]), (12, [0, 4, 8])])
def test_labels_of_sav_fit_a_video_of_about_their_length(
    tmp_path: Path, frames: int, labelled: list[int]
) -> None:
    (video,) = find_sav_videos(write_sav(tmp_path, frames))
    assert list(video.labelled) == labelled and sorted(video.truth(4).masks) == [1, 4]


@pytest.mark.parametrize("frames", [4, 18])
def test_labels_of_sav_are_not_laid_on_a_video_of_another_rate(tmp_path: Path, frames: int) -> None:
    (video,) = find_sav_videos(write_sav(tmp_path, frames))
    with pytest.raises(MediaError, match=rf"labels a video of 9 frames, but clip has {frames}"):
        _ = video.labelled


def test_a_masklet_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (video,) = find_sav_videos(write_sav(tmp_path, 9, masklet_id=[3, 3]))
    with pytest.raises(MediaError, match="a list of different ids"):
        video.truth(0)


def test_videos_of_all_forms_in_a_folder_are_found(exported: Path) -> None:
    """Masklets of the data engine, reviews of them as SA-V and as PNGs, and images, in one folder."""
    for folder in ("", "reviewed"):
        write_labels(exported / folder / "pngs" / "masks" / "00000.png", LEFT * 1)
        write_image(exported / folder / "pngs" / "frames" / "00000.jpg")
    shutil.copytree(exported / "clip", exported / "reviewed" / "clip")
    write_masked(exported / "images")
    write_video(exported / "davis", "JPEGImages", "Annotations", apart=False)
    names = {item.name for item in find_items(exported)}
    assert {clip.name for clip in find_clips(exported)} >= {"clip", "clip (2)", "pngs"}
    assert names == {
        *("set/clip", "set/clip (2)", "set/pngs", "reviewed/pngs"),
        *("images/a", "images/b", "davis/clip"),
    }


def test_what_cannot_be_read_beside_a_data_set_is_said(
    exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (exported / "run" / "masks").mkdir(parents=True)
    assert len(find_items(exported)) == 1
    assert "run is left out" in caplog.text and "contains no images with masks" in caplog.text


def test_an_object_255_of_masklets_own_label_maps_is_no_undecided_pixel(tmp_path: Path) -> None:
    """In those of others 255 beside other labels is undecided, and alone it is the white of a mask."""
    source = open_frames([np.zeros((H, W, 3), dtype=np.uint8)] * 2)
    with writers(["palette", "frames"], tmp_path / "set" / "clip", source) as writer:
        for frame, masks in enumerate(({1: LEFT, 255: RIGHT}, {255: RIGHT})):
            writer.write(source[frame], Masks.from_arrays(frame, masks, (H, W)))
    video = find_items(tmp_path / "set")[0].open()
    for frame in (0, 1):
        assert (video.masks(frame, [255])[0] == RIGHT).all()
    (clip,) = find_clips(tmp_path / "set")
    assert clip.first_frames == {1: 0, 255: 0} and clip.truth(0).undecided is None


def test_255_of_sixteen_bits_is_an_object(tmp_path: Path) -> None:
    """Files whose ids go on beyond 255 have no special one in between."""
    for place in ("clip/frames/00000.png", "clip/frames/00001.png"):
        write_image(tmp_path / place)
    (tmp_path / "clip" / "masks").mkdir()
    for frame, labels in enumerate((LEFT * 255 + RIGHT * 300, LEFT * 255 + RIGHT * 2)):
        cv2.imwrite(str(tmp_path / f"clip/masks/0000{frame}.png"), labels.astype(np.uint16))
    video = find_items(tmp_path)[0].open()
    assert [list(video.objects(frame)) for frame in (0, 1)] == [[255, 300], [2, 255]]
    (clip,) = find_clips(tmp_path)
    assert clip.truth(1).undecided is None and clip.first_frames == {255: 0, 300: 0, 2: 1}


def test_two_folders_of_one_object_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "clip" / "frames" / "00000.jpg")
    for folder, mask in (("1", LEFT), ("001", RIGHT)):
        write_labels(tmp_path / "clip" / "masks" / folder / "00000.png", mask)
    with pytest.raises(MediaError, match="two folders with the same object number"):
        find_items(tmp_path)[0].open()


def test_masks_of_more_frames_than_the_video_has_are_refused(exported: Path) -> None:
    path = exported / "clip" / "sav.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "masklet": content["masklet"] * 2}))
    with pytest.raises(MediaError, match="has masks of 14 frames, 1 apart, but frames has only 7 frames"):
        find_items(exported)[0].open()
