"""Damaged files of each kind are read, or refused in a sentence, soon and in little memory.

MASKLET_FUZZ_RUNS=10000 pytest tests/test_fuzz.py tries more of them; checkpoints take longest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "fuzz_readers.py"
TARGETS = "coco", "annotations", "sav", "prompts", "table", "session", "manifest", "safetensors", "pickle"
RUNS = int(os.environ.get("MASKLET_FUZZ_RUNS", "600"))


def fuzz(target: str, runs: int) -> None:
    pytest.importorskip("atheris", reason="pip install 'masklet[dev]'")
    command = [sys.executable, str(PROGRAM), target, str(runs), "1"]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_are_read_or_refused(target: str) -> None:
    fuzz(target, RUNS)
