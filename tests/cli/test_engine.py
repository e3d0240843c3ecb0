"""masklet engine: the whole loop on composed clips, and proposals that become a project of the studio."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from masklet.engine.gates import read_limits

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
    assert again.code == 0 and "has the proposals of these videos already" in again.out
    other = run(
        *("engine", "propose", shelf / "clip.mp4", "--out", tmp_path, "--max-objects", 3),
        *("--model", shelf / "toy.safetensors"),
    )
    assert other.code == 1 and "with other max_objects (8): choose another folder" in other.err
