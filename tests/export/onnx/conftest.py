"""Nano and a toy, exported once by the command, and rounded from there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import masklet
from masklet.export.onnx import Precision, write_graphs
from masklet.files import make_folder
from masklet.model import Sam2
from masklet.onnx.network import Manifest
from toy_models import toy_network


@pytest.fixture(scope="session")
def network() -> Sam2:
    return masklet.load(device="cpu", engine="torch")


@pytest.fixture(scope="session")
def toy() -> Sam2:
    """A network whose memories are rounded to bfloat16, as those of published networks are."""
    return toy_network()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders fp32, fp16 and int8 of nano, toy and toy-fp16. Tracing takes long: one worker does it, and the
    others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "exported"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            run_export("nano", folder / "fp32")
            for precision in ("fp16", "int8"):
                round_export(folder / "fp32", folder / precision, precision)
            masklet.save(toy_network(), folder / "toy.safetensors")
            run_export(str(folder / "toy.safetensors"), folder / "toy")
            round_export(folder / "toy", folder / "toy-fp16", "fp16")
    return folder


@pytest.fixture(scope="session", name="run_export")
def provide_run_export() -> object:
    return run_export


def round_export(source: Path, folder: Path, precision: Precision) -> None:
    """Write an fp32 export once more, in another precision."""
    import onnx

    manifest = Manifest.read(source)
    graphs = ((verb, onnx.load(manifest.path(source, verb))) for verb in manifest.graphs)
    write_graphs(manifest, graphs, make_folder(folder), precision, lambda line: None)


def run_export(model: str, out: Path, *options: str) -> str:
    """Run the command in another process: the checks of shapes that tests switch on cannot be traced."""
    command = [sys.executable, "-m", "masklet", "export", "onnx", model, "--out", str(out), *options]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
