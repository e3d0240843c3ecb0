"""Label maps and masks as PNG, read back by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import Frames, ObjectPngs, PalettePngs, davis_palette, read_label_map, read_label_maps
from media.made import CLIP, ONE, TWO, made_frames, made_masks, numbered, write


@pytest.fixture(scope="module")
def source() -> Frames:
    return made_frames()


class TestPalettePngs:
    def test_pillow_reads_them_back(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path / "masks"), source)
        assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == [
            f"0000{frame}.png" for frame in range(4)
        ]
        with PIL.Image.open(tmp_path / "masks" / "00002.png") as image:
            assert image.mode == "P"
            assert image.getpalette() == davis_palette().ravel().tolist()
            labels = np.asarray(image)
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

    def test_an_id_that_has_no_colour_is_grey(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path), source, [made_masks(0, {256: ONE, 65535: TWO})])
        assert set(np.unique(read_label_map(tmp_path / "00000.png"))) == {0, 256, 65535}
        with PIL.Image.open(tmp_path / "00000.png") as image:
            assert image.mode == "I;16"

    @pytest.mark.parametrize("id", [0, 65536, -1])
    def test_ids_that_a_pixel_cannot_hold(self, source: Frames, tmp_path: Path, id: int) -> None:
        with pytest.raises(MediaError, match=f"ids 1 to 65535. Got {id}: choose"):
            write(PalettePngs(tmp_path), source, [made_masks(0, {id: ONE})])

    def test_no_objects(self, source: Frames, tmp_path: Path) -> None:
        write(PalettePngs(tmp_path), source, [CLIP[0].select()])
        assert not read_label_map(tmp_path / "00000.png").any()

    def test_palette_is_that_of_davis(self) -> None:
        published = {
            1: (128, 0, 0),
            5: (128, 0, 128),
            8: (64, 0, 0),
            21: (128, 64, 128),
            255: (224, 224, 192),
        }
        assert {id: tuple(davis_palette()[id].tolist()) for id in published} == published
        assert len({tuple(color) for color in davis_palette().tolist()}) == 256

    def test_what_is_no_label_map(self, tmp_path: Path) -> None:
        PIL.Image.fromarray(numbered(1)).save(tmp_path / "color.png")
        (tmp_path / "words.png").write_text("no image")
        for name, sentence in [
            ("color.png", "it is in colour"),
            ("words.png", "not an image"),
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
