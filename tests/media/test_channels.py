"""Channels and axes of TIFF stacks that tifffile writes as ImageJ's, OME's and its own."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import Look, Writers, find_format, open_frames, read_image
from masklet.media.readers.channels import parse_channels, read_axes
from masklet.types import Masks

tifffile = pytest.importorskip("tifffile")

T, Z, C, SIZE = 2, 3, 2, (20, 24)
NAMES = ["DAPI", "GFP"]


def value(t: int, z: int, c: int) -> int:
    """What every pixel of a page is, in 8 bits."""
    return 100 * c + 30 * t + 5 * z + 10


def stack(axes: str) -> np.ndarray:
    """uint8, its axes in an order such as TZCYX."""
    pages = np.zeros((T, Z, C, *SIZE), dtype=np.uint8)
    for t, z, c in product(range(T), range(Z), range(C)):
        pages[t, z, c] = value(t, z, c)
    return pages.transpose(["TZCYX".index(axis) for axis in axes])


def write(path: Path, form: str) -> Path:
    options: dict[str, Any] = {"photometric": "minisblack"}
    if form == "imagej":
        tifffile.imwrite(path, stack("TZCYX"), imagej=True, metadata={"axes": "TZCYX"}, **options)
    elif form.startswith("ome"):
        axes = form.removeprefix("ome-")
        metadata = {"axes": axes, "Channel": {"Name": NAMES}}
        tifffile.imwrite(path, stack(axes), ome=True, metadata=metadata, **options)
    else:
        tifffile.imwrite(path, stack("CTZYX"), metadata={"axes": "CTZYX"}, **options)
    return path


FORMS = ["imagej", "ome-TZCYX", "ome-CZTYX", "ome-TCZYX", "tifffile"]


@pytest.mark.parametrize("form", FORMS)
def test_a_channel_of_a_stack_slice_by_slice(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "stack.tif", form)
    for channel in range(C):
        frames = open_frames(path, channel=channel)
        expected = [value(t, z, channel) for t, z in product(range(T), range(Z))]
        assert [int(image[0, 0, 0]) for image in frames] == expected
        assert frames.axes is not None and (frames.axes.depth, frames.axes.time) == (Z, T)
    assert int(read_image(path, channel=1)[0, 0, 0]) == value(0, 0, 1)


def test_a_channel_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "stack.ome.tif", "ome-TZCYX")
    assert int(open_frames(path, channel="gfp")[1][0, 0, 1]) == value(0, 1, 1)
    with pytest.raises(MediaError, match=r"the channels 0 \(DAPI\), 1 \(GFP\)\. Got 'RFP'"):
        open_frames(path, channel="RFP")
    with pytest.raises(MediaError, match="Got 2"):
        open_frames(path, channel=2)


def test_without_a_choice_all_channels_are_mixed_in_colours(tmp_path: Path) -> None:
    frames = open_frames(write(tmp_path / "stack.tif", "imagej"))
    assert len(frames) == T * Z
    assert frames[1][0, 0].tolist() == [value(0, 1, 0), value(0, 1, 1), 0]
    assert read_image(tmp_path / "stack.tif")[0, 0].tolist() == [value(0, 0, 0), value(0, 0, 1), 0]


def test_chosen_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "stack.ome.tif", "ome-TZCYX")
    frames = open_frames(path, channel={"DAPI": "blue", "GFP": "white"})
    both = value(0, 0, 0) + value(0, 0, 1)
    assert frames[0][0, 0].tolist() == [value(0, 0, 1), value(0, 0, 1), both]
    with pytest.raises(MediaError, match="a name or #rrggbb"):
        open_frames(path, channel={"DAPI": "bluish"})


def test_each_channel_has_its_own_range_of_intensities(tmp_path: Path) -> None:
    """One channel is a hundred times brighter than the other."""
    ramp = np.tile(np.linspace(0, 400, 64), (64, 1)).astype(np.uint16)
    pages = np.stack([ramp, ramp[:, ::-1] * 100])
    tifffile.imwrite(tmp_path / "deep.tif", pages, imagej=True, metadata={"axes": "CYX"})
    for picture in (open_frames(tmp_path / "deep.tif")[0], read_image(tmp_path / "deep.tif")):
        assert picture[0, -1, 0] > 150 and picture[0, 0, 1] > 150
        assert picture[0, 0, 0] < 10 and picture[0, -1, 1] < 10


@pytest.mark.parametrize(("name", "row"), [("green", 1), (2, 2), ("0", 0)])
def test_a_channel_of_a_picture_in_colours(tmp_path: Path, name: int | str, row: int) -> None:
    PIL.Image.new("RGB", (8, 6), (10, 20, 30)).save(tmp_path / "rgb.png")
    assert read_image(tmp_path / "rgb.png", channel=name)[0, 0].tolist() == [10 * (row + 1)] * 3
    assert open_frames(tmp_path / "rgb.png", channel=name)[0][0, 0, 0] == 10 * (row + 1)


def test_what_has_no_channels_says_so(tmp_path: Path) -> None:
    pages = [PIL.Image.new("L", (9, 8)) for _ in range(4)]
    pages[0].save(tmp_path / "plain.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(MediaError, match="does not say that it has channels"):
        open_frames(tmp_path / "plain.tif", channel=1)[0]
    with pytest.raises(MediaError, match="take the channel from it"):
        open_frames(np.zeros((4, 8, 9, 3), np.uint8), channel=1)


def test_a_folder_of_files_with_channels_shows_one_or_all(tmp_path: Path) -> None:
    for number in range(3):
        pages = np.zeros((2, 8, 9), np.uint16)
        pages[0, :, :3], pages[1, :, -3:] = 1000 * (number + 1), 4000
        tifffile.imwrite(tmp_path / f"{number}.tif", pages, imagej=True, metadata={"axes": "CYX"})
    frames = open_frames(tmp_path)
    assert frames.axes is not None and len(frames.axes.channels) == 2
    assert [image[0, 0, :2].tolist() for image in frames] == [[62, 0], [125, 0], [187, 0]], "no flicker"
    assert all(image[0, -1].tolist() == [0, 249, 0] for image in frames)
    one = open_frames(tmp_path, channel=1)
    assert one.channel == 1 and one.axes is not None and one.file_name(2) == frames.file_name(2) == "2.tif"
    assert [int(image[0, 0, 0]) for image in one] == [0, 0, 0]
    with pytest.raises(MediaError, match="has the channels 0, 1"):
        open_frames(tmp_path, channel=2)


@pytest.mark.parametrize(("format", "options"), [("tiff", {}), ("ome-tiff", {"is_ome": True})])
def test_label_tiffs_have_the_axes_of_their_source(
    tmp_path: Path, format: str, options: dict[str, bool]
) -> None:
    frames = open_frames(write(tmp_path / "stack.tif", "imagej"), channel=0)
    writer = find_format(format).make(tmp_path / find_format(format).path, frames, {}, Look())
    with Writers(writer) as writers:
        for number, image in enumerate(frames):
            mask = np.zeros(SIZE, dtype=bool)
            mask[number] = True
            writers.write(image, Masks.from_arrays(number, {1: mask}, SIZE))
    with tifffile.TiffFile(tmp_path / find_format(format).path, **options) as file:
        series = file.series[0]
        assert (series.axes, series.shape) == ("TZYX", (T, Z, *SIZE))
        assert (series.asarray()[1, 2].argmax(axis=0) == Z + 2).all()


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.5\nimages=9\nchannels=2\nslices=4",
        '{"shape": [2, 3], "axes": "QQYX"}',
        "{",
        '<OME xmlns="x"><Image/></OME>',
        '<!DOCTYPE a><OME xmlns="x"><Pixels SizeC="2"/></OME>',
        '<OME xmlns="x"><Pixels SizeC="a"/></OME>',
        "a cell",
    ],
)
def test_descriptions_that_do_not_fit_are_left_alone(text: str) -> None:
    assert read_axes(text, 6) is None


def test_how_channels_are_typed() -> None:
    assert parse_channels([]) is None
    assert parse_channels(["DAPI", "1"]) == ["DAPI", "1"]
    assert parse_channels(["DAPI=#0000ff", "GFP=lime"]) == {"DAPI": "#0000ff", "GFP": "lime"}
