"""The page's types and the API's reference are generated from what the server sends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_types_and_reference_are_not_stale() -> None:
    command = [sys.executable, str(ROOT / "dev" / "studio_api.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
