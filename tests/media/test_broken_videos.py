"""Videos that are not what they say, or not all of it: one clear sentence, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from masklet.errors import MediaError
from masklet.media import NoSuchFrame, open_frames
from media.made import clip, number, numbered, write_video

COUNT = 40


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"there is no file .*gone\.mp4"):
        open_frames(tmp_path / "gone.mp4")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(MediaError, match="is empty"):
        open_frames(path)


def test_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "words.mp4"
    path.write_text("No film, only words. " * 99)
    with pytest.raises(MediaError, match=r"words\.mp4 is not a video"):
        open_frames(path)


def test_a_file_with_sound_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(MediaError, match="contains no video"):
        open_frames(path)


def test_a_file_without_its_head_is_refused(tmp_path: Path) -> None:
    path = clip(tmp_path / "whole.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:-300])  # an MP4's head stands at its end, unless asked otherwise
    with pytest.raises(MediaError, match=r"cut\.mp4 is not a video, or is truncated"):
        open_frames(cut)


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = [numbered(frame) for frame in range(COUNT)]
    for image in images:  # with noise, or all frames would lie in the file's first bytes
        image[12:36] += rng.integers(0, 60, (24, 64, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "whole.mp4", images, options={"movflags": "faststart"})
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    return path


def test_what_decodes_of_a_truncated_file_is_given_and_then_one_error(cut: Path) -> None:
    frames, seen = open_frames(cut), []
    with pytest.raises(MediaError, match=r"cut\.mp4 cannot be decoded after frame \d+"):
        for image in frames:
            seen.append(image)
    whole = open_frames(cut.with_name("whole.mp4"))
    assert 15 < len(seen) < COUNT
    assert all((image == whole[frame]).all() for frame, image in enumerate(seen[:-1]))


def test_frames_of_a_truncated_file(cut: Path) -> None:
    frames = open_frames(cut)
    assert number(frames[12]) == 12
    with pytest.raises(MediaError, match="the rest is missing or damaged") as caught:
        frames[COUNT - 1]
    assert not isinstance(caught.value, NoSuchFrame)
    assert number(frames[13]) == 13
    with pytest.raises(NoSuchFrame):
        frames[COUNT]


def test_sampling_a_truncated_file(cut: Path) -> None:
    with pytest.raises(MediaError, match="the rest is missing or damaged"):
        list(open_frames(cut, fps=5))


@pytest.mark.parametrize("fps", [0, -6, float("nan"), float("inf")])
def test_senseless_rates(tmp_path: Path, fps: float) -> None:
    with pytest.raises(MediaError, match="fps must be above 0"):
        open_frames(clip(tmp_path / "clip.mp4", 5), fps=fps)
