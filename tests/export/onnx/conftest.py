"""One toy network, exported once for all workers in each precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import onnx
import pytest
from filelock import FileLock

from masklet.config import toy
from masklet.export import onnx as exporter
from masklet.export.graphs import Graph
from masklet.model import Sam2
from toys import toy_network


@pytest.fixture(scope="session")
def network() -> Sam2:
    return toy_network(replace(toy(), zoom=True))


@pytest.fixture(scope="session")
def exported(network: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders fp32, fp16 and int8. Tracing takes seconds: one worker does it, and the others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "exported"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            traces = _remember(exporter.trace)
            for precision in get_args(exporter.Precision):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(exporter, "trace", traces)
                    exporter.export_onnx(network, folder / precision, name="toy", precision=precision)
    return folder


def _remember(trace: Callable) -> Callable:
    """The tracer, which traces each verb once and gives a copy each time."""

    traces: dict[str, bytes] = {}

    def remember(model: Sam2, graph: Graph) -> object:
        verb = graph.module.__name__
        if verb not in traces:
            traces[verb] = trace(model, graph).SerializeToString()
        return onnx.load_from_string(traces[verb])

    return remember
