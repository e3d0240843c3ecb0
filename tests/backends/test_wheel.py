"""A wheel carries compiled kernels: the right ones are chosen, and no compiler is needed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from masklet.backends.native import library

REPO = Path(__file__).parents[2]
USE_THE_WHEEL = """
import json, shutil, numpy as np, masklet
from masklet.backends.native import library
model = masklet.load()
image = np.zeros((48, 64, 3), np.uint8)
masks = masklet.ImageSession(model, image).segment(masklet.Prompt(positive=[(30, 20)]))
print(json.dumps({
    "file": masklet.__file__, "compiler": library.find_compiler(), "missing": library.missing(),
    "loaded": library.library()._name, "shape": masks[0].shape,
    "attend": [row.runs_on for row in model.backend.explain() if row.verb == "attend"],
}))
"""


@pytest.fixture
def prebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a library for each set of instructions."""
    monkeypatch.setattr(library, "PREBUILT", tmp_path)
    for instructions in library.INSTRUCTIONS:
        library.prebuilt_path(instructions).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        (library.REQUIRED | library.AVX512_VNNI | {"sse"}, "avx512_vnni"),
        (library.REQUIRED | library.AVX512_VNNI - {"avx512_vnni"}, "avx2"),
        (library.REQUIRED, "avx2"),
    ],
)
def test_the_cpu_chooses_the_library(
    prebuilt: Path, flags: set[str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "cpu_flags", lambda: frozenset(flags))
    path = library.find_prebuilt()
    assert path is not None and path.name.startswith(f"kernels-{chosen}-")


def test_a_cpu_without_avx2_gets_no_library(prebuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "cpu_flags", lambda: frozenset({"sse2", "avx"}))
    assert library.find_prebuilt() is None


def test_a_library_of_other_sources_is_not_taken(prebuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SOURCES", library.SOURCES[:-1])
    assert library.find_prebuilt() is None


def test_a_library_that_does_not_load_is_built_instead(
    prebuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system whose C++ library is older."""
    monkeypatch.setattr(library, "find_compiler", lambda: None)
    monkeypatch.setattr(library, "cpu_flags", lambda: frozenset(library.REQUIRED))
    with pytest.raises(library.BuildError, match="there is no C\\+\\+ compiler"):
        library.library.__wrapped__()


def test_every_library_is_built_for_its_instructions_only() -> None:
    assert "-mavx512vnni" in library.prebuilt_flags("avx512_vnni")
    assert {"-mavx2", "-mfma"} <= set(library.prebuilt_flags("avx2"))
    assert not any("avx512" in flag or flag == "-march=native" for flag in library.prebuilt_flags("avx2"))


def test_without_fcntl_and_resource_a_model_runs(tmp_path: Path) -> None:
    """As on Windows, where masklet itself is not tested."""
    script = """
import sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # an import of it fails
import pathlib
real = pathlib.Path.read_text
def read_text(self, *args, **kwargs):
    if str(self) == "/proc/cpuinfo":
        raise FileNotFoundError(self)
    return real(self, *args, **kwargs)
pathlib.Path.read_text = read_text
import masklet, numpy as np
model = masklet.load()
image = np.zeros((48, 64, 3), np.uint8)
masks = masklet.ImageSession(model, image).segment(masklet.Prompt(positive=[(30, 20)]))
print(masks[0].shape, type(model.backend).__name__)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert answer.stdout.split("\n")[0] == "(48, 64) TorchBackend", answer.stderr


@pytest.mark.slow
@pytest.mark.skipif(library.find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")
def test_a_wheel_runs_its_kernels_without_a_compiler(tmp_path: Path) -> None:
    """The wheel's files, with the packages that are installed here, where PATH has nothing."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=REPO, env=os.environ | {"HATCH_BUILD_HOOKS_ENABLE": "1"}, check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.stem.split("-")[2:4] == ["py3", "none"] and "manylinux" in wheel.stem
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    names = {path.name.split("-")[1] for path in (tmp_path / "site").rglob("*.so")}
    assert names == set(library.INSTRUCTIONS)

    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"),
        "PATH": str(tmp_path / "nothing"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    answer = subprocess.run(
        [sys.executable, "-c", USE_THE_WHEEL], env=environment, capture_output=True, text=True, check=True
    )
    facts = json.loads(answer.stdout)
    assert facts["file"].startswith(str(tmp_path)) and facts["loaded"].startswith(str(tmp_path / "site"))
    assert facts["compiler"] is None and facts["missing"] is None
    assert facts["shape"] == [48, 64]
    assert facts["attend"] == ["kernels, float32"]
    assert not list((tmp_path / "cache").rglob("*.so"))


RUN_THE_HOOK = """
import json, sys, types
class BuildHookInterface:
    root, directory = sys.argv[1:3]
parts = "hatchling.builders.hooks.plugin.interface".split(".")
for count in range(1, len(parts) + 1):
    name = ".".join(parts[:count])
    sys.modules[name] = types.ModuleType(name)
sys.modules[name].BuildHookInterface = BuildHookInterface
sys.path.insert(0, sys.argv[1] + "/dev")
from wheel_hook import KernelsHook
data = {"force_include": {}}
KernelsHook().initialize("standard", data)
print(json.dumps(data))
KernelsHook().finalize("standard", data, "")
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="no wheels of this system"
)
def test_the_hook_of_the_wheel_needs_python_and_a_compiler_alone(tmp_path: Path) -> None:
    """`make wheel` runs it where only hatchling is installed. Here the compiler writes empty files."""
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\nfor output; do :; done\necho > "$output"\n')  # the last argument
    compiler.chmod(0o755)
    command = [sys.executable, "-I", "-S", "-B", "-c", RUN_THE_HOOK, str(REPO), str(tmp_path / "dist")]
    run = subprocess.run(command, env={"PATH": str(compiler.parent)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    data = json.loads(run.stdout)
    names = {Path(file).name.split("-")[1] for file in data["force_include"]}
    assert names == set(library.INSTRUCTIONS)
    assert all(
        file.startswith("masklet/backends/native/prebuilt/") for file in data["force_include"].values()
    )
    assert data["tag"].startswith("py3-none-manylinux_")
    assert not (tmp_path / "dist" / "kernels").exists()
