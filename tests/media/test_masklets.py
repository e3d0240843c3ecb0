"""masklets.json: valid at all times, read back by pycocotools and by ourselves."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from masklet.errors import MediaError
from masklet.media import Frames, MaskletsJson, Writer, open_frames, read_masklets
from media.made import CLIP, EMPTY, ONE, TWO, assert_same, decoded, made_frames, made_masks, numbered, write


@pytest.fixture(scope="module")
def source() -> Frames:
    return made_frames()


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
        assert len(json.loads(path.read_text())["frames"]) == 1
        writer.close()
        assert_same(list(read_masklets(path)), CLIP[:1])

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"frames": 3}'])
    def test_a_file_that_is_not_a_list_of_frames_is_refused(self, tmp_path: Path, text: str) -> None:
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


def test_an_earlier_file_stays_until_the_new_one_is_closed(tmp_path: Path) -> None:
    path, source = tmp_path / "masklets.json", made_frames()
    write(MaskletsJson(path, source), source)
    writer = MaskletsJson(path, source)
    writer.write(source[1], CLIP[1])
    assert_same(list(read_masklets(path)), CLIP)
    writer.close()
    assert_same(list(read_masklets(path)), CLIP[1:2])
    assert [file.name for file in tmp_path.iterdir()] == ["masklets.json"]


@pytest.mark.parametrize(
    "change",
    [{"id": "1"}, {"id": 0}, {"iou": None}, {"rle": {"size": [4, 1], "counts": [0, 4]}}, {"rle": 5}],
)
def test_an_object_of_another_form_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    mask = {"size": [2, 2], "counts": [0, 4]}
    obj = {"id": 1, "iou": 1, "score": 1, "box": [0, 0, 2, 2], "rle": mask, **change}
    content = {"version": 1, "size": [2, 2], "frames": [{"frame": 0, "time": 0, "objects": [obj]}]}
    path = tmp_path / "masklets.json"
    path.write_text(json.dumps(content))
    with pytest.raises(MediaError, match=r"masklets\.json was not written by masklet"):
        list(read_masklets(path))
