"""What every test has: the same seeds, one thread, no network, and the real data where it is at hand."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports huggingface_hub

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

REPO = Path(__file__).parents[1]

collect_ignore = ["fuzz_readers.py"]  # a program that instruments what it imports; tests/test_fuzz.py runs it

# Examples are the same in every run, and a busy machine fails no test.
settings.register_profile(
    "masklet", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("masklet")

# Toy networks gain nothing from threads, and workers that each take all cores stand in each other's way.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What drives a browser or real processes runs once more when it fails; the report counts such reruns."""
    for item in items:
        if item.get_closest_marker("browser") or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.set_num_threads(1)  # a command that was tested may have left more
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """One browser for all tests of a process, in which playwright can be started only once."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'masklet[dev]'")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    options = ["no-sandbox", "disable-gpu", "disable-dev-shm-usage", "use-fake-device-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[f"--{option}" for option in options]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images and clips that lies beside the repository, never in it."""
    folder = REPO.parent / "shared" / "data" / "open"
    if not folder.is_dir():
        pytest.skip(f"needs the data in {folder.relative_to(REPO.parent)}, beside the repository")
    return folder


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are not checked, as they are not outside tests: so that a wrong word meets its own sentence."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
