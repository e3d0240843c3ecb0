"""Containers of many kinds, read as FFmpeg's own programs read them: frames, order, times, sides, aspect."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from masklet.media import open_frames
from media.made import numbered, write_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="needs Debian's package ffmpeg"
    ),
]

COUNT = 30
# What ffmpeg writes, from 30 frames of a test image: name -> options of the output.
WRITTEN = {
    "h264.mp4": "-c:v libx264 -g 12 -bf 3",
    "h264-faststart.mp4": "-c:v libx264 -movflags faststart",
    "fragmented.mp4": "-c:v libx264 -movflags frag_keyframe+empty_moov",
    "h265.mp4": "-c:v libx265 -x265-params log-level=none",
    "h264.mov": "-c:v libx264",
    "h264.mkv": "-c:v libx264",
    "h264.ts": "-c:v libx264",
    "h264.flv": "-c:v libx264",
    "h264.avi": "-c:v libx264 -bf 0",
    "raw.264": "-c:v libx264",
    "mpeg4.mp4": "-c:v mpeg4",
    "mpeg4.avi": "-c:v mpeg4 -bf 2",
    "mpeg2.mpg": "-c:v mpeg2video -bf 2",
    "mpeg2.ts": "-c:v mpeg2video",
    "mjpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p",
    "ffv1.mkv": "-c:v ffv1",
    "rgb.avi": "-c:v rawvideo -pix_fmt bgr24",
    "png.mov": "-c:v png -pix_fmt rgb24",
    "prores.mov": "-c:v prores_ks",
    "ten-bits.mp4": "-c:v libx264 -pix_fmt yuv420p10le",
    "yuv444.mp4": "-c:v libx264 -pix_fmt yuv444p",
    "full-range.mp4": "-c:v libx264 -pix_fmt yuvj420p",
    "vp8.webm": "-c:v libvpx -deadline realtime -cpu-used 8",
    "vp8-hidden-frames.webm": "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -b:v 200k",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8",
    "theora.ogv": "-c:v libtheora",
    "gif.gif": "",
    "apng.apng": "-f apng",
    "y4m.y4m": "",
    "wide-pixels.mp4": "-c:v libx264 -vf setsar=16/11",
    "wide-pixels.mkv": "-c:v libx264 -vf setsar=16/11",
    "wide-pixels.webm": "-c:v libvpx -deadline realtime -cpu-used 8 -vf setsar=2",
    "odd-sides.mkv": "-c:v ffv1 -vf scale=97:63",
    "varying-rate.mp4": "-c:v libx264 -vf select='not(between(n\\,5\\,9)+eq(n\\,20))' -fps_mode vfr",
    "varying-rate.mkv": "-c:v libx264 -vf select='not(between(n\\,5\\,9)+eq(n\\,20))' -fps_mode vfr",
    "late-start.ts": "-c:v libx264 -output_ts_offset 100",
    "interlaced.mp4": "-c:v libx264 -flags +ilme+ildct -x264opts interlaced=1",
    "with-sound.mp4": "-c:v libx264 -c:a aac -map 0:v -map 1:a",
}
TURNS = [(degrees, flip) for degrees in (0, 90, 180, 270) for flip in (False, True)]


def run(*command: str | Path) -> bytes:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout


def probe(path: Path) -> tuple[tuple[int, int], str, list[float]]:
    """Coded (H, W), aspect of the pixels, and times of the frames from the first on."""
    entries = "stream=width,height,sample_aspect_ratio:frame=best_effort_timestamp_time"
    out = json.loads(
        run("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", path)
    )
    stream = out["streams"][0]
    times = [float(frame.get("best_effort_timestamp_time", "nan")) for frame in out["frames"]]
    aspect = stream.get("sample_aspect_ratio", "1:1").replace(":", "/")
    return (stream["height"], stream["width"]), aspect, [time - times[0] for time in times]


def decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """All frames as ffmpeg shows them: turned, and none left out or repeated."""
    out = run("ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough",
              "-f", "rawvideo", "-pix_fmt", "rgb24", "-")  # fmt: skip
    return np.frombuffer(out, np.uint8).reshape(-1, *size, 3)


@pytest.mark.parametrize("name", WRITTEN)
def test_frames_times_and_aspect(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sources = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25", "-f", "lavfi", "-i", "sine=duration=1"]
    run("ffmpeg", "-v", "error", *sources, "-frames:v", f"{COUNT}", "-an" if "sound" not in name else "-y",
        *(WRITTEN[name].replace("'", "").split() or ["-y"]), path)  # fmt: skip
    size, aspect, times = probe(path)
    frames = open_frames(path)
    expected = decode(path, size)
    played = np.stack(list(frames))
    assert frames.size == size
    assert frames.pixel_aspect == (1 if aspect in ("1/1", "0/1", "N/A") else pytest.approx(eval(aspect)))
    assert len(frames) == len(expected) == len(played)
    tolerance = 12 if name in ("ten-bits.mp4", "interlaced.mp4") else 3  # dither, and chroma by fields
    assert np.abs(played.astype(int) - expected).mean(axis=(1, 2, 3)).max() < tolerance
    if not np.isnan(times).any() and name != "raw.264":
        assert [frames.time(frame) for frame in range(len(frames))] == pytest.approx(times, abs=2e-3)
    order = random.Random(0).sample(range(len(frames)), len(frames))
    assert all((frames[frame] == played[frame]).all() for frame in order)


@pytest.mark.parametrize("degrees, flip", TURNS)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_display_matrices(tmp_path: Path, degrees: int, flip: bool, suffix: str) -> None:
    path = write_video(
        tmp_path / f"turned.{suffix}", [numbered(n) for n in range(4)], rotation=degrees, flip=flip
    )
    frames = open_frames(path)
    assert np.abs(np.stack(list(frames)).astype(int) - decode(path, frames.size)).mean() < 3


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.mkv", "h264.ts", "mpeg4.avi", "mpeg2.mpg", "vp9.webm", "mjpeg.avi"]
)
@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes(tmp_path: Path, name: str, seed: int) -> None:
    path, rng = tmp_path / name, random.Random(seed)
    source = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25"]
    run("ffmpeg", "-v", "error", *source, "-frames:v", f"{COUNT}", *WRITTEN[name].split(), path)
    data = bytearray(path.read_bytes())
    start = len(data) // 3
    for _ in range(3):  # in the middle: heads and indices stay whole
        position = rng.randrange(start, 2 * start)
        data[position : position + 12] = rng.randbytes(12)
    path.write_bytes(data)
    expected = decode(path, (64, 96))
    frames = open_frames(path)
    played = list(frames)
    assert len(played) >= len(expected) and len(played) == len(frames)
    order = rng.sample(range(len(frames)), len(frames))
    assert all(frames[frame].shape == (64, 96, 3) for frame in order)
