"""Stored videos: every frame in order, alone and exactly; and their times."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from masklet.errors import MediaError
from masklet.media import NoSuchFrame, open_frames
from masklet.media.readers import decoding, videos
from masklet.media.readers.frames import CACHED_FRAMES
from media.made import number, numbered, write_video

COUNT = 40
# Containers with an index, without one, with times of another kind, and with none at all.
KINDS = {
    "b-frames.mp4": {},
    "one-keyframe.mp4": {"gop": 1000},
    "open-gop.mp4": {"tuning": {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=4:b-adapt=0"}},
    "all-keyframes.mp4": {"gop": 1, "b_frames": 0},
    "b-frames.mkv": {},
    "b-frames.ts": {},
    "mpeg2.ts": {"codec": "mpeg2video", "b_frames": 2},
    "raw.h264": {},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0},
    "b-frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    images = [numbered(frame) for frame in range(COUNT)]
    return {name: write_video(folder / name, images, **how) for name, how in KINDS.items()}


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, clips: dict[str, Path]) -> Path:
    return clips[request.param]


def test_frames_come_in_order(path: Path) -> None:
    frames = open_frames(path)
    assert [number(image) for image in frames] == list(range(COUNT))
    assert len(frames) == COUNT
    assert frames.size == (48, 64) and frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8
    assert frames.fps == pytest.approx(25)
    assert frames.name == path.name


def test_the_clips_have_b_frames(clips: dict[str, Path]) -> None:
    for name in ("b-frames.mp4", "b-frames.mkv", "b-frames.ts", "b-frames.avi"):
        with av.open(str(clips[name])) as container:
            kinds = {frame.pict_type for frame in container.decode(video=0)}
        assert av.video.frame.PictureType.B in kinds, name


def test_any_frame_alone_is_what_playing_shows(path: Path) -> None:
    frames = open_frames(path)
    played = list(frames)
    order = random.Random(0).choices(range(COUNT), k=60)
    assert all((frames[frame] == played[frame]).all() for frame in order)


@pytest.mark.parametrize("start", [0, 1, 11, 12, 13, COUNT - 1])
def test_playing_from_the_middle(path: Path, start: int) -> None:
    frames = open_frames(path)
    played = list(islice(frames, start, None))
    assert np.array_equal(np.array(list(frames.play(start))), np.array(played))


def test_stepping_back_is_exact_and_decodes_each_stretch_once(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = open_frames(clips["one-keyframe.mp4"])
    played = list(frames)
    frames[COUNT - 1]
    decoded = count_decoded(monkeypatch)
    assert all((frames[frame] == played[frame]).all() for frame in reversed(range(COUNT)))
    assert len(decoded) < 3 * COUNT + videos.CHECKED  # and not COUNT**2 / 2


def test_the_step_back_keeps_few_frames(clips: dict[str, Path]) -> None:
    frames = open_frames(clips["b-frames.mp4"])
    for frame in [*range(COUNT), *reversed(range(COUNT))]:
        frames[frame]
    assert len(frames._cache) == CACHED_FRAMES


def test_opening_and_counting_decode_next_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("long.mp4", "long.mkv"):
        path = write_video(tmp_path / name, [numbered(frame % 200) for frame in range(600)], gop=50)
        decoded = count_decoded(monkeypatch)
        frames = open_frames(path)
        assert len(decoded) == 1
        assert len(frames) == 600
        assert len(decoded) <= 1 + videos.CHECKED
        assert number(frames[599]) == 599 % 200
        assert len(decoded) <= 1 + videos.CHECKED + 50


def test_asking_frame_after_frame_decodes_each_once(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoded(monkeypatch)
    frames = open_frames(clips["b-frames.mp4"])
    assert [number(frames[frame]) for frame in range(COUNT)] == list(range(COUNT))
    assert len(decoded) == COUNT


def test_threads_may_share_frames(clips: dict[str, Path]) -> None:
    frames = open_frames(clips["b-frames.mp4"])
    with ThreadPoolExecutor(4) as pool:
        order = random.Random(0).choices(range(COUNT), k=80)
        assert list(pool.map(lambda frame: number(frames[frame]), order)) == order


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_honoured(tmp_path: Path, rotation: int) -> None:
    image = numbered(5)
    frames = open_frames(write_video(tmp_path / "turned.mp4", [image] * 3, rotation=rotation))
    upright = np.rot90(image, rotation // 90)  # counterclockwise, as the metadata counts
    assert frames.size == upright.shape[:2] == frames[0].shape[:2]
    assert np.abs(frames[2].astype(int) - upright).mean() < 8


def test_odd_sizes(tmp_path: Path) -> None:
    images = [numbered(frame, (49, 65)) for frame in range(3)]
    frames = open_frames(write_video(tmp_path / "odd.avi", images, codec="mpeg4"))
    assert frames.size == (49, 65)
    assert [number(image) for image in frames] == [0, 1, 2]


class TestTimes:
    TIMES = (0, 40, 60, 200, 210, 500, 1000, 1040)

    @pytest.fixture(params=["vfr.mp4", "vfr.mkv"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        images = [numbered(frame) for frame in range(len(self.TIMES))]
        return write_video(tmp_path / request.param, images, times=self.TIMES)

    def test_times_are_kept(self, path: Path) -> None:
        frames = open_frames(path)
        assert [frames.time(frame) for frame in range(len(frames))] == pytest.approx(
            [t / 1000 for t in self.TIMES]
        )

    def test_sampling_takes_what_is_on_show(self, path: Path) -> None:
        frames = open_frames(path, fps=10)
        # At 0, 100, ..., 1000 ms.
        expected = [0, 2, 3, 4, 4, 5, 5, 5, 5, 5, 6]
        assert len(frames) == len(expected)
        assert frames.fps == 10 and frames.time(3) == pytest.approx(0.3)
        assert [number(image) for image in frames] == expected
        assert [number(frames[frame]) for frame in range(len(expected))] == expected
        assert [number(frames[frame]) for frame in reversed(range(len(expected)))] == expected[::-1]
        assert [number(image) for image in frames.play(4)] == expected[4:]
        with pytest.raises(NoSuchFrame, match="11 frames, 0 to 10"):
            frames[11]

    def test_a_time_behind_the_end(self, path: Path) -> None:
        with pytest.raises(NoSuchFrame):
            open_frames(path).time(len(self.TIMES))


@pytest.mark.parametrize("fps, expected", [(6.25, range(0, COUNT, 4)), (25, range(COUNT))])
def test_sampling_a_steady_video(path: Path, fps: float, expected: range) -> None:
    frames = open_frames(path, fps=fps)
    assert [number(image) for image in frames] == list(expected)
    assert len(frames) == len(expected)
    assert number(frames[2]) == expected[2]


def test_sampling_opened_frames(clips: dict[str, Path]) -> None:
    frames = open_frames(clips["b-frames.mp4"])
    assert open_frames(frames) is frames
    assert number(open_frames(frames, fps=5)[1]) == 5


def test_what_an_edit_list_hides_is_no_frame(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, hidden = tmp_path / "trimmed.mp4", 5
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(clips["b-frames.mp4"])) as whole, av.open(str(path), "w", options=options) as trimmed:
        stream = trimmed.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.pts -= hidden * packet.duration
                packet.dts -= hidden * packet.duration
                packet.stream = stream
                trimmed.mux(packet)
    decoded = count_decoded(monkeypatch)
    frames = open_frames(path)
    assert len(frames) == COUNT - hidden
    assert len(decoded) <= 1 + videos.CHECKED
    assert [number(image) for image in frames] == list(range(hidden, COUNT))
    assert [number(frames[frame]) for frame in (20, 0, 9)] == [20 + hidden, hidden, 9 + hidden]


class TestFrameBeyondTheEnd:
    @pytest.mark.parametrize("frame", [COUNT, COUNT + 1000, -1])
    def test_the_error_names_the_frames_that_there_are(self, path: Path, frame: int) -> None:
        frames = open_frames(path)
        with pytest.raises(
            NoSuchFrame, match=rf"{path.name} has 40 frames, 0 to 39. Got frame {frame}\."
        ) as caught:
            frames[frame]
        assert isinstance(caught.value, IndexError)

    def test_after_the_last_was_read(self, path: Path) -> None:
        frames = open_frames(path)
        assert number(frames[COUNT - 1]) == COUNT - 1
        with pytest.raises(NoSuchFrame):
            frames[COUNT]
        assert number(frames[COUNT - 2]) == COUNT - 2

    def test_playing_from_there_is_refused(self, path: Path) -> None:
        with pytest.raises(NoSuchFrame):
            next(open_frames(path).play(COUNT))


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with every image that is decoded from now on."""
    decoded: list[None] = []
    iterate = decoding.DecodingPass.__iter__

    def counted(self):
        for image in iterate(self):
            decoded.append(None)
            yield image

    monkeypatch.setattr(decoding.DecodingPass, "__iter__", counted)
    return decoded


def test_a_video_that_is_replaced_while_it_is_open(tmp_path: Path) -> None:
    """Its frames would be mixed with those of the other; one that grows goes on."""
    path = tmp_path / "clip.mp4"
    write_video(path, np.stack([numbered(frame) for frame in range(6)]))
    frames = open_frames(path)
    assert len(frames) == 6
    with path.open("ab") as file:
        file.write(bytes(64))
    assert len([frame for frame in frames]) == 6
    write_video(tmp_path / "other.mp4", np.stack([numbered(60 + frame) for frame in range(6)]))
    (tmp_path / "other.mp4").replace(path)
    with pytest.raises(MediaError, match="was replaced or changed since it was opened"):
        list(frames.play())
    assert len(list(open_frames(path).play())) == 6
