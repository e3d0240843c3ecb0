"""masklet engine: the whole loop on composed clips, and proposals that become a project of the studio."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masklet import rle
from masklet.engine import proposal_folder, proposals
from masklet.engine.gates import read_limits
from masklet.engine.proposals import Masklet, Measures
from masklet.media import Frames

from .conftest import Run

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.slow
def test_two_rounds_print_their_table(run: Run, tmp_path: Path) -> None:
    small = ("--clips", 1, "--frames", 3, "--size", 128, "--steps", 1, "--points", 4, "--max-objects", 2)
    answer = run("engine", "demo", "--out", tmp_path, *small)
    assert answer.code == 0, answer.err
    for line in ("Calibration", "Round 1", "Round 2", "all gates", "simulated person", "J&F in validation"):
        assert line in answer.out
    command, *lines = (tmp_path / "report.txt").read_text().strip().splitlines()
    assert command.startswith("$ masklet engine demo") and lines == answer.out.strip().splitlines()
    assert read_limits(tmp_path / "gates.json")
    scores = re.search(r"All rounds, J&F on test clips: (\S+) before, (\S+) after", answer.out)
    assert scores is not None
    is_better = float(scores[2]) > float(scores[1])
    assert is_better or "The loop did not make the model better" in answer.out
    steps = {path: path.stat().st_mtime_ns for path in (tmp_path / "steps").iterdir()}
    again = run("engine", "demo", "--out", tmp_path, *small)
    assert again.out == answer.out, "a second run goes on where the first one stopped: at its end"
    assert steps == {path: path.stat().st_mtime_ns for path in (tmp_path / "steps").iterdir()}
    other = run("engine", "demo", "--out", tmp_path, *small, "--rate", "1e-3")
    assert (
        other.code == 1 and "masklet engine demo with other rate (0.0001): choose another folder" in other.err
    )


@pytest.mark.slow
def test_what_is_doubtful_is_a_project_of_the_studio(run: Run, shelf: Path, tmp_path: Path) -> None:
    answer = run(
        "engine", "propose", shelf / "clip.mp4", "--out", tmp_path, "--model", shelf / "toy.safetensors"
    )
    assert answer.code == 0, answer.err
    queue = json.loads((tmp_path / "queue.json").read_text())
    if queue:  # a toy network may find nothing
        with sqlite3.connect(tmp_path / "studio" / "studio.db") as database:
            assert database.execute("select count(*) from videos").fetchone()[0] == 1
    again = run(
        "engine", "propose", shelf / "clip.mp4", "--out", tmp_path, "--model", shelf / "toy.safetensors"
    )
    assert again.code == 0 and "already has the proposals for these videos" in again.out
    other = run(
        *("engine", "propose", shelf / "clip.mp4", "--out", tmp_path, "--max-objects", 3),
        *("--model", shelf / "toy.safetensors"),
    )
    assert other.code == 1 and "with other max_objects (8): choose another folder" in other.err
    if queue:
        shutil.copy(shelf / "clip.mp4", tmp_path / "more.mp4")
        more = run(
            *("engine", "propose", shelf / "clip.mp4", tmp_path / "more.mp4", "--out", tmp_path),
            *("--model", shelf / "toy.safetensors"),
        )
        assert more.code == 0, more.err
        with sqlite3.connect(tmp_path / "studio" / "studio.db") as database:
            assert database.execute("select count(*) from projects").fetchone()[0] == 2
            assert database.execute("select count(*) from videos").fetchone()[0] == 2


def test_a_video_that_cannot_be_read_does_not_end_the_others(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two masklets of each clip: one passes the gates, the other waits for a review."""
    asked, written = list[str](), list[tuple[int, list[str]]]()
    good = Measures(0.9, 9.0, 0.9, 0.95, 1.1)

    def propose(model: object, frames: Frames, **options: object) -> list[Masklet]:
        asked.append(frames.name)
        codes = (rle.encode(np.eye(*frames.size, dtype=bool)),) * len(frames)
        return [Masklet("", 1, codes, good), Masklet("", 2, codes, Measures(0.1, 0.1, 0.1, 0.1, 9.0))]

    def write(out: Path, model: object, queue: Sequence[Masklet], number: int) -> None:
        written.append((number, [Path(masklet.video).name for masklet in queue]))

    monkeypatch.setattr(proposals, "propose_masklets", propose)
    monkeypatch.setattr(proposal_folder, "write_project", write)
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copy(shelf / "clip.mp4", videos / "c.mp4")
    shutil.copy(shelf / "clip.mp4", videos / "a.mp4")
    (videos / "b.mp4").write_bytes(b"no video")
    command: tuple[Any, ...] = (
        "engine",
        "propose",
        videos,
        "--out",
        out,
        "--model",
        shelf / "toy.safetensors",
    )
    answer = run(*command)
    assert answer.code == 1 and "b.mp4" in answer.err and "2 of 4 masklets pass all gates" in answer.out
    assert [(out / "accepted" / name / "sav.json").is_file() for name in "abc"] == [True, False, True]
    assert written == [(1, ["a.mp4", "c.mp4"])] and asked == ["a.mp4", "c.mp4"]
    assert run(*command).code == 1 and asked == ["a.mp4", "c.mp4"] and len(written) == 1
    shutil.copy(shelf / "clip.mp4", videos / "b.mp4")
    answer = run(*command)
    assert answer.code == 0 and "3 of 6 masklets pass all gates" in answer.out
    assert asked == ["a.mp4", "c.mp4", "b.mp4"] and written[1:] == [(2, ["b.mp4"])]
    assert len(json.loads((out / "queue.json").read_text())) == 3
    assert "already has the proposals for these videos" in run(*command).out and len(written) == 2


def test_an_unknown_model_leaves_no_folder(run: Run, shelf: Path, tmp_path: Path) -> None:
    """The folder would be of a run with that model, and refuse the same command with another."""
    answer = run("engine", "propose", shelf / "clip.mp4", "--out", tmp_path / "out", "--model", "nope")
    assert answer.code == 1 and "there is no model 'nope'" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["propose --max-objects -1 clip.mp4", "demo --size 0", "demo --points 0"])
def test_numbers_below_the_first_possible_one_are_refused(run: Run, tmp_path: Path, command: str) -> None:
    """A negative number of objects counted from the end of the list."""
    answer = run("engine", *command.split(), "--out", tmp_path / "out")
    assert answer.code == 2 and f"'{command.split()[1]}': " in answer.err
