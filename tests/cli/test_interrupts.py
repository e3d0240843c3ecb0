"""What was done is kept, whatever ends the work: Ctrl-C, or a video that breaks off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from masklet.media import open_frames
from masklet.model import Sam2
from media.made import write_video
from toy_models import clip

from .conftest import Run
from .written import CLICK, results


class Stop:
    """In place of a verb: stops at the nth call."""

    def __init__(self, calls: int, error: BaseException) -> None:
        self.left, self.error, self.encode = calls, error, Sam2.encode

    def __get__(self, model: Sam2, kind: type) -> object:
        def encode(image: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise self.error
            return self.encode(model, image)

        return encode


@pytest.mark.parametrize(("direction", "kept"), [("forward", range(2, 5)), ("both", range(3))])
def test_ctrl_c_keeps_what_was_done(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str, kept: range
) -> None:
    monkeypatch.setattr(Sam2, "encode", Stop(3, KeyboardInterrupt()))
    arguments = (*CLICK, "--frame", 2, "--direction", direction, "--model", shelf / "toy.safetensors")
    answer = run("track", shelf / "clip.mp4", *arguments, "--out", tmp_path / "out")
    assert answer.code == 130 and "interrupted; the partial results are kept" in answer.err
    assert "Traceback" not in answer.err and str(tmp_path / "out" / "overlay.mp4") in answer.out
    assert list(results(tmp_path / "out")) == list(kept)


def test_ctrl_c_before_the_first_mask(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sam2, "encode", Stop(0, KeyboardInterrupt()))
    arguments = (*CLICK, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("track", shelf / "clip.mp4", *arguments)
    assert answer.code == 130 and "Traceback" not in answer.err
    assert results(tmp_path / "out") == {}


def test_a_video_that_breaks_off_keeps_what_was_done(run: Run, shelf: Path, tmp_path: Path) -> None:
    images = clip(24)
    whole = write_video(tmp_path / "whole.mkv", images)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    arguments = (*CLICK, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    answer = run("track", tmp_path / "cut.mkv", *arguments)
    masks = results(tmp_path / "out")
    assert 0 < len(masks) < len(images) and list(masks) == list(range(len(masks)))
    assert str(tmp_path / "out" / "masklets.json") in answer.out
    if answer.code == 0:  # where it was cut between two frames, nobody can tell
        assert len(masks) == len(open_frames(tmp_path / "cut.mkv"))
    else:
        assert answer.code == 1 and "cannot be decoded after frame" in answer.err


@pytest.mark.slow
def test_an_interrupt_from_the_shell(shelf: Path, tmp_path: Path) -> None:
    """The same with a true signal, at any moment."""
    video = write_video(tmp_path / "long.mp4", list(clip(10)) * 60)
    out = tmp_path / "out"
    words = ["track", str(video), *CLICK, "--model", str(shelf / "toy.safetensors"), "--out", str(out)]
    # A shell's background jobs ignore Ctrl-C; these tests may run in one.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    shell = subprocess.Popen(
        [sys.executable, "-c", f"{heeding}; from masklet.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (out / "masks" / "00003.png").exists():
        assert shell.poll() is None
        time.sleep(0.01)
    shell.send_signal(signal.SIGINT)
    output, errors = shell.communicate()
    assert shell.returncode == 130 and "Traceback" not in errors and str(out / "masks") in output
    kept = json.loads((out / "masklets.json").read_text())["frames"]
    assert 3 <= len(kept) < 600 and len(list((out / "masks").iterdir())) in (len(kept), len(kept) + 1)
    with av.open(str(out / "overlay.mp4")) as overlay:
        assert abs(len(list(overlay.decode(video=0))) - len(kept)) <= 1
