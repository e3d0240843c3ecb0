"""One image of any kind, and many as frames."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import NoSuchFrame, find_images, open_frames, read_image, read_label_map
from masklet.media.readers.images import natural_key
from media.made import number, numbered


def solid(mode: str, color: object, size: tuple[int, int] = (6, 4)) -> PIL.Image.Image:
    return PIL.Image.new(mode, size, color)


class TestReadImage:
    def test_an_rgb_array_is_handed_back(self) -> None:
        image = numbered(3)
        assert read_image(image) is image

    def test_path_and_pil_agree(self, tmp_path: Path) -> None:
        PIL.Image.fromarray(numbered(9)).save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png") == numbered(9)).all()
        assert (read_image(str(tmp_path / "a.png")) == numbered(9)).all()
        assert (read_image(PIL.Image.open(tmp_path / "a.png")) == numbered(9)).all()

    @pytest.mark.parametrize(
        "source, expected",
        [
            (solid("L", 77), (77, 77, 77)),
            (solid("1", 1), (255, 255, 255)),
            (solid("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
            (solid("RGBA", (10, 20, 30, 0)), (255, 255, 255)),
            (solid("RGBA", (0, 0, 0, 51)), (204, 204, 204)),
            (solid("LA", (40, 255)), (40, 40, 40)),
            (solid("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
            (solid("P", 0).convert("P"), (0, 0, 0)),
            (solid("I;16", 65535), (255, 255, 255)),
            (solid("I;16", 4095), (255, 255, 255)),
            (solid("I;16", 2048), (255, 255, 255)),
            (solid("I", 0), (0, 0, 0)),
            (solid("F", 0.5), (128, 128, 128)),
            (np.full((4, 6), 8, np.uint8), (8, 8, 8)),
            (np.full((4, 6, 4), 255, np.uint8), (255, 255, 255)),
        ],
    )
    def test_other_kinds_become_rgb(self, source: object, expected: tuple[int, int, int]) -> None:
        image = read_image(source)
        assert image.shape == (4, 6, 3) and image.dtype == np.uint8
        assert tuple(image[0, 0]) == expected

    def test_sixteen_bits_keep_their_order(self, tmp_path: Path) -> None:
        ramp = np.linspace(0, 3000, 256).astype(np.uint16).reshape(16, 16)
        PIL.Image.fromarray(ramp).save(tmp_path / "ramp.tiff")
        image = read_image(tmp_path / "ramp.tiff")[..., 0].ravel()
        assert (np.diff(image.astype(int)) >= 0).all()
        assert image[0] == 0 and 180 < image[-1] <= 255

    @pytest.mark.parametrize("name", ["colours.png", "clear.png", "colours.tif"])
    def test_deep_colours_of_a_pil_image_are_those_of_its_file(self, tmp_path: Path, name: str) -> None:
        """Pillow opens them in 8 bits, the upper ones: images of 12 bits were nearly black."""
        ramp = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
        channels = (ramp, ramp // 2, ramp // 3, np.full_like(ramp, 65535))
        pixels = np.dstack(channels if name == "clear.png" else channels[:3])
        cv2.imwrite(str(tmp_path / name), pixels)
        expected = read_image(tmp_path / name)
        with PIL.Image.open(tmp_path / name) as image:
            assert (read_image(image) == expected).all() and expected.max() > 100
            assert (read_image(image) == expected).all(), "and again"
        grey = np.where(ramp < 1000, 0, 300).astype(np.uint16)
        cv2.imwrite(str(tmp_path / name), np.dstack([grey] * 3))
        with PIL.Image.open(tmp_path / name) as image:
            assert (read_label_map(image) == grey).all()

    @pytest.mark.parametrize("orientation, turns", [(1, 0), (3, 2), (6, 3), (8, 1)])
    def test_exif_rotation_of_files_and_of_pil_images(
        self, tmp_path: Path, orientation: int, turns: int
    ) -> None:
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        PIL.Image.fromarray(numbered(5)).save(tmp_path / "turned.png", exif=exif)
        upright = np.rot90(numbered(5), turns)
        assert (read_image(tmp_path / "turned.png") == upright).all()
        assert (read_image(PIL.Image.open(tmp_path / "turned.png")) == upright).all()

    @pytest.mark.parametrize(
        "image, sentence",
        [
            (np.zeros((4, 6, 3), complex), "complex128"),
            (np.zeros((3, 4, 6), np.uint8), r"\(3, 4, 6\)"),
            (np.zeros((0, 6, 3), np.uint8), r"\(0, 6, 3\)"),
            (7, "Got int"),
        ],
    )
    def test_senseless_images(self, image: object, sentence: str) -> None:
        with pytest.raises(MediaError, match=sentence):
            read_image(image)

    def test_files_that_are_no_images(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        (tmp_path / "words.png").write_text("no image")
        PIL.Image.fromarray(numbered(1, (64, 64))).save(tmp_path / "cut.jpg")
        (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-300])
        for name, sentence in [
            ("gone.png", "there is no image .*gone.png"),
            ("empty.png", "empty.png is empty"),
            ("words.png", "words.png is not an image"),
            ("cut.jpg", "cut.jpg is damaged"),
            ("", "is a folder"),
        ]:
            with pytest.raises(MediaError, match=sentence):
                read_image(tmp_path / name)


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "shots"
        folder.mkdir()
        for index in (1, 2, 10, 100):
            PIL.Image.fromarray(numbered(index)).save(folder / f"shot {index}.png")
        (folder / "notes.txt").write_text("not an image")
        (folder / "._shot 3.png").write_text("what macOS leaves behind")
        return folder

    def test_natural_order(self, folder: Path) -> None:
        frames = open_frames(folder)
        assert [number(image) for image in frames] == [1, 2, 10, 100]
        assert len(frames) == 4 and frames.size == (48, 64) and frames.name == "shots"
        assert [frames.file_name(index) for index in (0, 3)] == ["shot 1.png", "shot 100.png"]
        assert number(frames[2]) == 10
        assert [number(image) for image in frames.play(2)] == [10, 100]

    def test_names_that_differ_in_zeros_or_case_have_an_order(self, tmp_path: Path) -> None:
        names = ["01.png", "1.png", "001.png", "A.png", "a.png"]
        orders = set()
        for order in (names, names[::-1]):
            keys = [natural_key(tmp_path / name) for name in order]
            orders.add(
                tuple(path.name for path in sorted((tmp_path / name for name in order), key=natural_key))
            )
            assert len({str(key) for key in keys}) == len(names)
        assert orders == {("001.png", "01.png", "1.png", "A.png", "a.png")}

    def test_glob(self, folder: Path) -> None:
        assert [number(image) for image in open_frames(f"{folder}/shot 1*.png")] == [1, 10, 100]
        assert find_images(folder)[0].name == "shot 1.png"

    def test_brackets_in_a_name_are_no_glob(self, folder: Path) -> None:
        renamed = folder.rename(folder.with_name("shots [1]"))
        assert len(open_frames(renamed)) == 4

    def test_no_images(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="contains no images"):
            open_frames(tmp_path)
        with pytest.raises(MediaError, match="contains no images"):
            open_frames(f"{tmp_path}/*.jpg")

    def test_a_broken_image_is_named(self, folder: Path) -> None:
        (folder / "shot 11.png").write_text("no image")
        frames, seen = open_frames(folder), []
        with pytest.raises(MediaError, match=r"shot 11\.png is not an image"):
            for image in frames:
                seen.append(number(image))
        assert seen == [1, 2, 10]
        assert number(frames[4]) == 100

    def test_an_image_of_another_size_is_named(self, folder: Path) -> None:
        PIL.Image.fromarray(numbered(3, (50, 64))).save(folder / "shot 3.png")
        with pytest.raises(MediaError, match=r"one size.*\(48, 64\).*shot 3\.png\) has \(50, 64\)"):
            list(open_frames(folder))

    def test_behind_the_end(self, folder: Path) -> None:
        with pytest.raises(NoSuchFrame, match=r"shots has 4 frames, 0 to 3\. Got frame 4"):
            open_frames(folder)[4]

    def test_images_have_no_times_to_sample(self, folder: Path) -> None:
        with pytest.raises(MediaError, match="shots has none"):
            open_frames(folder, fps=6)


def test_tiff_stack(tmp_path: Path) -> None:
    pages = [PIL.Image.fromarray(numbered(index)) for index in range(5)]
    pages[0].save(tmp_path / "stack.tiff", save_all=True, append_images=pages[1:])
    frames = open_frames(tmp_path / "stack.tiff")
    assert [number(image) for image in frames] == list(range(5))
    assert number(frames[3]) == 3 and frames.file_name(3) == "00003.jpg"


def test_one_image(tmp_path: Path) -> None:
    PIL.Image.fromarray(numbered(6)).save(tmp_path / "one.jpg")
    frames = open_frames(tmp_path / "one.jpg")
    assert len(frames) == 1 and number(frames[0]) == 6 and frames.file_name(0) == "one.jpg"
    with pytest.raises(NoSuchFrame, match="1 frame, frame 0"):
        frames[1]


class TestMemory:
    def test_array(self) -> None:
        frames = open_frames(np.stack([numbered(index) for index in range(4)]))
        assert len(frames) == 4 and frames.size == (48, 64) and frames.fps == 24
        assert [number(image) for image in frames] == [0, 1, 2, 3]
        assert frames.time(2) == 2 / 24

    def test_mixed_sequence(self, tmp_path: Path) -> None:
        PIL.Image.fromarray(numbered(2)).save(tmp_path / "two.png")
        sequence = [numbered(0), PIL.Image.fromarray(numbered(1)), tmp_path / "two.png"]
        assert [number(image) for image in open_frames(sequence)] == [0, 1, 2]

    def test_image(self) -> None:
        assert len(open_frames(PIL.Image.fromarray(numbered(0)))) == 1

    @pytest.mark.parametrize(
        "source, sentence",
        [
            (np.zeros((48, 64, 3), np.uint8), r"\(T, H, W, 3\).*\(48, 64, 3\)"),
            ([], "empty"),
            (np.zeros((0, 4, 4, 3), np.uint8), "empty"),
            ([numbered(0), numbered(1, (50, 64))], "one size"),
            (iter([numbered(0)]), r"use stream\(\)"),
            (3, "Got int"),
        ],
    )
    def test_senseless_sources(self, source: object, sentence: str) -> None:
        with pytest.raises(MediaError, match=sentence):
            list(open_frames(source))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of this kind are POSIX's")
@pytest.mark.parametrize("name", ["image.png", "clip.mp4", "pipe"])
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(MediaError, match="is a pipe or a device"):
        open_frames(tmp_path / name)
    with pytest.raises(MediaError, match="is a pipe or a device"):
        read_image(tmp_path / name)


def test_a_frame_that_is_a_link_to_nothing_is_not_left_out(tmp_path: Path) -> None:
    for frame in range(3):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / f"{frame}.png")
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to("moved/1.png")
    with pytest.raises(MediaError, match=r"1\.png is a link to a missing file"):
        open_frames(tmp_path)
