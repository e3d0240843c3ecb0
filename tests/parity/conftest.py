"""What all parity tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("sam2", reason="needs the original, sam2==1.1.0")
pytest.importorskip("transformers")

from parity.trio import SEEDS, Trio, trio_of


@pytest.fixture(params=SEEDS)
def trio(request: pytest.FixtureRequest) -> Trio:
    return trio_of(request.param)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield
