"""kill -9 at random moments: what is finished is recognised again, and nothing is half there."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from masklet.media import read_masklets
from masklet.run_folder import Manifest, Run, RunFolder
from random_kills import kill_at_work

from .conftest import LENGTH
from .written import CLICK

COMMANDS = {
    "track": ("track", *CLICK),
    "everything": ("everything", "--points-per-side", "4", "--pred-iou-thresh", "0"),
}


def start(*words: object) -> int:
    """Start masklet without a terminal, and return the process's id."""
    silence = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in range(3)]
    command = [sys.executable, "-m", "masklet", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return os.posix_spawn(sys.executable, command, environment, file_actions=silence)


class Watch:
    """Counts the files that are written into a folder, each as often as it is written anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self.count = folder, dict[str, int](), 0

    def __call__(self) -> int:
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):  # it was a temporary one
                    written = os.stat(path).st_ino
                    self.count += self.seen.get(path) != written
                    self.seen[path] = written
        return self.count


def check(folder: Path) -> bool:
    """Whether a folder has complete results; these are checked."""
    manifest = Manifest.read(folder)
    if manifest is None:
        return False
    run = Run(manifest.run.command, manifest.run.version, manifest.run.settings, manifest.run.inputs)
    finished = RunFolder(folder, run, list(manifest.files))
    if not finished.is_done:
        return False
    assert len(list(read_masklets(folder / "masklets.json"))) == LENGTH
    assert len(list((folder / "masks").iterdir())) == LENGTH
    assert (folder / "overlay.mp4").stat().st_size
    return True


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kills", [10])
def test_what_is_finished_before_a_kill_is_found_again(
    shelf: Path, tmp_path: Path, command: str, kills: int
) -> None:
    """A batch of videos is killed again and again; a finished video is never tracked twice.

    MASKLET_KILLS=60 kills it 60 times.
    """
    kills = int(os.environ.get("MASKLET_KILLS", kills))
    count = 2 * kills + 3  # videos, so many that each process has one to track when it is killed
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(count):
        (videos / f"{number}.mp4").symlink_to(shelf / "clip.mp4")
    out = tmp_path / "out"
    name, *options = COMMANDS[command]
    words = (name, videos, *options, "--model", shelf / "toy.safetensors", "--out", out)
    finished = dict[str, int]()

    def begin() -> int:
        """Check what the processes before left, and start another."""
        for folder in out.glob("[0-9]*"):
            if check(folder):
                written = (folder / "masklets.json").stat().st_mtime_ns
                assert finished.setdefault(folder.name, written) == written, "a finished video ran again"
        return start(*words)

    kill_at_work(begin, Watch(out), kills, most=3 * LENGTH)
    assert finished, "no video was finished before a kill"
    _, status = os.waitpid(start(*words), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert all(check(out / str(number)) for number in range(count))
    for name, written in finished.items():
        assert (out / name / "masklets.json").stat().st_mtime_ns == written, "a finished video ran again"
    assert not [path for path in out.rglob(".*")], "temporary files"
