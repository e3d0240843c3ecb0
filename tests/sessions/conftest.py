from __future__ import annotations

import numpy as np
import pytest

from masklet.model import Sam2
from toy_models import Fake, clip, toy_network


@pytest.fixture(scope="session")
def network() -> Sam2:
    return toy_network()


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    return clip(10)
