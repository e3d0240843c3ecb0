"""What all writers promise: whole files, whatever happens, which others' readers of the format read back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from masklet.errors import MediaError
from masklet.media import (
    CocoJson,
    Frames,
    MaskletsJson,
    ObjectPngs,
    OverlayPng,
    OverlayVideo,
    PalettePngs,
    PolygonsJson,
    SavJson,
    Writer,
    Writers,
    YoloTxts,
    YouTubeVisJson,
    davis_palette,
    open_frames,
    read_label_map,
    read_label_maps,
    read_masklets,
)
from masklet.types import Masks
from media.made import box_mask, made_masks, numbered

SIZE = (48, 64)
ONE, TWO = box_mask(4, 6, 20, 30), box_mask(16, 20, 40, 44)  # they overlap
RING = box_mask(2, 2, 30, 30) & ~box_mask(10, 10, 20, 20)
EMPTY = np.zeros(SIZE, dtype=bool)
# Object 1 leaves and comes back; object 2 is followed from frame 1 on.
CLIP = [
    made_masks(0, {1: ONE}),
    made_masks(1, {1: EMPTY, 2: RING}),
    made_masks(2, {1: ONE, 2: TWO}),
    made_masks(3, {1: ONE, 2: EMPTY}),
]


@pytest.fixture(scope="module")
def source() -> Frames:
    return open_frames([numbered(each) for each in range(len(CLIP))])


def decoded(code: dict) -> np.ndarray:
    """By pycocotools itself."""
    return coco.decode(code).astype(bool)


def write(writer: Writer, source: Frames, clip: list[Masks] = CLIP) -> None:
    with writer:
        for masks in clip:
            writer.write(source[masks.frame], masks)


class TestPalettePngs:
    def test_pillow_reads_them_back(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path / "masks"), source)
        assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == [
            f"0000{frame}.png" for frame in range(4)
        ]
        with PIL.Image.open(tmp_path / "masks" / "00002.png") as picture:
            assert picture.mode == "P"
            assert picture.getpalette() == davis_palette().ravel().tolist()
            labels = np.asarray(picture)
        assert (labels == np.where(TWO, 2, np.where(ONE, 1, 0))).all()  # object 2 has the higher logits

    def test_reading_the_folder(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path), source)
        read = dict(read_label_maps(tmp_path))
        assert list(read) == ["00000", "00001", "00002", "00003"]
        assert all((read[f"{masks.frame:05d}"] == masks.label_map()).all() for masks in CLIP)
        assert read["00000"].dtype == np.int32

    def test_highest_id(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path), source, [made_masks(0, {255: ONE})])
        assert read_label_map(tmp_path / "00000.png").max() == 255

    @pytest.mark.parametrize("id", [0, 256, -1])
    def test_ids_that_a_pixel_cannot_hold(self, source: Frames, tmp_path: Path, id: int) -> None:
        with pytest.raises(MediaError, match=f"ids 1 to 255. Got {id}: choose"):
            write(PalettePngs(tmp_path), source, [made_masks(0, {id: ONE})])

    def test_no_objects(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path), source, [CLIP[0].select()])
        assert not read_label_map(tmp_path / "00000.png").any()

    def test_palette_is_that_of_davis(self) -> None:
        known = {1: (128, 0, 0), 5: (128, 0, 128), 8: (64, 0, 0), 21: (128, 64, 128), 255: (224, 224, 192)}
        assert {id: tuple(davis_palette()[id].tolist()) for id in known} == known
        assert len({tuple(color) for color in davis_palette().tolist()}) == 256

    def test_what_is_no_label_map(self, tmp_path: Path) -> None:
        PIL.Image.fromarray(numbered(1)).save(tmp_path / "color.png")
        (tmp_path / "words.png").write_text("no picture")
        for name, sentence in [
            ("color.png", "Got RGB"),
            ("words.png", "no label map"),
            ("gone.png", "there is no"),
        ]:
            with pytest.raises(MediaError, match=sentence):
                read_label_map(tmp_path / name)


def test_object_pngs_keep_overlaps(source: Frames, tmp_path: Path) -> None:
    write(ObjectPngs(tmp_path), source)
    assert {path.name for path in tmp_path.iterdir()} == {"001", "002"}
    assert {path.name for path in (tmp_path / "002").iterdir()} == {"00001.png", "00002.png", "00003.png"}
    with (
        PIL.Image.open(tmp_path / "001" / "00002.png") as one,
        PIL.Image.open(tmp_path / "002" / "00002.png") as two,
    ):
        assert (np.asarray(one) == ONE).all() and (np.asarray(two) == TWO).all()


class TestMaskletsJson:
    def test_pycocotools_reads_it_back(self, source: Frames, tmp_path: Path) -> None:
        path = tmp_path / "masklets.json"
        write(MaskletsJson(path, source), source)
        written = json.loads(path.read_text())
        assert written["size"] == [48, 64] and written["fps"] == 24 and written["source"] == source.name
        assert [record["frame"] for record in written["frames"]] == [0, 1, 2, 3]
        assert written["frames"][2]["time"] == pytest.approx(2 / 24, abs=1e-6)
        one, two = written["frames"][2]["objects"]
        assert (one["id"], two["id"]) == (1, 2)
        assert (decoded(one["rle"]) == ONE).all() and (decoded(two["rle"]) == TWO).all()
        assert one["box"] == [4, 6, 20, 30] and one["iou"] == 0.9 and one["score"] == 5.0
        assert written["frames"][1]["objects"][0]["box"] == [0, 0, 0, 0]

    def test_reading_it_gives_the_masks(self, source: Frames, tmp_path: Path) -> None:
        clip = [CLIP[0], CLIP[1], CLIP[2].select(), CLIP[3]]
        write(MaskletsJson(tmp_path / "m.json", source), source, clip)
        assert_same(list(read_masklets(tmp_path / "m.json")), clip)

    def test_reading_it_laid_out_anew(self, source: Frames, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        write(MaskletsJson(path, source), source)
        path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
        assert_same(list(read_masklets(path)), CLIP)

    def test_valid_after_every_frame(self, source: Frames, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        writer = MaskletsJson(path, source)
        assert json.loads(path.read_text())["frames"] == []
        for masks in CLIP:
            writer.write(source[masks.frame], masks)
            assert json.loads(path.read_text())["frames"][-1]["frame"] == masks.frame
        writer.close()

    def test_frames_in_any_order_and_again(self, source: Frames, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        again = [CLIP[2].select(1), CLIP[3], CLIP[1], CLIP[0], made_masks(3, {1: TWO}), CLIP[2].select(2)]
        write(MaskletsJson(path, source), source, again)
        expected = [CLIP[0], CLIP[1], CLIP[2], made_masks(3, {1: TWO, 2: EMPTY})]
        assert_same(list(read_masklets(path)), expected)

    def test_a_full_disk_keeps_what_is_written(self, source: Frames, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        writer = MaskletsJson(path, source)
        writer.write(source[0], CLIP[0])
        writer._list._file = FullDisk(writer._list._file)
        with pytest.raises(MediaError, match=r"m\.json cannot be written: No space left"):
            writer.write(source[1], CLIP[1])
        assert_same(list(read_masklets(path)), CLIP[:1])
        writer.close()
        assert_same(list(read_masklets(path)), CLIP[:1])

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"frames": 3}'])
    def test_what_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(MediaError, match="not a list of frames"):
            list(read_masklets(tmp_path / "m.json"))

    def test_memory_does_not_grow_with_frames(self, source: Frames, tmp_path: Path) -> None:
        def grown(writer: Writer) -> int:
            tracemalloc.start()
            for frame in range(300):
                writer.write(source[0], made_masks(frame, {1: ONE}))
            first = tracemalloc.get_traced_memory()[0]
            for frame in range(300, 600):
                writer.write(source[0], made_masks(frame, {1: ONE}))
            second = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            writer.close()
            return second - first

        long = open_frames([numbered(0)] * 600)
        assert grown(MaskletsJson(tmp_path / "m.json", long)) < 10_000


class FullDisk:
    """A file that takes a few bytes more and then no others."""

    def __init__(self, file) -> None:
        self._file = file
        self._left = 10

    def write(self, data) -> int:
        if len(data) <= 4:  # the end of the list, which was there before
            return self._file.write(data)
        if not self._left:
            raise OSError(28, "No space left on device")
        self._left = 0
        return self._file.write(data[:10])

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def assert_same(read: list[Masks], expected: list[Masks]) -> None:
    assert [masks.frame for masks in read] == [masks.frame for masks in expected]
    for one, other in zip(read, expected, strict=True):
        assert one.ids == other.ids and one.size == other.size
        assert all((one[id] == other[id]).all() for id in other)
        assert one.iou.tolist() == pytest.approx(other.iou.tolist(), abs=1e-4)
        assert one.score.tolist() == pytest.approx(other.score.tolist(), abs=1e-3)


class TestCocoJson:
    @pytest.fixture
    def read(self, source: Frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> COCO:
        write(CocoJson(tmp_path / "coco.json", source), source)
        return COCO(tmp_path / "coco.json")

    def test_pycocotools_reads_it_back(self, read: COCO) -> None:
        images = read.loadImgs(read.getImgIds())
        assert [image["file_name"] for image in images] == [f"0000{frame}.jpg" for frame in range(4)]
        assert {(image["height"], image["width"]) for image in images} == {SIZE}
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

    def test_pictures_keep_their_names(self, tmp_path: Path) -> None:
        for name in ("b.png", "a.png"):
            PIL.Image.fromarray(numbered(1)).save(tmp_path / name)
        pictures = open_frames(tmp_path)
        write(CocoJson(tmp_path / "coco.json", pictures), pictures, [made_masks(1, {1: ONE})])
        images = json.loads((tmp_path / "coco.json").read_text())["images"]
        assert [image["file_name"] for image in images] == ["b.png"]


def test_youtube_vis_json(source: Frames, tmp_path: Path) -> None:
    write(YouTubeVisJson(tmp_path / "vis.json", source), source, [CLIP[0], CLIP[1], CLIP[3]])
    written = json.loads((tmp_path / "vis.json").read_text())
    (video,) = written["videos"]
    assert video["length"] == 4 and video["file_names"][3] == "00003.jpg"
    assert (video["height"], video["width"]) == SIZE
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


class TestWholeFiles:
    MAKERS: ClassVar[dict[str, Callable[[Path, Frames], Writer]]] = {
        "masks": lambda path, source: PalettePngs(path),
        "objects": lambda path, source: ObjectPngs(path),
        "masklets.json": MaskletsJson,
        "coco.json": CocoJson,
        "vis.json": YouTubeVisJson,
        "sav.json": SavJson,
        "polygons.json": PolygonsJson,
        "labels": YoloTxts,
        "overlay.mp4": OverlayVideo,
        "overlay.png": lambda path, source: OverlayPng(path),
    }

    @pytest.mark.parametrize("name", MAKERS)
    def test_folders_are_made_and_nothing_else_is_left(
        self, source: Frames, tmp_path: Path, name: str
    ) -> None:
        place = tmp_path / "new" / "folder"
        writer = self.MAKERS[name](place / name, source)
        write(writer, source)
        writer.close()  # again
        assert [path.name for path in place.iterdir()] == [name]

    @pytest.mark.parametrize("name", MAKERS)
    def test_places_that_cannot_be_written(self, source: Frames, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(MediaError, match=r"cannot be written: (not a directory|file exists)"):
            self.MAKERS[name](tmp_path / "file" / name, source)
        assert (tmp_path / "file").read_text() == "in the way"

    @pytest.mark.parametrize("name", MAKERS)
    def test_folders_that_may_not_be_written(
        self, source: Frames, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            os, "access", lambda path, mode: False
        )  # as tests may run as root, who may do all
        with pytest.raises(MediaError, match="cannot be written: permission denied"):
            self.MAKERS[name](tmp_path / name, source)

    def test_ctrl_c_keeps_what_was_done(self, source: Frames, tmp_path: Path) -> None:
        writers = [make(tmp_path / name, source) for name, make in self.MAKERS.items()]
        with pytest.raises(KeyboardInterrupt), Writers(*writers) as all_:
            all_.write(source[0], CLIP[0])
            all_.write(source[1], CLIP[1])
            raise KeyboardInterrupt
        for name in ("masklets.json", "coco.json", "vis.json", "sav.json", "polygons.json"):
            json.loads((tmp_path / name).read_text())
        assert_same(list(read_masklets(tmp_path / "masklets.json")), CLIP[:2])
        assert len(list(read_label_maps(tmp_path / "masks"))) == 2
        assert len(list(open_frames(tmp_path / "overlay.mp4"))) == 2

    def test_a_killed_run_leaves_whole_files(self, tmp_path: Path) -> None:
        script = """
            import os, sys, numpy as np
            from media.made import box_mask, made_masks, numbered
            from masklet.media import MaskletsJson, OverlayVideo, PalettePngs, SavJson, Writers, open_frames
            out, source = sys.argv[1], open_frames([numbered(each) for each in range(9)])
            writers = Writers(
                PalettePngs(f"{out}/masks"), MaskletsJson(f"{out}/masklets.json", source),
                SavJson(f"{out}/sav.json", source), OverlayVideo(f"{out}/overlay.mp4", source),
            )
            for frame in range(7):
                writers.write(source[frame], made_masks(frame, {1: box_mask(4, 4, 9, 9)}))
            os._exit(9)
        """
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
        paths = os.pathsep.join(path for path in sys.path if path)
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
        assert ended.returncode == 9
        assert len(list(read_masklets(tmp_path / "masklets.json"))) == 7
        assert len(list(read_label_maps(tmp_path / "masks"))) == 7
        visible = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
        assert visible == {"masks", "masklets.json"}

    def test_writers_close_all_even_when_one_fails(self, source: Frames) -> None:
        closed = []

        class Failing(Writer):
            def write(self, image: np.ndarray, masks: Masks) -> None:
                pass

            def close(self) -> None:
                closed.append(self)
                raise OSError("no")

        failing = [Failing(), Failing()]
        with pytest.raises(OSError, match="no"):
            write(Writers(*failing), source)
        assert set(closed) == set(failing)
