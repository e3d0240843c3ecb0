"""make bench, or python -m benchmarks --only "follow 1,follow 8" --models tiny."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks import REPO, apart, machine, paper, report, rows
from benchmarks.ours import Masklet
from benchmarks.peers import Original, Transformers
from benchmarks.results import Results, Row
from benchmarks.subject import Subject, Work
from masklet.config import SIZES
from masklet.media import open_frames
from parity import original
from parity.weights import randomise

REAL = REPO.parent / "shared" / "data" / "open" / "clips" / "01_dog.mp4"
DEMO = REPO / "examples" / "demo.mp4"
MASKLET: Mapping[str, Mapping[str, Any]] = {  # what load() is given, by column
    "masklet": {},
    "masklet, balanced": {"setting": "balanced"},
    "masklet, fast": {"setting": "fast"},
}
# Its pipeline for everything wants torchvision, which has no build for every torch.
WITHOUT = {} if find_spec("torchvision") else {"transformers": {"everything"}}
ROWS = {**rows.NAMES, **apart.NAMES}
# What takes minutes and says little that is new.
LEFT_OUT = {"base-plus": {"follow 16", "memory 1000", "peak 1000"}}

Names = Annotated[str, typer.Option(help="separated by commas")]


def main(
    models: Names = "tiny,base-plus,nano",
    only: Annotated[str, typer.Option(help=f"of: {', '.join(ROWS)}")] = ",".join(ROWS),
    seconds: Annotated[float, typer.Option(help="after which a row is not repeated")] = 25.0,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    out: Annotated[Path | None, typer.Option(help="where figures are kept; docs/ by default")] = None,
) -> None:
    """Measure masklet beside its peers, row by row, and write docs/performance.md."""
    wanted, console = set(only.split(",")), Console(highlight=False)
    if unknown := wanted - ROWS.keys():
        raise typer.BadParameter(f"no such rows: {', '.join(unknown)}", param_hint="--only")
    where, began = torch.device(device), time.perf_counter()
    said = machine.described(where)
    out = out or report.figures(said)
    results = Results.read(out, said)
    console.print_json(json.dumps(results.machine))
    for row in paper.peaks(where):
        results.add(row)
    for model in models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            weights = weights_of(model, Path(folder))
            for row in measured(model, weights, where, wanted - LEFT_OUT.get(model, set()), seconds):
                results.add(row)
                results.write(out)
                console.print(f"{model:10} {ROWS[row.row]:32} {row.subject:20} {report.spread(row)}")
    report.write(results)
    console.print(f"{(time.perf_counter() - began) / 60:.0f} minutes")


def measured(
    model: str, weights: Path, device: torch.device, wanted: set[str], seconds: float
) -> list[Row] | Any:
    if wanted & rows.NAMES.keys():
        work = Work(weights, clip(), device)
        yield from rows.Bench(model, work, subjects_on(work), seconds, WITHOUT).run(wanted)
    if device.type == "cpu":
        yield from apart.run(model, weights, REAL if REAL.exists() else DEMO, wanted)


def subjects_on(work: Work) -> dict[str, Subject]:
    subjects: dict[str, Subject] = {"original": Original(work)}
    if work.device.type == "cuda":
        subjects["original, compiled"] = Original(work, compiled=True)
    subjects["transformers"] = Transformers(work)
    return subjects | {name: Masklet(work, **options) for name, options in MASKLET.items()}


def clip() -> np.ndarray:
    stored = open_frames(REAL if REAL.exists() else DEMO)
    return np.stack([stored[frame] for frame in range(rows.FRAMES)])


def weights_of(model: str, folder: Path) -> Path:
    """Random weights, in a file in the original's layout; nano has real ones."""
    if model == "nano":
        return Path("nano")
    network = original.build(SIZES[model])
    randomise(network, seed=0)
    path = folder / f"{model}.pt"
    torch.save({"model": network.state_dict()}, path)
    return path


if __name__ == "__main__":
    typer.run(main)
