from pathlib import Path

import pytest

from masklet.datasets import PngVideo
from masklet.evaluate.samples import find_clips

from .small import write_moving_square


@pytest.fixture
def moving(tmp_path: Path) -> PngVideo:
    write_moving_square(tmp_path / "flat")
    return find_clips(tmp_path / "flat")[0]
