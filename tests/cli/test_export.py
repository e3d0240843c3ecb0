"""masklet export: what a person types, and what they read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import masklet
from masklet.cli import app
from masklet.errors import MaskletError
from masklet.export import onnx as exporter
from masklet.onnx.network import VERBS, Manifest
from toy_models import toy_network


def test_export_onnx_writes_five_graphs_and_says_what_runs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = tmp_path / "toy.safetensors", tmp_path / "out"
    masklet.save(toy_network(), checkpoint)

    class Traced:
        def SerializeToString(self) -> bytes:
            return b"graph"

    monkeypatch.setattr(exporter, "trace", lambda model, graph: Traced())  # tracing has its own tests
    answer = CliRunner().invoke(app, ["export", "onnx", str(checkpoint), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    assert "masklet.onnx.Tracker" in answer.output and "attend.onnx" in answer.output
    manifest = Manifest.read(out)
    assert manifest.model == str(checkpoint) and manifest.precision == "fp32" and not manifest.zoom
    assert {path.name for path in out.iterdir()} == {"manifest.json", *(f"{verb}.onnx" for verb in VERBS)}


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskletError, match="float32 weights on the CPU"):
        exporter.export_onnx(toy_network().half(), tmp_path, name="toy")
    assert not any(tmp_path.iterdir())
