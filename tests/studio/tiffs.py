"""A TIFF with two channels: a bright bar at the left in one, at the right in the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

NAMES = ["DAPI", "GFP"]
FRAMES = 3


def write_stack(
    path: Path, size: tuple[int, int] = (48, 64), frames: int = FRAMES, interval: float | None = None
) -> Path:
    tifffile = pytest.importorskip("tifffile")
    height, width = size
    pages = np.full((frames, 2, height, width), 10, dtype=np.uint8)
    pages[:, 0, height // 4 : -height // 4, : width // 3] = 250
    pages[:, 1, height // 4 : -height // 4, -width // 3 :] = 250
    metadata: dict[str, object] = {"axes": "TCYX", "Channel": {"Name": NAMES}}
    if interval is not None:
        metadata |= {"TimeIncrement": interval, "TimeIncrementUnit": "s"}
    tifffile.imwrite(path, pages, ome=True, photometric="minisblack", metadata=metadata)
    return path
