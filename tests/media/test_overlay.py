"""Painted masks: their look, and the videos they make."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import OverlayPng, OverlayVideo, color, open_frames, overlay, stream
from media.made import box_mask, made_masks, number, numbered, write, write_video

MASK = box_mask(20, 14, 44, 38)


def grey(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), 100, dtype=np.uint8)


class TestOverlay:
    def test_inside_outline_and_outside(self) -> None:
        painted = overlay(grey(), made_masks(0, {1: MASK}))
        inside, edge, outside = painted[26, 32].astype(int), painted[26, 20].astype(int), painted[4, 4]
        assert tuple(outside) == (100, 100, 100)
        toward = np.array(color(1)) - 100
        assert (np.sign(inside - 100) == np.sign(toward)).all()
        assert (np.abs(inside - 100) < np.abs(toward)).all()  # the image shines through
        assert np.abs(edge - color(1)).sum() < np.abs(inside - color(1)).sum()

    def test_the_image_itself_stays(self) -> None:
        image = grey()
        overlay(image, made_masks(0, {1: MASK}))
        assert (image == 100).all()

    def test_holes_have_an_outline(self) -> None:
        ring = MASK & ~box_mask(28, 22, 36, 30)
        painted = overlay(grey(), made_masks(0, {2: ring}))
        assert tuple(painted[26, 32]) == (100, 100, 100)
        assert np.abs(painted[26, 27].astype(int) - color(2)).max() < 90

    def test_objects_have_their_own_colours(self) -> None:
        painted = overlay(grey(), made_masks(0, {1: MASK, 4: box_mask(0, 0, 12, 12)}))
        assert painted[26, 32, 0] > painted[26, 32, 2] and painted[6, 6, 2] > painted[6, 6, 0]

    @pytest.mark.parametrize(
        "mask", [np.zeros((48, 64), bool), np.ones((48, 64), bool), box_mask(3, 3, 4, 4)]
    )
    def test_odd_masks(self, mask: np.ndarray) -> None:
        painted = overlay(grey(), made_masks(0, {1: mask}))
        assert (painted != 100).any() == mask.any()

    def test_no_masks(self) -> None:
        assert (overlay(grey(), made_masks(0, {1: MASK}).select()) == 100).all()


def test_colours_differ() -> None:
    colors = np.array([color(id) for id in range(40)], dtype=int)
    apart = np.abs(colors[1:] - colors[:-1]).sum(axis=1)
    assert apart.min() > 60 and len({color(id) for id in range(256)}) > 250
    assert colors.max(axis=1).min() > 150  # none is dark


class TestOverlayPng:
    def test_pillow_reads_it_back(self, tmp_path: Path) -> None:
        masks = made_masks(0, {1: MASK})
        with OverlayPng(tmp_path / "out" / "overlay.png") as writer:
            writer.write(grey(), masks)
        with PIL.Image.open(tmp_path / "out" / "overlay.png") as image:
            assert (np.asarray(image) == overlay(grey(), masks)).all()


class TestOverlayVideo:
    def test_pyav_reads_it_back(self, tmp_path: Path) -> None:
        source = open_frames([numbered(frame) for frame in range(30)])
        with OverlayVideo(tmp_path / "overlay.mp4", source) as writer:
            for frame, image in enumerate(source):
                writer.write(image, made_masks(frame, {1: MASK}))
        with av.open(str(tmp_path / "overlay.mp4")) as container:
            stream_ = container.streams.video[0]
            assert stream_.codec_context.name == "h264" and stream_.codec_context.pix_fmt == "yuv420p"
            assert stream_.average_rate == 24 and stream_.frames == 30
            assert (stream_.height, stream_.width) == (48, 64)
            assert float(stream_.duration * stream_.time_base) == pytest.approx(30 / 24, abs=0.01)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert [number(image) for image in frames] == list(range(30))
        wanted = overlay(source[9], made_masks(9, {1: MASK}))
        apart = np.abs(frames[9].astype(int) - wanted)
        assert apart[20:30, 26:38].mean() < 5 and apart[-12:-2, -12:-2].mean() < 5  # colours, too, survive

    def test_players_find_the_head_first(self, tmp_path: Path) -> None:
        with OverlayVideo(tmp_path / "overlay.mp4", open_frames([grey()])) as writer:
            writer.write(grey(), made_masks(0, {1: MASK}))
        content = (tmp_path / "overlay.mp4").read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")

    @pytest.mark.parametrize("size", [(49, 65), (48, 65), (49, 64), (3, 5)])
    def test_odd_sizes(self, tmp_path: Path, size: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 2, (*size, 1), dtype=np.uint8).repeat(3, axis=2) * 200
        with OverlayVideo(tmp_path / "overlay.mp4", open_frames([image] * 3)) as writer:
            for frame in range(3):
                writer.write(image, made_masks(frame, {1: np.zeros(size, dtype=bool)}))
        frames = open_frames(tmp_path / "overlay.mp4")
        assert len(frames) == 3
        assert frames.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        inside = frames[0][: size[0], : size[1]].astype(int)
        assert np.abs(inside - image).mean() < 15  # not stretched, or the pixels' noise would blur

    @pytest.mark.parametrize("rate", [6.0, 25.0, 30_000 / 1001, 60.0])
    def test_the_rate_is_that_of_the_source(self, tmp_path: Path, rate: float) -> None:
        times = [round(1000 * frame / rate) for frame in range(20)]
        source = open_frames(
            write_video(tmp_path / "in.mp4", [numbered(frame) for frame in range(20)], times=times)
        )
        with OverlayVideo(tmp_path / "out.mp4", source) as writer:
            for frame, image in enumerate(source):
                writer.write(image, made_masks(frame, {1: MASK}))
        assert open_frames(tmp_path / "out.mp4").fps == pytest.approx(rate, rel=0.01)

    def test_each_frame_keeps_its_time(self, tmp_path: Path) -> None:
        times = [0, 40, 60, 200, 210, 500]
        source = open_frames(
            write_video(tmp_path / "in.mp4", [numbered(frame) for frame in range(6)], times=times)
        )
        with OverlayVideo(tmp_path / "out.mp4", source) as writer:
            for frame in range(1, 6):  # tracking began on frame 1
                writer.write(source[frame], made_masks(frame, {1: MASK}))
        written = open_frames(tmp_path / "out.mp4")
        shown = [written.time(frame) for frame in range(len(written))]
        assert shown == pytest.approx([0, 0.02, 0.16, 0.17, 0.46], abs=1e-4)

    def test_of_a_stream(self, tmp_path: Path) -> None:
        frames = stream(numbered(frame) for frame in range(5))
        with OverlayVideo(tmp_path / "out.mp4", frames) as writer:
            for frame, image in enumerate(frames):
                writer.write(image, made_masks(frame, {1: MASK}))
        assert [number(image) for image in open_frames(tmp_path / "out.mp4")] == list(range(5))

    def test_frames_come_in_order(self, tmp_path: Path) -> None:
        source = open_frames([grey()] * 5)
        with OverlayVideo(tmp_path / "out.mp4", source) as writer:
            writer.write(grey(), made_masks(3, {1: MASK}))
            with pytest.raises(MediaError, match=r"in order\. Got frame 2 after frame 3"):
                writer.write(grey(), made_masks(2, {1: MASK}))
        assert len(open_frames(tmp_path / "out.mp4")) == 1

    def test_without_frames_there_is_no_file(self, tmp_path: Path) -> None:
        OverlayVideo(tmp_path / "out.mp4", open_frames([grey()])).close()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("size", [(60, 20_000), (20_000, 61), (1, 20_000)])
    def test_what_is_larger_than_players_take_is_scaled_down(
        self, tmp_path: Path, size: tuple[int, int], caplog: pytest.LogCaptureFixture
    ) -> None:
        source = open_frames([np.full((*size, 3), 90, np.uint8)] * 2)
        masks = [made_masks(frame, {1: np.ones(size, bool)}) for frame in range(2)]
        write(OverlayVideo(tmp_path / "overlay.mp4", source), source, masks)
        video = open_frames(tmp_path / "overlay.mp4")
        assert len(video) == 2 and max(video.size) == 8192
        assert "is scaled down from" in caplog.text

    @pytest.mark.parametrize(
        "seconds", [[0, 7200], [0, 7200, 14400, 21600, 28800, 36000], [0, 30_000, 30_001]]
    )
    def test_a_frame_may_be_shown_for_hours(self, tmp_path: Path, seconds: list[float]) -> None:
        source = SlowSource(seconds)
        with OverlayVideo(tmp_path / "overlay.mp4", source) as writer:
            for frame in range(len(seconds)):
                writer.write(
                    np.full((48, 64, 3), 90, np.uint8), made_masks(frame, {1: np.ones((48, 64), bool)})
                )
        video = open_frames(tmp_path / "overlay.mp4")
        assert [video.time(frame) for frame in range(len(video))] == pytest.approx(seconds)

    def test_a_pause_of_years_is_shortened(self, tmp_path: Path) -> None:
        source = SlowSource([0, 1e9, 1e9 + 2])
        with OverlayVideo(tmp_path / "overlay.mp4", source) as writer:
            for frame in range(3):
                writer.write(
                    np.full((48, 64, 3), 90, np.uint8), made_masks(frame, {1: np.ones((48, 64), bool)})
                )
        video = open_frames(tmp_path / "overlay.mp4")
        assert [video.time(frame) for frame in range(3)] == pytest.approx([0, 33_000, 33_002])


class SlowSource:
    """A source whose frames come at given times, in seconds."""

    name, size, fps, pixel_aspect = "slow.mp4", (48, 64), 1 / 7200, Fraction(1)

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = seconds

    def time(self, frame: int) -> float:
        return self._seconds[frame]

    def file_name(self, frame: int) -> str:
        return f"{frame:05d}.jpg"


FULL_DISK = """
import resource, sys
import numpy as np
from masklet.errors import MediaError
from masklet.media import OverlayVideo, open_frames
from masklet.types import Masks

frames = open_frames(np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    with OverlayVideo(sys.argv[1], frames) as video:
        for frame, image in enumerate(frames):
            video.write(image, Masks.empty(frame, frames.size))
except MediaError as error:
    print(error)
"""


def test_a_disk_without_place_for_the_header_is_a_sentence(tmp_path: Path) -> None:
    """A second try to write it ended the process in FFmpeg: hence a process of its own."""
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "clip.mp4"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0 and ended.stdout.endswith("clip.mp4 cannot be written: file too large.\n")
    assert not list(tmp_path.iterdir())
