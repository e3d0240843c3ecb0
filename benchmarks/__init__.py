"""Compares masklet with its peers on this machine: the same weights and frames, measured in turns."""

import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
# The parity tests have the code that builds peers and copies weights.
sys.path.append(str(REPO / "tests"))
