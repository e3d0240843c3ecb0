"""masklet export: networks in forms that other programs run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

export = typer.Typer(
    help="Export a network for other programs: ONNX graphs.",
    no_args_is_help=True,
)


class Precision(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


@export.callback()
def formats() -> None:
    """Export a network for other programs: ONNX graphs."""


@export.command("onnx")
def onnx(
    model: Annotated[str, typer.Argument(help="A name (see masklet models), path or hub id.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the graphs and manifest.json.")],
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision", help="fp16 halves the files, int8 quarters most: docs/export.md has their errors."
        ),
    ] = Precision.fp32,
) -> None:
    """Export the network's verbs as ONNX graphs, which masklet.onnx.Tracker and other runtimes run."""
    import masklet
    from masklet.export.onnx import export_onnx

    network = masklet.load(model, device="cpu", engine="torch")
    export_onnx(network, out, name=model, precision=precision.value, report=typer.echo)
    typer.echo(
        f"Wrote {out}: masklet.onnx.Tracker({str(out)!r}) runs it without torch; docs/export.md says how "
        "other programs do."
    )
