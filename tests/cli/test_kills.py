"""kill -9 at random moments: what is finished is recognised again, and nothing is half there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from masklet.media import read_masklets
from masklet.run_folder import Manifest, Run, RunFolder

from .conftest import LENGTH
from .written import CLICK

COMMANDS = {
    "track": ("track", *CLICK),
    "everything": ("everything", "--points-per-side", "4", "--pred-iou-thresh", "0"),
}


def start(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "masklet", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


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
    """A batch of four videos is killed again and again; a finished video is never tracked twice.

    MASKLET_KILLS=60 kills it 60 times.
    """
    kills = int(os.environ.get("MASKLET_KILLS", kills))
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(4):
        (videos / f"{number}.mp4").symlink_to(shelf / "clip.mp4")
    out = tmp_path / "out"
    name, *options = COMMANDS[command]
    words = (name, videos, *options, "--model", shelf / "toy.safetensors", "--out", out)
    draw, finished = random.Random(command), dict[str, int]()
    for _ in range(kills):
        process = start(*words)
        time.sleep(draw.uniform(0.5, 12))
        process.kill()
        process.wait()
        for folder in out.glob("[0-9]"):
            if check(folder):
                written = (folder / "masklets.json").stat().st_mtime_ns
                assert finished.setdefault(folder.name, written) == written, "a finished video ran again"
    assert start(*words).wait() == 0
    assert all(check(out / str(number)) for number in range(4))
    assert not [path for path in out.rglob(".*")], "temporary files"
