"""Axes, channels and sizes of pixels of TIFF stacks that tifffile writes as ImageJ's, OME's and its own."""

from __future__ import annotations

import csv
import json
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import Look, PixelSize, Writers, find_format, open_frames, read_image, writers
from masklet.media.readers.microscopy import parse_channels, read_axes, read_pixel_size
from masklet.types import Masks
from media.made import write_video

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
    with pytest.raises(MediaError, match=r"Its channels are 0 \(DAPI\), 1 \(GFP\)\. Got 'RFP'"):
        open_frames(path, channel="RFP")
    with pytest.raises(MediaError, match="Got 2"):
        open_frames(path, channel=2)


def test_a_channel_whose_name_has_an_umlaut(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["Zellkörper", "DAPI"]}}
    pages = np.stack([np.full(SIZE, 60, np.uint8), np.full(SIZE, 90, np.uint8)])
    tifffile.imwrite(tmp_path / "cell.ome.tif", pages, ome=True, metadata=metadata, photometric="minisblack")
    assert read_image(tmp_path / "cell.ome.tif", channel="Zellkörper")[0, 0, 0] == 60
    with pytest.raises(MediaError, match=r"0 \(Zellkörper\), 1 \(DAPI\)"):
        open_frames(tmp_path / "cell.ome.tif", channel="GFP")


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
    for image in (open_frames(tmp_path / "deep.tif")[0], read_image(tmp_path / "deep.tif")):
        assert image[0, -1, 0] > 150 and image[0, 0, 1] > 150
        assert image[0, 0, 0] < 10 and image[0, -1, 1] < 10


@pytest.mark.parametrize(("name", "row"), [("green", 1), (2, 2), ("0", 0)])
def test_a_channel_of_an_image_in_colours(tmp_path: Path, name: int | str, row: int) -> None:
    PIL.Image.new("RGB", (8, 6), (10, 20, 30)).save(tmp_path / "rgb.png")
    assert read_image(tmp_path / "rgb.png", channel=name)[0, 0].tolist() == [10 * (row + 1)] * 3
    assert open_frames(tmp_path / "rgb.png", channel=name)[0][0, 0, 0] == 10 * (row + 1)


def sized(path: Path, form: str) -> Path:
    """A stack whose pixels are 0.5 x 0.25 micrometres, its slices 2 micrometres apart."""
    pages, grey = np.zeros((Z, *SIZE), dtype=np.uint8), {"photometric": "minisblack"}
    if form == "ome":
        sizes = {"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2}
        tifffile.imwrite(path, pages, ome=True, metadata={"axes": "ZYX", **sizes}, **grey)
    elif form == "printer":
        tifffile.imwrite(path, pages, resolution=(300, 300), resolutionunit=2, metadata=None, **grey)
    else:
        scale = 1 if form == "imagej-um" else 1000
        metadata = {"axes": "ZYX", "unit": form.removeprefix("imagej-"), "spacing": 2 * scale}
        tifffile.imwrite(
            path, pages, imagej=True, resolution=(2 / scale, 4 / scale), metadata=metadata, **grey
        )
    return path


@pytest.mark.parametrize("form", ["ome", "imagej-um", "imagej-nm"])
def test_the_size_of_a_pixel(tmp_path: Path, form: str) -> None:
    size = open_frames(sized(tmp_path / "stack.tif", form)).pixel_size
    assert size is not None
    assert (size.x, size.y, size.z) == pytest.approx((0.5, 0.25, 2))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.65um", (0.65, 0.65, None)),
        ("0.2x0.3x1um", (0.2, 0.3, 1.0)),
        ("200 nm x 0.3 µm \u00d7 1um", (0.2, 0.3, 1.0)),
        ("5e-1mm", (500.0, 500.0, None)),
        ("0.5x0.25 μm", (0.5, 0.25, None)),
    ],
)
def test_a_typed_size_of_a_pixel(text: str, size: tuple[float | None, ...]) -> None:
    parsed = PixelSize.parse(text)
    assert (parsed.x, parsed.y, parsed.z) == pytest.approx(size)


@pytest.mark.parametrize(
    "text",
    ["", "0.65", "um", "0um", "-1um", "1x1x1x1um", "5px", "1xum", "nan um", "1e-9um", "1e9m", "1x0x1um"],
)
def test_what_is_no_size_of_a_pixel(text: str) -> None:
    with pytest.raises(MediaError, match=r"such as 0\.65um, or width x height x depth.*units are pm, nm, um"):
        PixelSize.parse(text)


@pytest.mark.parametrize("size", [(0, 1), (1, -1), (1, 1, float("nan")), (1e10, 1)])
def test_a_pixel_has_a_size_that_files_can_hold(size: tuple[float, ...]) -> None:
    with pytest.raises(MediaError, match=r"a pixel size must be from 1e-06 to 1e\+09 micrometres\. Got"):
        PixelSize(*size)


def test_a_file_whose_size_no_tiff_can_hold_has_none(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 1e-300, "PhysicalSizeY": 1e300}
    pages = np.zeros((Z, *SIZE), dtype=np.uint8)
    metadata = {"axes": "ZYX", **sizes}
    tifffile.imwrite(tmp_path / "odd.tif", pages, ome=True, metadata=metadata, photometric="minisblack")
    assert open_frames(tmp_path / "odd.tif").pixel_size is None


@pytest.mark.parametrize("form", ["ome", "printer"])
def test_a_given_size_of_a_pixel_replaces_that_of_the_file(tmp_path: Path, form: str) -> None:
    path = sized(tmp_path / "stack.tif", form)
    frames = open_frames(path, pixel_size="0.1x0.2x3um")
    assert frames.pixel_size == PixelSize(0.1, 0.2, 3)
    assert frames.part(1, 3).pixel_size == open_frames(frames).pixel_size == frames.pixel_size
    assert pickle.loads(pickle.dumps(frames)).pixel_size == frames.pixel_size
    assert open_frames(frames, pixel_size=PixelSize(1, 1)).pixel_size == PixelSize(1, 1)
    assert open_frames(np.zeros((2, *SIZE, 3), np.uint8), pixel_size="4mm").pixel_size == PixelSize(4e3, 4e3)
    with writers(["measures", "ome-tiff"], tmp_path, frames) as files:
        for page, image in enumerate(frames):
            files.write(image, Masks.from_arrays(page, {1: np.ones(SIZE, dtype=bool)}, SIZE))
    with open(tmp_path / "measures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[2]["area_um2"]) == pytest.approx(SIZE[0] * SIZE[1] * 0.02) and rows[2]["z_um"] == "6"
    size = open_frames(tmp_path / "labels.ome.tif").pixel_size
    assert size is not None and (size.x, size.y, size.z) == pytest.approx((0.1, 0.2, 3))


@pytest.mark.parametrize("form", ["printer", "imagej-pixel", "imagej-furlong"])
def test_no_size_of_a_pixel_without_a_unit_of_length(tmp_path: Path, form: str) -> None:
    assert open_frames(sized(tmp_path / "stack.tif", form)).pixel_size is None


def test_the_micro_sign_in_every_writing() -> None:
    for sign in ("\\u00B5m", "\u00b5m", "\u03bcm", "micron", "\u00b5m".encode().decode("latin-1")):
        tags = {270: f"ImageJ=1.54f\nunit={sign}\n", 282: 4.0, 283: 4.0}
        assert read_pixel_size(tags) == PixelSize(0.25, 0.25), sign


@pytest.mark.parametrize("form", ["ome", "imagej-um"])
def test_measures_in_micrometres_and_labels_as_large_as_their_source(tmp_path: Path, form: str) -> None:
    frames = open_frames(sized(tmp_path / "stack.tif", form))
    mask = np.zeros(SIZE, dtype=bool)
    mask[4:8, 10:20] = True
    with writers(["measures", "tiff", "ome-tiff"], tmp_path, frames, {3: "cell"}) as files:
        for page, image in enumerate(frames):
            files.write(image, Masks.from_arrays(page, {3: mask & (page > 0)}, SIZE))
    with open(tmp_path / "measures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["depth"], row["time"], row["z_um"]) for row in rows] == [("1", "0", "2"), ("2", "0", "4")]
    assert rows[0]["object"] == "3" and rows[0]["class"] == "cell" and rows[0]["file"] == "stack.tif"
    assert {row["seconds"] for row in rows} == {""}, (
        "slices are no moments, and no file says how long they take"
    )
    box = [int(rows[0][name]) for name in ("x0", "y0", "x1", "y1")]
    assert int(rows[0]["area"]) == 40 and box == [10, 4, 20, 8]
    measures = [float(rows[0][name]) for name in ("x", "y", "x_um", "y_um", "area_um2")]
    assert measures == pytest.approx([15, 6, 7.5, 1.5, 5])
    for name in ("labels.tif", "labels.ome.tif"):
        size = open_frames(tmp_path / name).pixel_size
        assert size is not None and (size.x, size.y, size.z) == pytest.approx((0.5, 0.25, 2))
    with tifffile.TiffFile(tmp_path / "labels.tif") as labels:  # another reader sees it too
        assert labels.imagej_metadata["unit"] == "um" and labels.imagej_metadata["spacing"] == 2


def test_measures_of_a_part_name_the_slices_of_the_whole(tmp_path: Path) -> None:
    frames = open_frames(sized(tmp_path / "stack.tif", "ome")).part(1, 3)
    with writers(["measures"], tmp_path, frames) as files:
        for page, image in enumerate(frames):
            files.write(image, Masks.from_arrays(page, {1: np.ones(SIZE, dtype=bool)}, SIZE))
    with open(tmp_path / "measures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["depth"], row["time"], row["z_um"]) for row in rows] == [
        ("0", "1", "0", "2"),
        ("1", "2", "0", "4"),
    ]


def timed(path: Path, form: str) -> Path:
    """Two points in time, 90 seconds apart, of three slices."""
    pages, grey = np.zeros((T, Z, *SIZE), dtype=np.uint8), {"photometric": "minisblack"}
    if form.startswith("imagej"):
        times = {"finterval": 1.5, "tunit": "min"} if form.endswith("min") else {"finterval": 90}
        tifffile.imwrite(path, pages, imagej=True, metadata={"axes": "TZYX", **times}, **grey)
        return path
    times = {"TimeIncrement": 1.5, "TimeIncrementUnit": "min"}
    if form == "ome-planes":  # what was measured counts, not what was planned
        taken = [7 + 90 * t + z for t, z in product(range(T), range(Z))]
        times["Plane"] = {"DeltaT": taken, "DeltaTUnit": ["s"] * T * Z}
        times["TimeIncrement"] = 1.0
    tifffile.imwrite(path, pages, ome=True, metadata={"axes": "TZYX", **times}, **grey)
    return path


@pytest.mark.parametrize("form", ["imagej", "imagej-min", "ome", "ome-planes"])
def test_seconds_of_a_time_series(tmp_path: Path, form: str) -> None:
    frames = open_frames(timed(tmp_path / "series.tif", form))
    assert frames.axes is not None and list(frames.axes.seconds) == pytest.approx([0, 90])
    with writers(["measures", "tiff", "ome-tiff", "masklets"], tmp_path, frames) as files:
        for page, image in enumerate(frames):
            files.write(image, Masks.from_arrays(page, {1: np.ones(SIZE, dtype=bool)}, SIZE))
    with open(tmp_path / "measures.csv", newline="") as file:
        assert [float(row["seconds"]) for row in csv.DictReader(file)] == [0, 0, 0, 90, 90, 90]
    for name in ("labels.tif", "labels.ome.tif"):
        axes = open_frames(tmp_path / name).axes
        assert axes is not None and list(axes.seconds) == pytest.approx([0, 90]), name
    with tifffile.TiffFile(tmp_path / "labels.tif") as labels:
        assert labels.imagej_metadata["finterval"] == 90
    times = [frame["time"] for frame in json.loads((tmp_path / "masklets.json").read_text())["frames"]]
    assert times == [0, 0, 0, 90, 90, 90]


def test_no_seconds_where_nothing_says_them(tmp_path: Path) -> None:
    """Neither a series without an interval nor a folder of images was taken at 24 a second."""
    tifffile.imwrite(tmp_path / "series.tif", stack("TZCYX")[:, 0, 0], imagej=True, metadata={"axes": "TYX"})
    for name in ("1.png", "2.png"):
        (tmp_path / "images").mkdir(exist_ok=True)
        PIL.Image.new("L", SIZE[::-1]).save(tmp_path / "images" / name)
    for source in (tmp_path / "series.tif", tmp_path / "images"):
        frames = open_frames(source)
        with writers(["measures", "tiff"], tmp_path / "out", frames) as files:
            for page, image in enumerate(frames):
                files.write(image, Masks.from_arrays(page, {1: np.ones(SIZE, dtype=bool)}, SIZE))
        with open(tmp_path / "out" / "measures.csv", newline="") as file:
            assert [row["seconds"] for row in csv.DictReader(file)] == ["", ""], source
        with tifffile.TiffFile(tmp_path / "out" / "labels.tif") as labels:
            assert "finterval" not in labels.imagej_metadata, source


def test_units_of_time_that_are_not_known_give_no_seconds() -> None:
    for unit in ("Ms", "frames", ""):
        axes = read_axes({270: f"ImageJ=1.54f\nimages=2\nframes=2\nfinterval=3\ntunit={unit}\n"}, 2)
        assert axes is not None and not axes.seconds, unit


def test_measures_of_a_video_are_in_pixels(tmp_path: Path) -> None:
    frames = open_frames(write_video(tmp_path / "clip.mp4", [np.zeros((*SIZE, 3), np.uint8)] * 3))
    with writers(["measures"], tmp_path, frames) as files:
        files.write(frames[2], Masks.from_arrays(2, {1: np.ones(SIZE, dtype=bool)}, SIZE))
    with open(tmp_path / "measures.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["area"] == str(SIZE[0] * SIZE[1]) and row["time"] == "2" and row["class"] == "object"
    assert row["area_um2"] == row["z_um"] == "" and float(row["seconds"]) == pytest.approx(2 / 25, abs=1e-6)


def test_what_has_no_channels_says_so(tmp_path: Path) -> None:
    pages = [PIL.Image.new("L", (9, 8)) for _ in range(4)]
    pages[0].save(tmp_path / "plain.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(MediaError, match="has no channel metadata"):
        open_frames(tmp_path / "plain.tif", channel=1)[0]
    with pytest.raises(MediaError, match="select the channel yourself"):
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
    with pytest.raises(MediaError, match="Its channels are 0, 1"):
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
        '<OME xmlns="x"><Pixels SizeC="6"><Channel SamplesPerPixel="0"/></Pixels></OME>',
        "a cell",
    ],
)
def test_descriptions_that_do_not_fit_are_left_alone(text: str) -> None:
    assert read_axes({270: text}, 6) is None


def test_how_channels_are_typed() -> None:
    assert parse_channels([]) is None
    assert parse_channels(["DAPI", "1"]) == ["DAPI", "1"]
    assert parse_channels(["DAPI=#0000ff", "GFP=lime"]) == {"DAPI": "#0000ff", "GFP": "lime"}


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [2, 4, 5])
def test_channels_of_a_pixel_that_name_no_colours_are_refused(
    tmp_path: Path, count: int, kind: type, planes: str
) -> None:
    """Pillow and OpenCV show the first one, and leave the others out without a word."""
    tifffile = pytest.importorskip("tifffile")
    pixels = np.arange(24 * 32 * count, dtype=np.uint32).reshape(24, 32, count).astype(kind)
    pixels = pixels if planes == "contig" else pixels.transpose(2, 0, 1)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig=planes)
    with pytest.raises(MediaError, match=rf"has {count} channels .*Save"):
        open_frames(path)


def test_a_grey_tiff_with_alpha_is_read(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = np.full((24, 32, 2), 90, dtype=np.uint8)
    pixels[:, :16, 1], pixels[:, 16:, 1] = 0, 255
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path, pixels, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    image = read_image(path)
    assert (image[:, :16] == 255).all() and (image[:, 16:] == 90).all()
