"""masklet engine: the whole loop on composed clips, and proposals that become a project of the studio."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from .conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_two_rounds_print_their_table(run: Run, tmp_path: Path) -> None:
    small = ("--clips", 2, "--frames", 3, "--size", 128, "--steps", 2)
    answer = run("engine", "demo", "--out", tmp_path, *small)
    assert answer.code == 0, answer.err
    for line in ("Round 1", "Round 2", "all gates", "simulated person", "J&F of held-back clips"):
        assert line in answer.out
    assert answer.out.strip() == (tmp_path / "report.txt").read_text().strip()
    assert (tmp_path / "round-2" / "training" / "model.safetensors").is_file()


def test_what_is_doubtful_is_a_project_of_the_studio(run: Run, shelf: Path, tmp_path: Path) -> None:
    answer = run(
        "engine", "propose", shelf / "clip.mp4", "--out", tmp_path, "--model", shelf / "toy.safetensors"
    )
    assert answer.code == 0, answer.err
    queue = json.loads((tmp_path / "queue.json").read_text())
    if queue:  # a toy network may find nothing
        with sqlite3.connect(tmp_path / "studio" / "studio.db") as database:
            assert database.execute("select count(*) from videos").fetchone()[0] == 1
