"""What film editors and microscopists get: sound, ProRes, soft edges, other backgrounds, TIFF stacks."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
import tifffile
from av.packet import Packet

from masklet.errors import MediaError
from masklet.media import Look, cutout, open_frames, writers
from masklet.media.writers.images import open_background
from masklet.media.writers.video import AudioTrack
from masklet.types import Masks
from media.made import write_video

SIZE = (48, 64)
RATE, FPS, LENGTH = 48_000, 10, 20
TONE = 7  # the frame on which a tone begins


@pytest.fixture(params=["aac", "pcm_s16le", "libopus"])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two seconds of grey with a tone from one frame on, in a codec that some containers do not take."""
    path = tmp_path / "recording.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", FPS)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream(request.param, RATE)
        sound.codec_context.layout = "mono"
        for frame in range(LENGTH):
            image = np.full((*SIZE, 3), 10 * frame, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        time = np.arange(RATE * LENGTH // FPS)
        tone = np.where(time >= RATE * TONE // FPS, np.sin(time * 0.06) * 0.6, 0).astype(np.float32)
        size = sound.codec_context.frame_size or 960
        resampler = av.AudioResampler(sound.codec_context.format, "mono", RATE, size)
        whole = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def square(frame: int, id: int = 1) -> Masks:
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:30, 10 + frame : 30 + frame] = True
    return Masks.from_arrays(frame, {id: mask}, SIZE)


def loudness(path: Path) -> np.ndarray:
    """Of each tenth of a second."""
    with av.open(str(path)) as container:
        total = np.zeros(RATE * 4)
        for frame in container.decode(audio=0):
            resampler = av.AudioResampler("fltp", "mono", RATE)
            assert frame.time is not None
            for part in resampler.resample(frame):
                start = max(0, round(frame.time * RATE))
                samples = part.to_ndarray()[0]
                total[start : start + len(samples)] = samples[: len(total) - start]
    return np.abs(total.reshape(-1, RATE // FPS)).mean(axis=1)


@pytest.mark.parametrize(
    ("format", "start"), [("overlay", 0), ("overlay", 4), ("cutout-webm", 4), ("cutout-prores", 4)]
)
def test_videos_keep_their_sound_in_time(recording: Path, format: str, start: int, tmp_path: Path) -> None:
    source = open_frames(str(recording))
    with writers([format], tmp_path, source) as writer:
        for frame in range(start, LENGTH - 2):
            writer.write(source[frame], square(frame))
    (path,) = (path for path in tmp_path.iterdir() if path != recording)
    loud = loudness(path)
    onset = int(np.argmax(loud > 0.1))
    assert abs(onset - (TONE - start)) <= 1
    assert (loud[TONE + 1 - start : LENGTH - 3 - start] > 0.1).all()
    assert (loud[LENGTH + 1 - start :] < 0.05).all(), "the sound ends with the images"


@pytest.mark.parametrize("format", ["overlay", "cutout-prores", "cutout-webm"])
def test_sound_of_a_rate_that_the_encoder_does_not_take_is_resampled(tmp_path: Path, format: str) -> None:
    path = write_video(
        tmp_path / "quick.mkv", [np.full((*SIZE, 3), 10 * n, dtype=np.uint8) for n in range(LENGTH)]
    )
    with_sound = tmp_path / "with.mkv"
    with av.open(str(path)) as images, av.open(str(with_sound), "w") as container:
        video = container.add_stream_from_template(images.streams.video[0])
        sound = container.add_stream("pcm_f32le", 192_000)
        sound.codec_context.layout = "mono"
        for packet in images.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        wave = np.sin(np.arange(192_000) * 0.015).astype(np.float32) * 0.6
        tone = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = 192_000, 0, Fraction(1, 192_000)
        container.mux([*sound.encode(tone), *sound.encode(None)])
    frames = open_frames(with_sound)
    with writers([format], tmp_path, frames) as writer:
        for frame, image in enumerate(frames):
            writer.write(image, square(frame))
    (made,) = (file for file in tmp_path.iterdir() if file.stem in ("overlay", "cutout"))
    with av.open(str(made)) as container:
        assert container.streams.audio[0].rate in (48_000, 96_000)
    assert loudness(made)[2:6].min() > 0.1


@pytest.mark.parametrize("error", [av.ArgumentError, av.InvalidDataError])
def test_sound_that_cannot_be_carried_over_costs_no_image(
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type,
) -> None:
    def fail(self: AudioTrack) -> Iterator[Packet]:
        yield from ()
        raise error(22, "no sound")

    monkeypatch.setattr(AudioTrack, "_copy", fail)
    monkeypatch.setattr(AudioTrack, "_encode", fail)
    frames = open_frames(recording)
    with writers(["overlay"], tmp_path, frames) as writer:
        for frame, image in enumerate(frames):
            writer.write(image, square(frame))
    assert len(open_frames(tmp_path / "overlay.mp4")) == LENGTH
    assert "the sound ends early" in caplog.text


def test_sources_without_sound_make_videos_without(tmp_path: Path) -> None:
    source = open_frames(np.zeros((2, *SIZE, 3), dtype=np.uint8))
    with writers(["overlay"], tmp_path, source) as writer:
        writer.write(source[0], square(0))
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert not container.streams.audio


def test_prores_keeps_the_alpha(tmp_path: Path) -> None:
    source = open_frames(np.full((2, *SIZE, 3), 200, dtype=np.uint8))
    with writers(["cutout-prores"], tmp_path, source) as writer:
        for frame in range(2):
            writer.write(source[frame], square(frame))
    with av.open(str(tmp_path / "cutout.mov")) as container:
        assert container.streams.video[0].codec_context.name == "prores"
        frames = [frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]
    assert len(frames) == 2
    alpha = frames[0][:, :, 3]
    assert alpha[20, 20] > 250 and alpha[2, 2] < 5
    assert abs(int(frames[0][20, 20, 0]) - 200) < 4


def read_exr(path: Path) -> np.ndarray:
    """The alpha of a file, as another reader has it."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "grayf16le"
    rows = np.frombuffer(frame.planes[0], np.float16).reshape(frame.height, -1)
    return rows[:, : frame.width].astype(np.float32)


@pytest.mark.parametrize("soft", [0.0, 2.0])
def test_exr_mattes_have_the_alpha_of_each_object(tmp_path: Path, soft: float) -> None:
    size = 47, 63
    source = open_frames(np.full((3, *size, 3), 200, dtype=np.uint8))
    one, other = np.zeros((2, *size), dtype=bool)
    one[10:30, 10:30] = other[20:47, 20:63] = True
    with writers(["matte-exr"], tmp_path, source, look=Look(soft=soft)) as writer:
        for frame in range(3):
            writer.write(source[frame], Masks.from_arrays(frame, {1: one, 12: other}, size))
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.exr"))]
    assert names == [f"mattes/{id}/{frame:05d}.exr" for id in ("001", "012") for frame in range(3)]
    for id, mask in (("001", one), ("012", other)):
        alpha = read_exr(tmp_path / "mattes" / id / "00002.exr")
        image = cutout(source[2], Masks.from_arrays(2, {1: mask}, size), soft=soft)
        assert np.abs(alpha - image[:, :, 3] / 255).max() <= (1.5 / 255 if soft else 0)
        assert len(np.unique(alpha)) > 64 if soft else set(np.unique(alpha)) == {0, 1}
    header = (tmp_path / "mattes" / "001" / "00000.exr").read_bytes()[:400]
    assert header[:4] == b"v/1\x01"
    required = ("channels", "compression", "dataWindow", "displayWindow", "lineOrder", "pixelAspectRatio")
    for attribute in (*required, "screenWindowCenter", "screenWindowWidth"):
        assert b"%b\0" % attribute.encode() in header


def test_soft_edges_fade_out_and_keep_the_colour() -> None:
    image = np.full((*SIZE, 3), 180, dtype=np.uint8)
    hard, soft = cutout(image, square(0)), cutout(image, square(0), soft=2)
    assert set(np.unique(hard[:, :, 3])) == {0, 255}
    row = soft[20, 20:40, 3].astype(int)
    assert (np.diff(row) <= 0).all() and len(set(row)) > 4
    assert (soft[soft[:, :, 3] > 0][:, :3] == 180).all()


@pytest.mark.parametrize(
    ("background", "expected"),
    [("#00b140", (0, 177, 64)), ("white", (255, 255, 255)), ("image", (9, 90, 200))],
)
def test_objects_stand_before_another_background(
    background: str, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    if background == "image":
        background = str(tmp_path / "image.png")
        PIL.Image.new("RGB", (300, 20), expected).save(background)
    source = open_frames(np.full((1, *SIZE, 3), 128, dtype=np.uint8))
    with writers(["composite"], tmp_path, source, look=Look(background)) as writer:
        writer.write(source[0], square(0))
    image = open_frames(str(tmp_path / "composite.mp4"))[0].astype(int)
    assert np.abs(image[20, 20] - 128).max() < 12
    assert np.abs(image[40, 60] - expected).max() < 12


def test_a_blurred_background_is_the_image_out_of_focus() -> None:
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    image[:, ::2] = 255
    behind = open_background("blur", SIZE)(0, image)
    assert behind.std() < 30 and abs(behind.mean() - image.mean()) < 5


def test_a_background_that_is_nothing_is_refused() -> None:
    with pytest.raises(MediaError, match="blur, a colour such as green"):
        open_background("no/such/file.png", SIZE)


@pytest.mark.parametrize("ids", [(1, 2), (1, 300)])
@pytest.mark.parametrize(("format", "file"), [("tiff", "labels.tif"), ("ome-tiff", "labels.ome.tif")])
@pytest.mark.parametrize("suffix", [".tif", ".mp4"])
def test_label_stacks_lie_on_their_source(
    ids: tuple[int, int], format: str, file: str, suffix: str, tmp_path: Path
) -> None:
    path, volume = tmp_path / f"source{suffix}", np.zeros((5, *SIZE), dtype=np.uint8)
    if suffix == ".tif":
        tifffile.imwrite(path, volume)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", FPS)
            stream.height, stream.width = SIZE
            for _ in volume:
                container.mux(stream.encode(av.VideoFrame(SIZE[1], SIZE[0], "yuv420p")))
            container.mux(stream.encode(None))
    source = open_frames(str(path))
    with writers([format], tmp_path, source, {ids[0]: "cell & wall"}) as writer:
        for frame in (3, 1):  # in any order
            first, second = square(frame, ids[0]), square(frame + 8, ids[1])
            both = {ids[0]: first[ids[0]], ids[1]: second[ids[1]] & ~first[ids[0]]}
            writer.write(source[frame], Masks.from_arrays(frame, both, SIZE))
    with tifffile.TiffFile(tmp_path / file) as tiff:
        series = tiff.series[0]
        assert series.axes == ("ZYX" if suffix == ".tif" else "TYX")
        assert tiff.is_imagej if format == "tiff" else tiff.is_ome
        labels = series.asarray()
        assert labels.dtype == (np.uint8 if ids[1] < 256 else np.uint16)
        if format == "ome-tiff":
            assert "cell &amp; wall" in (tiff.ome_metadata or "")
    assert labels.shape == (5, *SIZE)
    assert not labels[[0, 2, 4]].any() and set(np.unique(labels[3])) == {0, *ids}
    assert ((labels[1] == ids[0]) == square(1)[1]).all()
