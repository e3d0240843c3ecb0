"""The exported page reads images and frames as masklet does in Python, to the last bit."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image, ImageCms
from playwright.sync_api import Browser, Page

import masklet
from export.web.visitor import serve
from masklet.export.web import write_page

pytestmark = pytest.mark.browser

READ = """async (name) => {
    const { openFile } = await import("./media/clips.js");
    const clip = await openFile(new File([await (await fetch(name)).blob()], name));
    const read = async (number) => {
        const bitmap = await clip.read(number);
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(bitmap, 0, 0);
        const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
        const blob = new Blob([data]);
        return new Promise((resolve) => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result.split(",")[1]);
            reader.readAsDataURL(blob);
        });
    };
    const frames = [];
    for (let frame = 0; frame < clip.frames; frame++) frames.push(await read(frame));
    return { width: clip.width, height: clip.height, frames };
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, without a network, and an empty page from which its modules are called."""
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, None)
    (folder / "empty.html").write_text("<!doctype html><title>empty</title>")
    return folder


@pytest.fixture(scope="module")
def page(chromium: Browser, folder: Path) -> Iterator[Page]:
    with serve(folder, {}) as address:
        page = chromium.new_page()
        page.goto(f"{address}empty.html")
        yield page
        page.close()


def read_in_page(page: Page, name: str) -> np.ndarray:
    """The frames (T, H, W, 3) of a file as the page hands them to the network."""
    clip = page.evaluate(READ, name)
    frames = [np.frombuffer(base64.b64decode(frame), dtype=np.uint8) for frame in clip["frames"]]
    return np.stack(frames).reshape(-1, clip["height"], clip["width"], 4)[..., :3]


def make_image(width: int, height: int, channels: int = 3) -> np.ndarray:
    """Every colour, and edges."""
    coarse = np.random.default_rng(1).integers(0, 256, (6, 8, channels), dtype=np.uint8)
    return coarse.repeat(-(-height // 6), axis=0).repeat(-(-width // 8), axis=1)[:height, :width]


def wide_profile() -> bytes:
    """A colour profile whose green is far from sRGB's."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = int.from_bytes(profile[128:132], "big")
    entries = [profile[132 + 12 * tag : 144 + 12 * tag] for tag in range(tags)]
    (start,) = (int.from_bytes(entry[4:8], "big") for entry in entries if entry[:4] == b"gXYZ")
    color = np.array([0.2053, 0.6257, 0.0609]) * 65536
    profile[start + 8 : start + 20] = color.astype(">i4").tobytes()
    return bytes(profile)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.png", {}),
        ("photo.jpg", {"quality": 90}),
        ("profile.png", {"icc_profile": wide_profile()}),
        ("profile.jpg", {"quality": 90, "icc_profile": wide_profile()}),
        ("turned.jpg", {"quality": 90, "exif": turned()}),
        ("image.webp", {"quality": 80}),
    ],
)
def test_images_have_the_pixels_that_python_reads(
    page: Page, folder: Path, name: str, options: dict[str, object]
) -> None:
    Image.fromarray(make_image(151, 98)).save(folder / name, **options)
    np.testing.assert_array_equal(read_in_page(page, name)[0], masklet.media.read_image(folder / name))


def test_what_is_transparent_is_white(page: Page, folder: Path) -> None:
    Image.fromarray(make_image(64, 48, channels=4)).save(folder / "alpha.png")
    ours, theirs = read_in_page(page, "alpha.png")[0], masklet.media.read_image(folder / "alpha.png")
    np.testing.assert_allclose(ours.astype(int), theirs.astype(int), rtol=0, atol=1)


def write_video(
    path: Path, size: tuple[int, int], codec: str, space: Colorspace | None, is_full: bool
) -> None:
    width, height = size
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.color_range = ColorRange.JPEG if is_full else ColorRange.MPEG
        if space is not None:
            is_hd = space == Colorspace.ITU709
            context.colorspace = space
            context.color_primaries = ColorPrimaries.BT709 if is_hd else ColorPrimaries.SMPTE170M
            context.color_trc = ColorTrc.BT709 if is_hd else ColorTrc.SMPTE170M
        for shift in range(3):
            image = np.ascontiguousarray(np.roll(make_image(width, height), 11 * shift, axis=1))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode())


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("space", [None, Colorspace.ITU601, Colorspace.ITU709])
def test_frames_of_videos_have_the_pixels_that_python_reads(
    page: Page, folder: Path, codec: str, space: Colorspace | None, is_full: bool
) -> None:
    is_indexed = codec == "libx264"
    name = f"{codec}-{space}-{is_full}." + ("mp4" if is_indexed else "webm")
    write_video(folder / name, (162, 90), codec, space, is_full)
    expected = np.stack(list(masklet.media.open_frames(str(folder / name))))
    ours = read_in_page(page, name)
    if is_indexed:
        np.testing.assert_array_equal(ours, expected)
    else:  # a WebM's frame rate is estimated, so on a busy machine its first frame may be another one
        assert any(np.array_equal(ours[0], frame) for frame in expected)


@pytest.mark.parametrize("space", [None, Colorspace.ITU709])
def test_large_videos_that_do_not_name_their_colors_have_the_pixels_that_python_reads(
    page: Page, folder: Path, space: Colorspace | None
) -> None:
    """From 720 lines on a browser takes what is not named for BT.709, and FFmpeg for BT.601."""
    name = f"large-{space}.mp4"
    write_video(folder / name, (1280, 720), "libx264", space, is_full=False)
    expected = np.stack(list(masklet.media.open_frames(str(folder / name))))
    np.testing.assert_array_equal(read_in_page(page, name), expected)


def test_frames_that_a_phone_cut_off_are_not_there(page: Page, folder: Path) -> None:
    """A trimmed clip may still hold all its frames; its edit list says which of them are shown."""
    path = folder / "trimmed.mp4"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shift in range(15):
            image = np.ascontiguousarray(np.roll(make_image(64, 48), 4 * shift, axis=1))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode())
    content = bytearray(path.read_bytes())
    for box, offset in ((b"elst", 12), (b"tkhd", 24), (b"mvhd", 20)):
        start = content.index(box) + offset
        assert int.from_bytes(content[start : start + 4], "big") == 600
        content[start : start + 4] = (200).to_bytes(4, "big")  # of 600 milliseconds
    path.write_bytes(content)

    frames = masklet.media.open_frames(path)
    assert len(frames) == 5
    np.testing.assert_allclose(read_in_page(page, "trimmed.mp4").astype(int), np.stack(list(frames)), atol=1)
