"""What all parity tests share. They are left out where the two references are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from parity.trio import Trio

REFERENCES = all(find_spec(name) is not None for name in ("sam2", "transformers"))
collect_ignore_glob = [] if REFERENCES else ["test_*.py"]
if REFERENCES:
    import parity.original  # noqa: F401  the original package needs its stand-in for torchvision first


@pytest.fixture(params=["2.0", "2.1"])
def trio(request: pytest.FixtureRequest) -> Trio:
    from parity.trio import trio_of

    return trio_of(request.param)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield
