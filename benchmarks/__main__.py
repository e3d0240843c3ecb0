"""make bench, or python -m benchmarks --only "follow 1,follow 8" --models tiny."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks import REPO, machine, process_rows, report, roofline, timed_actions
from benchmarks.implementation import Implementation, Workload, is_published
from benchmarks.masklet_implementation import Masklet
from benchmarks.peers import Original, Transformers
from benchmarks.results import Results, Row
from masklet.config import SIZES
from masklet.media import open_frames
from parity import original
from parity.weights import randomise

REAL = REPO.parent / "shared" / "data" / "open" / "clips" / "01_dog.mp4"
DEMO = REPO / "examples" / "demo.mp4"
LOAD_OPTIONS: Mapping[str, Mapping[str, Any]] = {  # by column
    "masklet": {},
    "masklet, balanced": {"setting": "balanced"},
    "masklet, fast": {"setting": "fast"},
}
# Its pipeline for everything needs torchvision, which is not built for every torch.
LEFT_OUT = {} if find_spec("torchvision") else {"transformers": {"everything"}}
ROWS = {**timed_actions.ROW_NAMES, **process_rows.ROW_NAMES}
# Rows that take minutes and add little.
SLOW = {"base-plus": {"follow 16", "memory 1000", "peak 1000"}}

Names = Annotated[str, typer.Option(help="separated by commas")]


def main(
    models: Names = "nano,tiny",
    only: Annotated[str, typer.Option(help=f"rows: {', '.join(ROWS)}")] = ",".join(ROWS),
    seconds: Annotated[float, typer.Option(help="rows that take longer are not repeated")] = 25.0,
    minutes: Annotated[float, typer.Option(help="no row starts after this time")] = 18.0,
    busy: Annotated[bool, typer.Option(help="measure processor time; no start, no files")] = False,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    out: Annotated[Path | None, typer.Option(help="the file of figures; by default in docs/")] = None,
) -> None:
    """Measure masklet and its peers, row by row, and write docs/performance.md."""
    keys, console = set(only.split(",")), Console(highlight=False)
    if unknown := keys - ROWS.keys():
        raise typer.BadParameter(f"no such rows: {', '.join(unknown)}", param_hint="--only")
    on, started = torch.device(device), time.perf_counter()
    description = machine.describe(on) | ({"clock": "processor time"} if busy else {})
    out = out or report.figures_path(description)
    results = Results.read(out, description)
    console.print_json(json.dumps(results.machine))
    for row in () if busy else roofline.measure_peaks(on):
        results.add(row)
    for model in models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            weights = make_weights(model, Path(folder))
            work = Workload(weights, read_clip(), on, time.process_time if busy else time.perf_counter)
            wanted, measured = keys - SLOW.get(model, set()), set()
            for row in measure(model, work, wanted, seconds, until=started + 60 * minutes):
                results.add(row)
                results.write(out)
                measured.add(row.row)
                console.print(
                    f"{model:10} {ROWS[row.row]:32} {row.implementation:20} {report.format_row(row)}"
                )
            if left := [key for key in ROWS if key in wanted - measured]:
                console.print(f"{model} is left without: {', '.join(left)}")
    report.write_pages(results)
    console.print(f"{(time.perf_counter() - started) / 60:.0f} minutes")


def measure(model: str, work: Workload, keys: set[str], seconds: float, until: float) -> Iterator[Row]:
    """Measure the rows of one model. Some are measured together. No row starts after the time `until`."""
    in_one_process = bool(keys & timed_actions.ROW_NAMES.keys())
    implementations = make_implementations(work) if in_one_process else {}
    benchmark = timed_actions.Benchmark(model, work, implementations, seconds, LEFT_OUT)
    measured: set[str] = set()
    for key in (key for key in ROWS if key in keys):
        if key in measured or time.perf_counter() > until:
            continue
        if key in process_rows.TIMED_BY_THE_CLOCK and work.clock is not time.perf_counter:
            continue
        if key in timed_actions.ROW_NAMES:
            new = benchmark.run({key})
        elif work.device.type == "cpu":
            new = process_rows.run(model, work.weights, REAL if REAL.exists() else DEMO, {key})
        else:
            continue
        for row in new:
            measured.add(row.row)
            yield row


def make_implementations(work: Workload) -> dict[str, Implementation]:
    """Create the peers, if they support the network, and masklet in each setting."""
    implementations: dict[str, Implementation] = {}
    if is_published(work.weights):
        implementations["original"] = Original(work)
        if work.device.type == "cuda":
            implementations["original, compiled"] = Original(work, compiled=True)
        implementations["transformers"] = Transformers(work)
    return implementations | {name: Masklet(work, **options) for name, options in LOAD_OPTIONS.items()}


def read_clip() -> np.ndarray:
    stored = open_frames(REAL if REAL.exists() else DEMO)
    return np.stack([stored[frame] for frame in range(timed_actions.FRAMES)])


def make_weights(model: str, folder: Path) -> Path:
    """Write random weights to a file in the original's layout; nano has trained weights."""
    if model == "nano":
        return Path("nano")
    network = original.build(SIZES[model])
    randomise(network, seed=0)
    path = folder / f"{model}.pt"
    torch.save({"model": network.state_dict()}, path)
    return path


if __name__ == "__main__":
    typer.run(main)
