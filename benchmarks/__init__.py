"""Side by side with the peers: the same weights, the same frames, in turns, on this machine."""

import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
# Peers are built, and weights carried over, as the parity tests do it.
sys.path.append(str(REPO / "tests"))
