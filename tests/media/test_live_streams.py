"""What is seen once: cameras, iterators."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from masklet.errors import MediaError
from masklet.media import NoSuchFrame, Source, open_frames, stream
from media.made import clip, number, numbered


class FakeCamera:
    """A camera for OpenCV: BGR, an image every few milliseconds, then no more."""

    opened: ClassVar[list[object]]
    ended: ClassVar[threading.Event]
    released = 0
    count = 20
    wait = 0.005

    def __init__(self, camera: object) -> None:
        self.opened.append(camera)
        self._taken = 0

    def isOpened(self) -> bool:
        return self.count > 0

    def get(self, what: int) -> float:
        return 30.0 if what == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(self.wait)
        self._taken += 1
        if self._taken > self.count:
            self.ended.set()
            return False, None
        return True, numbered(self._taken - 1)[..., ::-1].copy()

    def release(self) -> None:
        type(self).released += 1


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> type[FakeCamera]:
    class Camera(FakeCamera):
        opened: ClassVar[list[object]] = []
        ended: ClassVar[threading.Event] = threading.Event()

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    return Camera


class TestCamera:
    @pytest.mark.parametrize("source, opened", [(0, 0), ("1", 1), ("rtsp://gate/1", "rtsp://gate/1")])
    def test_numbers_and_addresses_open_a_camera(
        self, camera: type[FakeCamera], source: object, opened: object
    ) -> None:
        frames = stream(source)
        assert camera.opened == [opened]
        assert frames.fps == 30 and frames.size == (48, 64)

    @pytest.mark.parametrize("number", [-1, 100, 1900, 10**20, True, "1900", "9" * 5000])
    def test_a_number_that_no_camera_has(self, camera: type[FakeCamera], number: object) -> None:
        with pytest.raises(MediaError, match=r"whole number from 0 to 99|there is no file|cannot be opened"):
            stream(number)
        assert not camera.opened

    def test_frames_are_rgb_and_timed_by_the_clock(self, camera: type[FakeCamera]) -> None:
        frames = stream(0)
        image = next(frames)
        assert tuple(image[-1, -1]) == (220, 30, 30)
        time.sleep(0.03)
        next(frames)
        assert frames.time(0) == 0 and frames.time(1) > 0

    def test_who_is_slow_sees_the_newest(self, camera: type[FakeCamera]) -> None:
        frames = stream(0)
        next(frames)
        assert camera.ended.wait(60), "the camera has shown its last image"
        assert [number(image) for image in frames] == [camera.count - 1]
        assert frames.skipped == camera.count - 2

    def test_who_keeps_up_skips_nothing(self, camera: type[FakeCamera]) -> None:
        camera.wait = 0.05
        frames = stream(0)
        seen = [number(image) for image in frames]
        assert frames.skipped == camera.count - len(seen)
        assert frames.age() < 60

    def test_the_age_of_a_frame_grows_from_when_it_came(self, camera: type[FakeCamera]) -> None:
        frames = stream(0)
        next(frames)
        before = frames.age()
        time.sleep(0.05)
        assert frames.age() >= before + 0.05
        assert stream(iter([numbered(0)])).age() == 0

    def test_the_camera_is_let_go(self, camera: type[FakeCamera]) -> None:
        camera.count = 10_000
        frames = stream(0)
        next(frames)
        del frames
        deadline = time.monotonic() + 60
        while not camera.released and time.monotonic() < deadline:
            time.sleep(0.01)
        assert camera.released == 1

    def test_no_camera(self, camera: type[FakeCamera]) -> None:
        camera.count = 0
        with pytest.raises(MediaError, match="camera 3 cannot be opened"):
            stream(3)


class TestIterator:
    def test_generator(self) -> None:
        def images() -> Iterator[np.ndarray]:
            yield from (numbered(frame) for frame in range(5))

        frames = stream(images())
        assert isinstance(frames, Source)
        assert [number(image) for image in frames] == list(range(5))
        assert frames.time(4) == pytest.approx(4 / 24) and frames.file_name(4) == "00004.jpg"
        with pytest.raises(NoSuchFrame):
            frames.time(5)

    def test_it_takes_one_frame_at_a_time(self) -> None:
        taken: list[int] = []

        def images() -> Iterator[np.ndarray]:
            for frame in range(100):
                taken.append(frame)
                yield numbered(frame)

        frames = stream(images())
        next(frames)
        next(frames)
        assert taken == [0, 1]

    def test_a_stream_without_frames_is_refused(self) -> None:
        with pytest.raises(MediaError, match="has no frames"):
            stream(iter(()))

    def test_sizes_must_agree(self) -> None:
        with pytest.raises(MediaError, match=r"one size.*frame 1 has \(50, 64\)"):
            list(stream(iter([numbered(0), numbered(1, (50, 64))])))

    def test_a_stream_is_a_stream(self) -> None:
        frames = stream(iter([numbered(0)]))
        assert stream(frames) is frames


@pytest.mark.parametrize("opened", [False, True])
def test_stored_video(tmp_path: Path, opened: bool) -> None:
    path = clip(tmp_path / "clip.mp4", 10)
    frames = stream(open_frames(path) if opened else str(path))
    assert [number(image) for image in frames] == list(range(10))
    assert frames.name == "clip.mp4" and frames.fps == pytest.approx(25)
    assert frames.time(9) == pytest.approx(9 / 25)


PROGRAM = """
import time
import cv2, numpy as np
class Camera:
    def __init__(self, camera): pass
    def isOpened(self): return True
    def get(self, what): return 30.0
    def read(self):
        time.sleep(0.2)
        return True, np.zeros((8, 8, 3), np.uint8)
    def release(self): print("released", flush=True)
cv2.VideoCapture = Camera
from masklet.media import stream
frames = stream(0)
next(frames)
print("done", flush=True)
"""


def test_a_program_that_ends_within_a_stream_releases_the_camera() -> None:
    """A thread that is killed inside OpenCV would abort the process: "FATAL: exception not rethrown"."""
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (answer.returncode, answer.stdout.split(), answer.stderr) == (0, ["done", "released"], "")
