"""COCO, YouTube-VIS and SA-V, read back by pycocotools."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from masklet.media import CocoJson, Frames, SavJson, YouTubeVisJson, open_frames
from media.made import CLIP, EMPTY, ONE, RING, TWO, decoded, made_frames, made_masks, numbered, write


@pytest.fixture(scope="module")
def source() -> Frames:
    return made_frames()


class TestCocoJson:
    @pytest.fixture
    def read(self, source: Frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> COCO:
        write(CocoJson(tmp_path / "coco.json", source), source)
        return COCO(tmp_path / "coco.json")

    def test_pycocotools_reads_it_back(self, read: COCO) -> None:
        images = read.loadImgs(read.getImgIds())
        assert [image["file_name"] for image in images] == [f"0000{frame}.jpg" for frame in range(4)]
        assert {(image["height"], image["width"]) for image in images} == {(48, 64)}
        (annotation,) = read.loadAnns(read.getAnnIds(imgIds=images[1]["id"]))  # an empty mask is none
        assert (read.annToMask(annotation) == RING).all()
        assert annotation["object_id"] == 2 and annotation["area"] == RING.sum()
        assert annotation["bbox"] == [2, 2, 28, 28]
        assert read.loadCats(annotation["category_id"])[0]["name"] == "object"

    def test_ids_are_unique(self, read: COCO) -> None:
        assert len(read.anns) == 5

    def test_pycocotools_takes_it_as_truth_and_as_results(self, read: COCO) -> None:
        results = read.loadRes(list(read.anns.values()))
        assert len(results.anns) == 5

    def test_images_keep_their_names(self, tmp_path: Path) -> None:
        for name in ("b.png", "a.png"):
            PIL.Image.fromarray(numbered(1)).save(tmp_path / name)
        frames = open_frames(tmp_path)
        write(CocoJson(tmp_path / "coco.json", frames), frames, [made_masks(1, {1: ONE})])
        images = json.loads((tmp_path / "coco.json").read_text())["images"]
        assert [image["file_name"] for image in images] == ["b.png"]


def test_youtube_vis_json(source: Frames, tmp_path: Path) -> None:
    write(YouTubeVisJson(tmp_path / "vis.json", source), source, [CLIP[0], CLIP[1], CLIP[3]])
    written = json.loads((tmp_path / "vis.json").read_text())
    (video,) = written["videos"]
    assert video["length"] == 4 and video["file_names"][3] == "00003.jpg"
    assert (video["height"], video["width"]) == (48, 64)
    one, two = written["annotations"]
    assert (one["id"], two["id"]) == (1, 2) and one["video_id"] == video["id"]
    assert one["category_id"] == written["categories"][0]["id"]
    assert [code is not None for code in one["segmentations"]] == [True, False, False, True]
    assert one["areas"] == [ONE.sum(), None, None, ONE.sum()]
    assert one["bboxes"] == [[4, 6, 16, 24], None, None, [4, 6, 16, 24]]
    assert (decoded(one["segmentations"][3]) == ONE).all()
    assert (decoded(two["segmentations"][1]) == RING).all()


def test_sav_json(source: Frames, tmp_path: Path) -> None:
    write(SavJson(tmp_path / "sav.json", source), source)
    written = json.loads((tmp_path / "sav.json").read_text())
    assert written["video_frame_count"] == len(written["masklet"]) == 4
    assert written["masklet_frame_step"] == 1
    assert written["video_duration"] == pytest.approx(4 / 24)
    assert (written["video_height"], written["video_width"], written["video_resolution"]) == (48, 64, 48 * 64)
    masks = [[decoded(code) for code in frame] for frame in written["masklet"]]
    expected = [[ONE, EMPTY], [EMPTY, RING], [ONE, TWO], [ONE, EMPTY]]
    assert np.array_equal(masks, expected)
    assert written["masklet_id"] == [1, 2] and written["masklet_num"] == 2
    assert written["masklet_first_appeared_frame"] == [0, 1]
    assert written["masklet_visibility_changes"] == [2, 1]
    assert written["masklet_size_abs"] == [ONE.sum(), (RING.sum() + TWO.sum()) / 2]
    assert written["masklet_size_rel"][0] == pytest.approx(ONE.mean())
    assert written["masklet_size_bucket"] == ["small", "small"]


DATASETS = [CocoJson, YouTubeVisJson, SavJson]


@pytest.mark.parametrize("kind", DATASETS)
class TestDatasets:
    def test_frames_in_any_order_and_again(self, kind: type, source: Frames, tmp_path: Path) -> None:
        write(kind(tmp_path / "once.json", source), source)
        wrong = made_masks(2, {1: EMPTY, 2: RING})
        write(kind(tmp_path / "again.json", source), source, [wrong, *CLIP[::-1]])
        assert (tmp_path / "once.json").read_text() == (tmp_path / "again.json").read_text()

    def test_nothing_written(self, kind: type, source: Frames, tmp_path: Path) -> None:
        write(kind(tmp_path / "none.json", source), source, [])
        assert isinstance(json.loads((tmp_path / "none.json").read_text()), dict)

    def test_no_masks_stay_in_memory(self, kind: type, source: Frames, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        noise = [rng.random((240, 320)) > 0.5 for _ in range(4)]  # 40 kB of RLE each
        writer = kind(tmp_path / "long.json", open_frames([np.zeros((240, 320, 3), np.uint8)] * 60))
        image = np.zeros((240, 320, 3), np.uint8)
        tracemalloc.start()
        for frame in range(60):
            writer.write(image, made_masks(frame, {1: noise[frame % 4]}))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        writer.close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (tmp_path / "long.json").stat().st_size > 2_000_000
        assert before < 200_000 and peak < 700_000
