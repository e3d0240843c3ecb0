"""The public face: scripts outside this repository call it, so nothing joins or leaves it by accident."""

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import masklet

# What the plan promises, with the arguments that a caller may name.
PROMISED = {
    "load": {"device", "dtype"},
    "ImageSession": {"model", "image"},
    "ImageSession.segment": {"hint"},
    "track": {"model"},
    "Tracker": {"model"},
    "Tracker.step": {"image"},
    "Tracker.forget": set(),
    "VideoSession": {"model"},
    "VideoSession.prompt": {"frame"},
    "VideoSession.propagate": {"start", "stop", "reverse"},
    "VideoSession.clear": set(),
    "VideoSession.remove": set(),
    "VideoSession.undo": set(),
    "VideoSession.save": {"path"},
    "VideoSession.restore": {"model", "path"},
    "Prompt": {"positive", "negative", "box", "mask"},
    "Masks.label_map": set(),
    "Masks.rle": set(),
}

EXTRAS = {
    "accelerate",
    "fastapi",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "scipy",
    "tensorboard",
    "transformers",
}


def find(path: str) -> object:
    found: object = masklet
    for name in path.split("."):
        found = getattr(found, name)
    return found


def test_what_is_visible_is_what_is_announced() -> None:
    visible = {name for name, thing in vars(masklet).items() if not isinstance(thing, ModuleType)}
    assert {name for name in visible if not name.startswith("_")} == set(masklet.__all__)


@pytest.mark.parametrize("path", PROMISED)
def test_what_the_plan_promises_is_there(path: str) -> None:
    found = find(path)
    assert callable(found)
    assert set(inspect.signature(found).parameters) >= PROMISED[path]


@pytest.mark.parametrize("name", masklet.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    said = getattr(masklet, name).__doc__
    assert said and not said.startswith(f"{name}("), "a dataclass without a docstring of its own"


def test_importing_masklet_needs_no_extra() -> None:
    loaded = "import sys, masklet; print(*{name.partition('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert "torch" in answer.stdout.split()
    assert not EXTRAS.intersection(answer.stdout.split())
