"""Images of more than 8 bits: seen whole, on one scale a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from masklet.errors import MediaError
from masklet.media import ImageReader, open_frames, read_image, stream
from masklet.media.readers import intensity

RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def close(image: np.ndarray, expected: np.ndarray, steps: float = 1.0) -> bool:
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    return bool(np.abs(image - 255 * expected).max() <= steps)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("values", [RAMP, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("suffix", [".png", ".tiff", None])
def test_depths_in_sixteen_bits(tmp_path: Path, bits: int, values: np.ndarray, suffix: str | None) -> None:
    array = (values * (2**bits - 1)).round().astype(np.uint16)
    source: object = array
    if suffix is not None:
        source = tmp_path / f"deep{suffix}"
        cv2.imwrite(str(source), array[..., ::-1] if array.ndim == 3 else array)
    assert close(read_image(source), array / (2**bits - 1))
    assert open_frames([source]).intensity_range == (0, 2**bits - 1)


@pytest.mark.parametrize("suffix", [".tiff", None])
def test_negative_values_stay_apart(tmp_path: Path, suffix: str | None) -> None:
    array = (RAMP * 4000 - 1000).astype(np.int16)
    source: object = array
    if suffix is not None:
        source = tmp_path / "ct.tiff"
        PIL.Image.fromarray(array.astype(np.int32)).save(source)
    assert close(read_image(source), RAMP, steps=2)


@pytest.mark.parametrize("top", [1e-6, 0.01, 0.2, 1.0, 7.5, 255.0, 1e6])
@pytest.mark.parametrize("values", [RAMP, COLOUR], ids=["grey", "colour"])
def test_floats_of_any_scale_use_the_whole_range(top: float, values: np.ndarray) -> None:
    image = read_image((values * top).astype(np.float32))
    assert image.min() < 3 and image.max() > 160
    assert (
        np.corrcoef(image.ravel(), np.broadcast_to(values.reshape(48, 64, -1), image.shape).ravel())[0, 1]
        > 0.999
    )


@pytest.mark.parametrize("values", [RAMP, COLOUR], ids=["grey", "colour"])
def test_floats_of_files(tmp_path: Path, values: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), (values / 100).astype(np.float32))
    assert read_image(tmp_path / "a.tiff").max() > 160


def test_hot_and_dead_pixels_and_what_is_not_a_number_count_for_nothing() -> None:
    array = (RAMP * 1000).astype(np.float32)
    clean = read_image(array)
    array[5, 5], array[7, 30], array[20, 20], array[40, 9] = 65535, np.nan, np.inf, -np.inf
    spoiled = read_image(array)
    assert np.abs(spoiled.astype(int) - clean).max(axis=2)[9:19].max() <= 2


def test_a_low_contrast_image_is_stretched() -> None:
    image = read_image((RAMP * 200 + 10_000).astype(np.uint16))
    assert image.min() == 0 and image.max() == 255


def test_a_small_bright_object_on_black_is_seen() -> None:
    array = np.zeros((400, 400), np.uint16)
    array[100:108, 200:208] = 900
    assert read_image(array)[104, 204].min() > 200


def test_a_stack_has_one_scale(tmp_path: Path) -> None:
    pages = [(RAMP * peak).astype(np.uint16) for peak in (240, 250, 256, 270, 300, 511, 520)]
    images = [PIL.Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "stack.tiff", save_all=True, append_images=images[1:])
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        image.save(tmp_path / "folder" / f"{number}.png")
    for source in (tmp_path / "stack.tiff", tmp_path / "folder", np.stack(pages), pages):
        frames = open_frames(source)
        low, high = frames.intensity_range or (0, 0)
        assert all(
            close(image, ((page - low) / (high - low)).clip(0, 1))
            for image, page in zip(frames, pages, strict=True)
        )
        assert [image.mean() for image in frames] == sorted(image.mean() for image in frames)


def test_a_stream_and_a_reader_of_images_keep_their_first_scale() -> None:
    pages = [(RAMP * peak).astype(np.uint16) for peak in (1000, 2000, 500)]
    expected = [read_image(page, intensity_range=(0, 1023)) for page in pages]
    reader = ImageReader()
    for image, page, wanted in zip(stream(iter(pages)), pages, expected, strict=True):
        assert (image == wanted).all() and (reader.read(page) == wanted).all()


def test_the_range_can_be_stated_and_read() -> None:
    array = (RAMP * 4095).astype(np.uint16)
    assert close(read_image(array, intensity_range=(1000, 2000)), ((array - 1000.0) / 1000).clip(0, 1))
    assert open_frames([array], intensity_range=(1000, 2000)).intensity_range == (1000, 2000)
    assert open_frames([read_image(array)]).intensity_range is None
    dark = (RAMP * 20).astype(np.uint8)
    assert close(read_image(dark, intensity_range=(0, 20)), dark / 20)
    for senseless in [(5, 5), (9, 1), (0, float("nan"))]:
        with pytest.raises(MediaError, match="intensity_range must be"):
            read_image(array, intensity_range=senseless)


def test_deep_videos(tmp_path: Path) -> None:
    path = tmp_path / "deep.mkv"
    pages = [(RAMP * peak).astype(np.uint16) for peak in (4000, 3000, 2000)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray16le"
        for page in pages:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(page, format="gray16le")))
        container.mux(stream.encode(None))
    frames = open_frames(path)
    assert frames.intensity_range == (0, 4095)
    assert all(close(image, page / 4095) for image, page in zip(frames, pages, strict=True))


@given(
    arrays.arrays(
        st.sampled_from([np.int16, np.uint16, np.int32, np.float32, np.float64]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9),
    )
)
def test_any_image_becomes_eight_bits_and_keeps_its_order(array: np.ndarray) -> None:
    assume(np.isfinite(array).any())  # others are refused
    image = read_image(array)
    assert image.shape == (*array.shape, 3) and image.dtype == np.uint8
    finite = np.isfinite(array)
    order = np.argsort(array[finite], kind="stable")
    assert (np.diff(image[..., 0][finite][order].astype(int)) >= 0).all()


def test_an_image_without_a_number_is_refused() -> None:
    with pytest.raises(MediaError, match="every value is NaN or infinite"):
        intensity.estimate_intensity_range([np.full((8, 8), np.nan), np.full((8, 8), np.inf)])
    assert intensity.estimate_intensity_range([np.full((8, 8), np.nan), np.eye(8) / 2 + 0.25]) == (0.0, 1.0)


COLUMNS, ROWS = np.meshgrid(np.linspace(0, 0.7, 90), np.linspace(0.05, 0.25, 60))
SLOPE = COLUMNS + ROWS  # from dark at the upper left to bright at the lower right


def shows_slope(image: np.ndarray, where: np.ndarray | slice = np.s_[:]) -> bool:
    grey = image.astype(float).mean(axis=2)
    return bool(
        np.ptp(grey[where]) > 60 and np.corrcoef(grey[where].ravel(), SLOPE[where].ravel())[0, 1] > 0.98
    )


@pytest.mark.parametrize("padding", [-9999, -32768, -2000, 32767])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_padding_costs_no_contrast(padding: int, dtype: type) -> None:
    """Around a CT's circle, and where a map has no data."""
    values = (SLOPE * 2000 - 500).astype(dtype)
    values[:15] = padding
    image = read_image(values)
    assert shows_slope(image, np.s_[15:]), "what has data has its contrast"
    assert (image[:15] == (255 if padding > 0 else 0)).all(), "what has none is black or white"


def test_an_object_on_black_is_not_stretched() -> None:
    """Most of the image is one value, and the object another with a little noise: both are data."""
    values = np.zeros((60, 90), np.uint16)
    values[20:40, 30:60] = 1000 + np.random.default_rng(0).integers(-10, 10, (20, 30))
    image = read_image(values)
    assert np.ptp(image[20:40, 30:60]) < 20 and image[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ((SLOPE * 200 - 100).astype(np.int8), {}),
        ((255 - SLOPE * 255).astype(np.uint8), {"photometric": "miniswhite"}),
        ((65535 - SLOPE * 65535).astype(np.uint16), {"photometric": "miniswhite"}),
        ((2**32 - 1 - SLOPE * 4e9).astype(np.uint32), {"photometric": "miniswhite"}),
        ((SLOPE * 4095).astype(np.uint16), {"byteorder": ">"}),
        ((SLOPE * 4095).astype(np.uint16), {"bigtiff": True}),
        ((SLOPE * 4095).astype(np.uint16), {"tile": (16, 16)}),
        (
            (SLOPE * 255).astype(np.uint8)[None].repeat(3, 0),
            {"planarconfig": "separate", "photometric": "rgb"},
        ),
    ],
    ids=lambda value: str(value if isinstance(value, dict) else value.dtype),
)
def test_tiffs_of_many_layouts(tmp_path: Path, values: np.ndarray, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "image.tif", values, **options)
    assert shows_slope(read_image(tmp_path / "image.tif"))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (3, {"planarconfig": "separate", "photometric": "rgb"}),
        (2, {"planarconfig": "separate", "photometric": "minisblack"}),
        (2, {"planarconfig": "contig", "photometric": "minisblack"}),
        (5, {"planarconfig": "contig", "photometric": "minisblack"}),
    ],
)
def test_channels_that_decoders_mix_up_are_refused(
    tmp_path: Path, dtype: type, channels: int, options: dict[str, Any]
) -> None:
    axis = 0 if options["planarconfig"] == "separate" else -1
    values = np.stack([(SLOPE * 4095).astype(dtype)] * channels, axis)
    tifffile.imwrite(tmp_path / "image.tif", values, **options)
    with pytest.raises(MediaError, match=rf"{channels} channels (of (16|32) bits|per pixel)"):
        read_image(tmp_path / "image.tif")


def test_twelve_bits_of_alpha_are_opaque(tmp_path: Path) -> None:
    colour = (SLOPE * 4095).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "image.png"), np.dstack([colour] * 3 + [np.full_like(colour, 4095)]))
    assert shows_slope(read_image(tmp_path / "image.png"))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_images_of_8_bits_among_deeper_ones_keep_their_values(order: tuple[int, ...]) -> None:
    """Behind a deeper one, they were scaled like it: nearly black, or white beside fractions."""
    ramp = np.arange(3072, dtype=np.uint16).reshape(48, 64)
    images = [(ramp // 12).astype(np.uint8), ramp * 16, ramp * 8]
    read = []
    for first in range(3):
        frames = open_frames([images[number] for number in order])
        frames[first]  # which frame is read first changes nothing
        read.append({number: frames[place] for place, number in enumerate(order)})
    assert (read[0][0][..., 0] == images[0]).all()
    for other in read[1:]:
        assert all((other[number] == read[0][number]).all() for number in range(3))
    brightness = [read[0][number].mean() for number in (1, 2)]
    assert brightness[0] > 1.8 * brightness[1], "the deep ones share a range"
