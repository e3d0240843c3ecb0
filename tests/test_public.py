"""The public face: scripts outside this repository call it, so nothing joins or leaves it by accident."""

import ast
import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import masklet

# What the plan promises, with the arguments that a caller may name.
PROMISED = {
    "load": {"device", "dtype"},
    "ImageSession": {"model", "image", "zoom"},
    "track": {"model", "policy", "cuts", "delay", "zoom"},
    "Tracker": {"model", "policy", "cuts", "delay", "zoom"},
    "Tracker.step": {"image"},
    "Tracker.forget": set(),
    "VideoSession": {"model", "policy", "cuts", "zoom"},
    "VideoSession.prompt": {"frame"},
    "VideoSession.propagate": {"start", "stop", "reverse"},
    "VideoSession.clear": set(),
    "VideoSession.remove": set(),
    "VideoSession.undo": set(),
    "VideoSession.save": {"path"},
    "VideoSession.restore": {"model", "path"},
    "Prompt": {"positive", "negative", "box", "mask"},
    "ImageSession.segment": {"hint", "candidates"},
    "segment_many": {"model", "images", "prompts", "zoom", "candidates", "batch"},
    "ImageCandidates.as_masks": {"id"},
    "ImageCandidates.select": set(),
    "ImageCandidates.label_map": set(),
    "Masks.label_map": set(),
    "Masks.rle": set(),
    "Masks.numpy": set(),
    "Masks.polygons": {"tolerance"},
    "Masks.to_coco": {"image_id", "category_ids"},
    "Masks.to_supervision": set(),
    "Masks.draw": {"image"},
    "Masks.show": {"image"},
    "Masks.plot": {"image", "ax"},
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
    names = {name for name in dir(masklet) if not name.startswith("_")}
    visible = {name for name in names if not isinstance(getattr(masklet, name), ModuleType)}
    assert visible == set(masklet.__all__)


def test_type_checkers_see_what_is_imported_when_it_is_used() -> None:
    tree = ast.parse(Path(masklet.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom)]
    modules = {name.name: node.module for node in imports for name in node.names}
    assert modules.keys() == set(masklet.__all__)
    for name, module in modules.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(masklet, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Tracer'"):
        masklet.Tracer  # noqa: B018
    assert masklet.media.open_frames is importlib.import_module("masklet.media").open_frames


def test_the_version_is_the_package_s() -> None:
    assert masklet.__version__ == importlib.metadata.version("masklet")


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
    use_all = "import masklet; [getattr(masklet, name) for name in masklet.__all__]"
    loaded = packages_after(use_all)
    assert "torch" in loaded and not EXTRAS.intersection(loaded)


@pytest.mark.parametrize(
    "code", ["import masklet", "import masklet.cli", "import masklet; masklet.MediaError"]
)
def test_importing_masklet_loads_nothing_heavy(code: str) -> None:
    assert not {"torch", "numpy", "cv2", "av", "PIL", "rich"}.intersection(packages_after(code))


def test_loading_weights_does_not_import_torchs_compiler() -> None:
    """It takes longer than all the rest."""
    assert "sympy" not in packages_after("import masklet; masklet.load(device='cpu', engine='torch')")


def packages_after(code: str) -> set[str]:
    """The top-level packages that a new interpreter has loaded after running some code."""
    report = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_prompts_need_no_torch() -> None:
    # masklet.onnx.Tracker runs where torch is not installed, and takes prompts.
    program = (
        "import sys; sys.modules['torch'] = None; import masklet; print(masklet.Prompt(positive=[(1, 2)]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
