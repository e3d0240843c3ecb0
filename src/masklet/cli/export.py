"""masklet export: write networks for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from masklet.cli.options import announce_start, parse_folder

export = typer.Typer(
    help="Export a network for other programs: ONNX graphs, or a page that runs in the browser.",
    no_args_is_help=True,
)


class Precision(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class MemoryType(StrEnum):
    bfloat16 = "bfloat16"
    float32 = "float32"


@export.callback()
def formats() -> None:
    """Export a network for other programs: ONNX graphs, or a page that runs in the browser."""


@export.command("onnx")
def onnx(
    model: Annotated[str, typer.Argument(help="Model name (see masklet models), path or hub id.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            parser=parse_folder,
            metavar="FOLDER",
            help="Folder for the graphs and manifest.json.",
        ),
    ],
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="fp16 halves the files, int8 quarters the weights (errors: docs/export.md).",
        ),
    ] = Precision.fp32,
    memories: Annotated[
        MemoryType | None,
        typer.Option(
            "--memories",
            help="Round memories to bfloat16, or keep them in float32. By default, as the model does.",
        ),
    ] = None,
) -> None:
    """Export the network as ONNX graphs for masklet.onnx.Tracker and other runtimes."""
    announce_start()
    import torch

    import masklet
    from masklet.export.onnx import export_onnx

    network = masklet.load(model, device="cpu", engine="torch")
    if memories is not None:
        network.memory_dtype = getattr(torch, memories.value)
    export_onnx(network, out, name=model, precision=precision.value, report=typer.echo)
    typer.echo(
        f"Wrote {out}: masklet.onnx.Tracker({str(out)!r}) runs it without torch; docs/export.md says how "
        "other programs do."
    )


@export.command("web")
def web(
    out: Annotated[
        Path,
        typer.Option("--out", parser=parse_folder, metavar="FOLDER", help="Folder for the page."),
    ],
    model: Annotated[str, typer.Argument(help="Model name (see masklet models), path or hub id.")] = "nano",
    example: Annotated[
        Path | None,
        typer.Option(
            "--example", exists=True, dir_okay=False, help="A short video or an image that visitors can try."
        ),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            "--onnxruntime-web",
            exists=True,
            help="The npm package onnxruntime-web, packed or unpacked, for machines without a network.",
        ),
    ] = None,
) -> None:
    """Export a page that segments and tracks in the visitor's browser. Any file server can serve it."""
    announce_start()
    import masklet
    from masklet.export.web import export_web

    network = masklet.load(model, device="cpu", engine="torch")
    sizes = export_web(network, out, name=model, runtime=onnxruntime_web, example=example, report=typer.echo)
    runtimes = {name: size for name, size in sizes.items() if name.startswith("onnxruntime/")}
    webgpu = sum(size for name, size in runtimes.items() if "webgpu" in name or "asyncify" in name)
    graphs = sum(size for name, size in sizes.items() if name.startswith("model/"))
    total, runtime = sum(sizes.values()), sum(runtimes.values())
    for part, size in (
        ("network", graphs),
        ("ONNX Runtime for WebAssembly", runtime - webgpu),
        ("ONNX Runtime for WebGPU", webgpu),
        ("page and example", total - graphs - runtime),
        ("in all", total),
    ):
        typer.echo(f"{size / 1e6:6.1f} MB  {part}")
    typer.echo(
        f"Wrote {out}. Try it: python -m http.server --directory {out}, then open http://localhost:8000. "
        "docs/web.md says how to host it with threads."
    )
