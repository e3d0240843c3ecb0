"""What all writers promise: whole files, whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.files import atomic_write
from masklet.media import (
    FORMATS,
    BackgroundWriter,
    Format,
    Frames,
    Look,
    MaskletsJson,
    OverlayPng,
    OverlayVideo,
    Writer,
    Writers,
    open_frames,
    read_label_maps,
    read_masklets,
    write_label_map,
    writers,
)
from masklet.types import Masks
from media.made import CLIP, assert_same, made_frames, made_masks, write


def made(form: Format, path: Path, source: Frames) -> Writer:
    return form.make(path, source, {}, Look())


@pytest.fixture(scope="module")
def source() -> Frames:
    return made_frames()


class TestWholeFiles:
    MAKERS: ClassVar[dict[str, Callable[[Path, Frames], Writer]]] = {
        **{format.path: partial(made, format) for format in FORMATS.values()},
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
        for name in ("masklets.json", "coco.json", "youtube_vis.json", "sav.json", "polygons.json"):
            json.loads((tmp_path / name).read_text())
        assert_same(list(read_masklets(tmp_path / "masklets.json")), CLIP[:2])
        assert len(list(read_label_maps(tmp_path / "masks"))) == 2
        assert len(list(open_frames(tmp_path / "overlay.mp4"))) == 2

    def test_a_killed_run_leaves_whole_files(self, tmp_path: Path) -> None:
        script = """
            import os, sys, numpy as np
            from media.made import box_mask, made_masks, numbered
            from masklet.media import MaskletsJson, OverlayVideo, PalettePngs, SavJson, Writers, open_frames
            out, source = sys.argv[1], open_frames([numbered(frame) for frame in range(9)])
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

    def test_what_fails_midway_leaves_no_file_and_the_old_one(self, tmp_path: Path) -> None:
        path = tmp_path / "note.txt"
        path.write_text("old")
        with pytest.raises(KeyboardInterrupt), atomic_write(path) as part:
            part.write_text("half of the n")
            raise KeyboardInterrupt
        assert [file.name for file in tmp_path.iterdir()] == ["note.txt"] and path.read_text() == "old"

    def test_the_background_writes_all_in_order(self, source: Frames, tmp_path: Path) -> None:
        inner = MaskletsJson(tmp_path / "masklets.json", source)
        write(BackgroundWriter(inner, queue_size=1), source)
        assert_same(list(read_masklets(tmp_path / "masklets.json")), CLIP)

    def test_errors_in_the_background_are_raised(self, source: Frames, tmp_path: Path) -> None:
        writer = BackgroundWriter(OverlayVideo(tmp_path / "overlay.mp4", source))
        writer.write(source[1], CLIP[1])
        writer.write(source[0], CLIP[0])
        with pytest.raises(MediaError, match="in order"):
            writer.close()
        assert len(open_frames(tmp_path / "overlay.mp4")) == 1

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


@pytest.mark.parametrize(
    ("names", "source", "labels"),
    [
        (["a/1.png", "b/1.png"], "[ab]/*.png", {"a_1.txt", "b_1.txt"}),
        (["c/1.png", "c/1.jpg"], "c", {"1.png.txt", "1.jpg.txt"}),
        (["c/1.png", "c/classes.png"], "c", {"1.txt", "classes.png.txt"}),
    ],
)
def test_images_names_never_collide(
    tmp_path: Path, names: list[str], source: str, labels: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (64, 48)).save(name)
    frames = open_frames(source)
    with writers(["yolo", "frames", "coco"], "out", frames) as writer:
        for frame in range(2):
            writer.write(frames[frame], made_masks(frame, {1: np.ones((48, 64), bool)}))
    assert {path.name for path in Path("out/labels").iterdir()} == {*labels, "classes.txt"}
    files = {path.relative_to("out/frames").as_posix() for path in Path("out/frames").rglob("*.*")}
    assert len(files) == 2
    assert {image["file_name"] for image in json.loads(Path("out/coco.json").read_text())["images"]} == files


CLASS_FORMATS = ("coco", "youtube-vis", "sa-v", "yolo", "cvat", "cvat-images", "label-studio", "ome-tiff")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x00b", "a\x1b[2Jb", "a\u2028b", "\ud800", "a\ufffe"])
@pytest.mark.parametrize("format", CLASS_FORMATS)
def test_a_class_that_would_break_its_file_is_refused(
    source: Frames, tmp_path: Path, format: str, name: str
) -> None:
    with pytest.raises(MediaError, match=r"has a line break or a control character.*rename it"):
        writers([format], tmp_path / "out", source, {1: name})


@pytest.mark.parametrize(
    "name", ["", "  ", "yes", "- x: {a}", "<&>'\"", "#x", "x" * 300, "e\u0301 \u202e \U0001f600"]
)
def test_any_other_class_is_read_as_it_was_written(source: Frames, tmp_path: Path, name: str) -> None:
    with writers(CLASS_FORMATS, tmp_path, source, {1: name}) as writer:
        writer.write(source[0], made_masks(0, {1: np.ones(source.size, bool)}))
    expected = name if name.strip() else "object"
    assert (tmp_path / "labels" / "classes.txt").read_text().splitlines() == [expected]
    assert [entry["name"] for entry in json.loads((tmp_path / "coco.json").read_text())["categories"]] == [
        expected
    ]
    for xml in ("cvat_tracks.xml", "cvat_masks.xml"):
        root = ElementTree.parse(tmp_path / xml).getroot()
        assert root.findtext("meta/task/labels/label/name") == expected


def test_file_names_with_control_characters_make_valid_xml(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a\x1b[2J.png", "b\n.png"):
        PIL.Image.new("RGB", (64, 48)).save(tmp_path / "in" / name)
    frames = open_frames(tmp_path / "in")
    with writers(["cvat", "cvat-images"], tmp_path, frames) as writer:
        for frame in range(2):
            writer.write(frames[frame], made_masks(frame, {1: np.ones((48, 64), bool)}))
    images = ElementTree.parse(tmp_path / "cvat_masks.xml").getroot().findall("image")
    assert [image.get("name") for image in images] == ["a\ufffd[2J.png", "b\n.png"]
    ElementTree.parse(tmp_path / "cvat_tracks.xml")


@pytest.mark.parametrize(
    "name", [name for name in FORMATS if name not in ("palette", "objects", "cutout-png")]
)
def test_masks_of_another_size_than_the_frames_are_refused(tmp_path: Path, name: str) -> None:
    source = open_frames(np.zeros((2, 30, 40, 3), np.uint8))
    with writers([name], tmp_path, source) as writer:
        writer.write(source[0], Masks.from_arrays(0, {1: np.ones((30, 40), bool)}, (30, 40)))
        with pytest.raises(MediaError, match=r"size of the frames.*\(30, 40\)\. Got \(40, 30\) on frame 1"):
            writer.write(np.zeros((40, 30, 3), np.uint8), Masks.empty(1, (40, 30)))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.shows_frames])
@pytest.mark.parametrize(
    "image", [None, np.zeros((30, 40), np.uint8), np.zeros((31, 40, 3), np.uint8), np.zeros((30, 40, 3))]
)
def test_an_image_that_is_not_the_masks_frame_is_refused(
    tmp_path: Path, name: str, image: object, unchecked: None
) -> None:
    """And the reason is said, not what closing the unfinished file meets."""
    source = open_frames(np.zeros((2, 30, 40, 3), np.uint8))
    reason = r"must be a uint8 array of shape \(30, 40, 3\), RGB\. Got"
    with pytest.raises(MediaError, match=reason), writers([name], tmp_path, source) as writer:
        writer.write(image, Masks.empty(0, (30, 40)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_delayed_tracker_returns_first_is_no_frame(tmp_path: Path, name: str) -> None:
    source = open_frames(np.zeros((2, 30, 40, 3), np.uint8))
    with (
        writers([name], tmp_path, source) as writer,
        pytest.raises(MediaError, match="frame numbers must be 0 or more"),
    ):
        writer.write(source[0], Masks.empty(-1, (30, 40)))


@pytest.mark.parametrize("name", ["masklets", "coco", "overlay"])
def test_nothing_is_written_after_closing(tmp_path: Path, name: str) -> None:
    source = open_frames(np.zeros((2, 30, 40, 3), np.uint8))
    for writer in (writers([name], tmp_path, source), BackgroundWriter(writers([name], tmp_path, source))):
        writer.close()
        with pytest.raises(MediaError, match="is closed"):
            writer.write(source[0], Masks.empty(0, (30, 40)))


@pytest.mark.parametrize("name", ["tiff", "ome-tiff", "cvat", "label-studio-video"])
def test_masks_behind_the_source_s_end_are_not_lost(tmp_path: Path, name: str) -> None:
    source = open_frames(np.zeros((2, 30, 40, 3), np.uint8))
    with writers([name], tmp_path, source) as writer:
        writer.write(source[0], Masks.from_arrays(4, {1: np.ones((30, 40), bool)}, (30, 40)))
    path = tmp_path / FORMATS[name].path
    if path.suffix == ".tif":
        with PIL.Image.open(path) as pages:
            assert pages.n_frames == 5  # type: ignore[attr-defined]
            pages.seek(4)
            assert np.asarray(pages).all()
    else:
        assert 'frame="4"' in (text := path.read_text()) or '"frame": 5' in text


@pytest.mark.parametrize("names", [{"1": "dog"}, {0: "dog"}, {1: 5}, {1: None}, ["dog"]])
def test_classes_that_no_object_would_get_are_refused(
    source: Frames, tmp_path: Path, names: Any, unchecked: None
) -> None:
    with pytest.raises(MediaError, match="class"):
        writers(["coco"], tmp_path, source, names)


def test_one_format_is_given_in_a_list(source: Frames, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="list of names"):
        writers("coco", tmp_path, source)


@pytest.mark.parametrize(
    "labels", [np.array([[0, -1]]), np.array([[0, 65_536]]), np.array([[0, 1.5]]), np.zeros((2, 2, 2), int)]
)
def test_numbers_that_a_label_map_cannot_hold_are_refused(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(MediaError, match="a label map"):
        write_label_map(tmp_path / "labels.png", labels)
