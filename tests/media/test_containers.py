"""What containers say of themselves: orientation, aspect, durations, further images, alpha, damage."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from av.packet import Packet

from masklet.errors import MediaError
from masklet.media import CutoutVideo, OverlayVideo, find_images, is_still, open_frames, read_image, writers
from masklet.media.readers.decoding import DecodingPass
from media.made import RING, clip, made_masks, number, numbered, write_video

DURATIONS = [100, 200, 300, 100, 100, 100]  # milliseconds
ANIMATIONS = {"webp": {"lossless": True}, "png": {}, "avif": {"quality": 90}, "gif": {}}
RED = np.zeros((48, 64, 4), np.uint8)
RED[10:20, 10:20] = 255, 0, 0, 255


def save_pages(path: Path, images: list[PIL.Image.Image], **options: object) -> Path:
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrices_turn_and_mirror(tmp_path: Path, degrees: int, flip: bool) -> None:
    image = numbered(5)
    frames = open_frames(write_video(tmp_path / "turned.mp4", [image] * 3, rotation=degrees, flip=flip))
    upright = np.rot90(image, degrees // 90)  # counterclockwise; mirrored after that
    upright = upright[:, ::-1] if flip else upright
    assert frames.size == upright.shape[:2]
    assert np.abs(frames[2].astype(int) - upright).mean() < 8


@pytest.mark.parametrize("rotation, aspect", [(0, Fraction(16, 11)), (90, Fraction(11, 16))])
def test_the_pixels_aspect_reaches_videos_of_masks(tmp_path: Path, rotation: int, aspect: Fraction) -> None:
    path = tmp_path / "wide.mp4"
    write_video(path, [numbered(n) for n in range(3)], pixel_aspect=Fraction(16, 11), rotation=rotation)
    frames = open_frames(path)
    assert frames.pixel_aspect == aspect
    with OverlayVideo(tmp_path / "overlay.mp4", frames) as video:
        for frame, image in enumerate(frames):
            video.write(image, made_masks(frame, {1: np.ones(frames.size, bool)}))
    assert open_frames(tmp_path / "overlay.mp4").pixel_aspect == aspect
    with CutoutVideo(tmp_path / "cutout.webm", frames) as video:
        for frame, image in enumerate(frames):
            video.write(image, made_masks(frame, {1: np.ones(frames.size, bool)}))
    cutout = open_frames(tmp_path / "cutout.webm")
    assert cutout.pixel_aspect == 1, "WebM has square pixels in place of wide ones"
    assert abs(cutout.size[1] - frames.size[1] * float(aspect)) <= 1


def write_raw(path: Path, codec: str, pixels: str, *, matrix: int = 2, color_range: int = 1) -> Path:
    """A video whose images are coded without loss, and said to have the given colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        for n in range(40):
            frame = av.VideoFrame.from_ndarray(numbered(n), format="rgb24").reformat(format=pixels)
            frame.colorspace, frame.color_range = matrix, color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("frame", [39, 12, 1])
def test_a_palette_that_comes_with_the_first_packet_is_used_for_every_frame(
    tmp_path: Path, frame: int
) -> None:
    path = tmp_path / "palette.avi"
    palette = np.tile(255 - np.arange(256, dtype=np.uint8)[:, None], (1, 4))
    palette[:, 0] = 255  # alpha
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        for n in range(40):
            indices = 255 - numbered(n)[..., 0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray((indices, palette), format="pal8")))
    played = list(open_frames(path))
    assert number(played[frame]) == frame
    assert (open_frames(path)[frame] == played[frame]).all()


@pytest.mark.parametrize("matrix, color_range", [(3, 1), (15, 1), (99, 1), (2, 3)])
def test_reserved_colours_are_read_as_unspecified_ones(
    tmp_path: Path, matrix: int, color_range: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = open_frames(write_raw(tmp_path / "usual.mkv", "ffv1", "yuv444p"))
    decode = DecodingPass._decode

    def decode_reserved(self: DecodingPass, packet: Packet | None) -> list[av.VideoFrame]:
        images = decode(self, packet)
        for image in images:
            image.colorspace, image.color_range = matrix, color_range
        return images

    expected = usual[3]
    monkeypatch.setattr(DecodingPass, "_decode", decode_reserved)
    assert (open_frames(tmp_path / "usual.mkv")[3] == expected).all()


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_colours_that_cannot_be_converted_are_one_sentence(tmp_path: Path, matrix: int) -> None:
    path = write_raw(tmp_path / "odd.mkv", "ffv1", "yuv444p", matrix=matrix)
    with pytest.raises(MediaError, match=f"odd.mkv has colours .*matrix {matrix}.*BT.709"):
        open_frames(path)[0]


@pytest.mark.parametrize("kind", ANIMATIONS)
@pytest.mark.parametrize("in_memory", [False, True])
def test_animations_keep_their_times(tmp_path: Path, kind: str, in_memory: bool) -> None:
    images = [PIL.Image.fromarray(numbered(n)) for n in range(6)]
    path = save_pages(tmp_path / f"a.{kind}", images, duration=DURATIONS, **ANIMATIONS[kind])
    source = path.read_bytes() if in_memory else path
    frames = open_frames(source)
    assert not is_still(source)
    assert [number(image) for image in frames] == list(range(6)) == [number(frames[n]) for n in range(6)]
    assert [number(frames[n]) for n in (5, 0, 3, 1)] == [5, 0, 3, 1]
    assert [frames.time(n) for n in range(6)] == pytest.approx([0, 0.1, 0.3, 0.6, 0.7, 0.8])
    assert frames.fps == pytest.approx(6 / 0.9)
    sampled = [number(image) for image in open_frames(source, fps=10)]
    assert sampled[:9] == [0, 1, 1, 2, 2, 2, 3, 4, 5]


def test_an_animated_png_begins_with_its_animation(tmp_path: Path) -> None:
    images = [PIL.Image.fromarray(numbered(n)) for n in range(3)]
    path = save_pages(tmp_path / "a.png", images, default_image=True)
    assert [number(image) for image in open_frames(path)] == [1, 2]


def test_a_phones_jpeg_with_a_second_image_is_one_image(tmp_path: Path) -> None:
    images = [PIL.Image.fromarray(numbered(4)), PIL.Image.fromarray(numbered(5, (24, 32)))]
    path = save_pages(tmp_path / "photo.jpg", images, format="MPO")
    assert is_still(path) and len(open_frames(path)) == 1 and number(read_image(path)) == 4


def test_an_image_of_two_views_is_its_first(tmp_path: Path) -> None:
    path = save_pages(tmp_path / "a.mpo", [PIL.Image.fromarray(numbered(n)) for n in (5, 6)])
    assert is_still(path) and len(open_frames(path)) == 1 and number(read_image(path)) == 5
    assert (open_frames(path)[0] == read_image(path)).all()


@pytest.mark.parametrize("read", [open_frames, read_image])
@pytest.mark.parametrize("in_memory", [False, True])
def test_heic_is_refused_since_only_a_part_would_be_read(tmp_path: Path, read, in_memory: bool) -> None:
    path = write_video(tmp_path / "photo.mp4", [numbered(0)])
    data = path.read_bytes()
    assert data[4:8] == b"ftyp"
    photo = tmp_path / "photo.heic"
    photo.write_bytes(data[:8] + b"heic" + data[12:])
    with pytest.raises(MediaError, match=r"is a HEIC image.*save it as JPEG or PNG"):
        read(photo.read_bytes() if in_memory else photo)


@pytest.mark.parametrize("read", [open_frames, read_image])
@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("cells.czi", b"ZISRAWFILE\0\0", "a CZI file"),
        ("cells.nd2", b"\xda\xce\xbe\x0a\x10\0\0\0", "an ND2 file"),
        ("cells.lif", b"\x70\0\0\0\x10\0\0\0\x2a", "a LIF file"),
        ("scan.dcm", b"\0" * 128 + b"DICM", "a DICOM file"),
        ("head.nii", b"\x5c\x01" + b"\0" * 342 + b"n+1\0", "a NIfTI file"),
    ],
)
def test_formats_that_are_not_read_are_called_by_their_names(
    tmp_path: Path, read: Callable[[Path], object], name: str, head: bytes, kind: str
) -> None:
    """They were called damaged."""
    path = tmp_path / name
    path.write_bytes(head + bytes(1000))
    with pytest.raises(MediaError, match=rf"{name} is {kind}, which is not supported: save it as OME-TIFF"):
        read(path)


@pytest.mark.parametrize("form", ["file", "bytes"])
def test_a_gif_that_gives_no_times_has_all_its_frames(tmp_path: Path, form: str) -> None:
    """As Pillow writes it where no duration is asked for; FFmpeg takes it for one frame."""
    images = [PIL.Image.fromarray(np.full((12, 16, 3), 60 * number, np.uint8)) for number in range(4)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    source = tmp_path / "a.gif" if form == "file" else (tmp_path / "a.gif").read_bytes()
    frames = open_frames(source)
    assert [round(frame.mean() / 60) for frame in frames] == [0, 1, 2, 3] and not is_still(source)


def test_a_gif_of_one_image_is_an_image(tmp_path: Path) -> None:
    PIL.Image.fromarray(numbered(4)).save(tmp_path / "a.gif")
    assert is_still(tmp_path / "a.gif") and is_still((tmp_path / "a.gif").read_bytes())


def test_smaller_copies_in_a_tiff_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tiff"
    with PIL.TiffImagePlugin.AppendingTiffWriter(str(path), True) as writer:
        for size, kind in [((48, 64), 0), ((24, 32), 1)]:
            PIL.Image.fromarray(numbered(2, size)).save(writer, "TIFF", tiffinfo={254: kind})
            writer.newFrame()
    assert len(open_frames(path)) == 1 and is_still(path)


@pytest.mark.parametrize("kind", ["webp", "png", "avif", "gif", "mov", "webm"])
def test_alpha_lies_over_white_everywhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "mov":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("qtrle", rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "argb"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(RED, format="rgba")))
            container.mux(stream.encode(None))
    elif kind == "webm":
        source = open_frames([RED[..., :3]])
        with writers(["cutout-webm"], tmp_path, source) as cutout:
            cutout.write(source[0], made_masks(0, {1: RED[..., 3] > 0}))
        (tmp_path / "cutout.webm").rename(path)
    else:
        save_pages(path, [PIL.Image.fromarray(RED), PIL.Image.fromarray(np.roll(RED, 5, 1))])
    image = open_frames(path)[0]
    assert image[40, 60].min() > 245 and image[0, 0].min() > 245
    assert np.abs(image[15, 15].astype(int) - (255, 0, 0)).max() < 60


class TestDamage:
    """The bytes of packets in the middle are overwritten; head, index and times stay whole."""

    @pytest.fixture(params=["mp4", "mkv"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        return clip(tmp_path / f"clip.{request.param}")

    def damage(self, path: Path, packets: list[int]) -> None:
        with av.open(str(path)) as container:
            places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        data = bytearray(path.read_bytes())
        for packet in packets:
            position, size = places[packet]
            data[position + 16 : position + size] = b"\xff" * (size - 16)
        path.write_bytes(data)

    @pytest.mark.parametrize("packets", [[20], [13, 14], [30, 39], [24]])
    def test_the_rest_is_read_and_keeps_its_numbers(self, path: Path, packets: list[int]) -> None:
        self.damage(path, packets)
        frames = open_frames(path)
        played = list(frames)
        assert len(played) == len(frames) == 40
        whole = [n for n in range(12)]  # before any damage
        assert [number(played[n]) for n in whole] == whole
        for order in (range(40), reversed(range(40)), (39, 3, 25, 24, 0)):
            assert all(np.abs(frames[n].astype(int) - played[n]).mean() < 30 for n in order)

    def test_a_transport_stream_with_holes_is_read_on(self, tmp_path: Path) -> None:
        path = clip(tmp_path / "clip.ts")
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
        path.write_bytes(data)
        assert len(list(open_frames(path))) > 20


def test_folders_and_pipes_named_like_images_are_left_out(tmp_path: Path) -> None:
    PIL.Image.fromarray(numbered(1)).save(tmp_path / "1.png")
    (tmp_path / "sub.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in find_images(tmp_path)] == ["1.png"]
    assert len(open_frames(tmp_path)) == len(open_frames(f"{tmp_path}/*.png")) == 1


class TestNames:
    def test_names_that_are_not_utf_8(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9")
        video = clip(tmp_path / "clip.mp4", 5).rename(tmp_path / f"{name}.mp4")
        frames = open_frames(video)
        assert [number(image) for image in frames] == list(range(5)) and number(frames[2]) == 2
        assert frames.name == "caf\N{REPLACEMENT CHARACTER}.mp4"
        folder = tmp_path / name
        folder.mkdir()
        PIL.Image.fromarray(numbered(7)).save(folder / f"{name}1.png")
        PIL.Image.fromarray(numbered(8)).save(folder / f"{name}2.png")
        frames = open_frames(folder)
        assert [number(image) for image in frames] == [7, 8]
        frames.file_name(0).encode(), frames.name.encode()

    @pytest.mark.parametrize(
        "source", ["a" * 5000 + ".png", "a\0b.png", "a\0b.mp4", os.fsdecode(b"/\xff.png")]
    )
    def test_senseless_names_are_one_sentence(self, source: str) -> None:
        for read in (open_frames, read_image):
            with pytest.raises(MediaError) as caught:
                read(source)
            str(caught.value).encode()


class TestMemory:
    def test_files_in_memory(self, tmp_path: Path) -> None:
        video = clip(tmp_path / "clip.mp4", 8).read_bytes()
        for source in (video, bytearray(video), io.BytesIO(video)):
            frames = open_frames(source)
            assert [number(image) for image in frames] == list(range(8)) and number(frames[3]) == 3
            assert not is_still(source)
            assert len(open_frames(source)) == 8, "the file object is left where it was"
        with (tmp_path / "clip.mp4").open("rb") as file:
            assert len(open_frames(file)) == 8
        PIL.Image.fromarray(numbered(9)).save(tmp_path / "a.png")
        data = (tmp_path / "a.png").read_bytes()
        assert number(read_image(data)) == number(read_image(io.BytesIO(data))) == 9
        assert is_still(data) and is_still(io.BytesIO(data))

    @pytest.mark.parametrize("data", [b"", b"no image, no video" * 9])
    def test_senseless_bytes(self, data: bytes) -> None:
        for read in (open_frames, read_image):
            with pytest.raises(MediaError):
                read(data)


@pytest.mark.parametrize("how", [lambda frames: pickle.loads(pickle.dumps(frames)), copy.deepcopy, copy.copy])
def test_frames_can_be_pickled_and_copied(tmp_path: Path, how) -> None:
    video = clip(tmp_path / "clip.mp4", 8)
    tiff = save_pages(tmp_path / "a.tiff", [PIL.Image.fromarray(numbered(n)) for n in range(8)])
    for source in (str(video), video.read_bytes(), tiff, [numbered(n) for n in range(8)]):
        frames = open_frames(source)
        assert number(frames[5]) == 5
        again = how(frames)
        assert [number(image) for image in again] == list(range(8)) and number(again[6]) == 6
    sampled = open_frames(video, fps=12.5)
    assert [number(image) for image in how(sampled)] == [0, 2, 4, 6]


class TestLargeImages:
    def test_larger_than_pillow_allows(self, tmp_path: Path) -> None:
        PIL.Image.new("L", (20_000, 9_000), 7).save(tmp_path / "large.png")
        assert read_image(tmp_path / "large.png").shape == (9_000, 20_000, 3)
        assert PIL.Image.MAX_IMAGE_PIXELS is not None, "other users of Pillow keep their limit"

    def test_the_limit_is_said_and_can_be_raised(self, tmp_path: Path) -> None:
        PIL.Image.fromarray(RING).save(tmp_path / "a.png")
        for read in (open_frames, read_image):
            with pytest.raises(MediaError, match=r"a\.png is 64 x 48, 3,072 pixels.*max_pixels=3072"):
                read(tmp_path / "a.png", max_pixels=100)
            read(tmp_path / "a.png", max_pixels=3072)
