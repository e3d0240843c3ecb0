"""Measures frames per second on one GPU: all sizes, several numbers of objects, masklet and its peers.

    python -m benchmarks.gpu --minutes 10
    python -m benchmarks.gpu --device cpu --sizes nano --objects 1,4 --frames 6

It was written for one H100 or H200. Only the second command was run, on a CPU; no CUDA device was used.

Each figure is appended to a JSON Lines file at once, and an interrupted run can be resumed. Failed rows are
repeated only with --retry. Rows that start fast come first. The original's `vos_optimized` comes last,
because it tunes kernels for minutes before its first frame. Weights are random, except nano's. On a GPU, all
compute in bfloat16: masklet by its weights, the peers by autocast, as in their examples. J and F compare
masks with those of masklet without a compiler.

masklet and the measured peers must be installed: sam2==1.1.0 (with hydra-core and iopath) and transformers.
The row of a missing peer says so. Exit status 3 means that the device takes no more work in this process: run
the same command again to resume.
"""

from __future__ import annotations

import gc
import importlib
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import masklet
from benchmarks.implementation import FULL, Workload
from benchmarks.timing import synchronized_time
from masklet import Prompt, VideoSession
from masklet.backends import TorchBackend
from masklet.backends.compiled import CompiledBackend
from masklet.config import SIZES
from masklet.evaluate.metrics import measure_agreement
from toy_models import clip, toy_network

NAMES = {  # the required package, by name
    "masklet": "masklet",
    "masklet, compiled": "masklet",
    "original": "sam2",
    "original, vos_optimized": "sam2",
    "transformers": "transformers",
}
FRAME_SIZE = (720, 1280)
REFERENCE = "masklet"  # others' masks are compared with those of this one
SLOW_STARTER = "original, vos_optimized"  # tunes kernels before its first frame
WARM_UP = FULL + 8  # frames after which memory is full and its graph has been compiled, recorded and replayed
PRESENT = 10.0  # bias of random weights' object score, so that objects stay in the frame and masks can differ


Key = tuple[str, int, str, "Settings"]


class RowTimeoutError(Exception):
    """A row took longer than the time limit."""


class Video(Protocol):
    """An implementation that tracks a video, with objects prompted on frame 0."""

    def track_next(self) -> Tensor:
        """Logits of all objects on the next frame, at the video's size."""


@dataclass(frozen=True)
class Settings:
    """The settings under which figures are comparable. A file can hold rows of several."""

    device: str
    frames: int
    torch: str


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        fps: Frames per second after the first frames; None if the row failed.
        first_seconds: Seconds for opening, prompting and the first frames, including compilation.
        j, f: Mean agreement with REFERENCE of the last frame's masks.
        error: Why the row failed.
    """

    size: str
    objects: int
    implementation: str
    settings: Settings
    fps: float | None = None
    first_seconds: float | None = None
    j: float | None = None
    f: float | None = None
    error: str | None = None

    @property
    def key(self) -> Key:
        return self.size, self.objects, self.implementation, self.settings


class MaskletVideo:
    """masklet's session of a stored video, with the torch or the compiled backend."""

    def __init__(self, work: Workload, objects: int, *, compiler: str | None) -> None:
        dtype = "bfloat16" if work.device.type == "cuda" else "float32"
        model = masklet.load(work.weights, device=work.device, dtype=dtype, engine="torch")
        model.backend = TorchBackend(model) if compiler is None else CompiledBackend(model, compiler=compiler)
        self.session = VideoSession(model, work.frames, zoom=False)
        for id in range(1, objects + 1):
            self.session.prompt(0, id, Prompt(positive=[work.click(id)]))
        self.masks = iter(self.session.propagate(1))

    def track_next(self) -> Tensor:
        return next(self.masks).logits


class PeerVideo:
    """An implementation of `benchmarks.peers`, frame by frame."""

    def __init__(self, peer: Any, objects: int) -> None:
        self.peer, self.frame = peer, 0
        peer.open(objects)

    def track_next(self) -> Tensor:
        self.frame += 1
        logits: Tensor = self.peer.track_frame(self.frame)
        return logits


def open_video(name: str, work: Workload, objects: int, compiler: str) -> Video:
    if name.startswith("masklet"):
        return MaskletVideo(work, objects, compiler=compiler if "compiled" in name else None)
    peers = importlib.import_module("benchmarks.peers")
    if name == "transformers":
        return PeerVideo(peers.Transformers(work), objects)
    return PeerVideo(peers.Original(work, compiled="vos" in name), objects)


def reason_to_skip(name: str, size: str, device: torch.device) -> str | None:
    """Why an implementation cannot run a size here; None if it can."""
    if find_spec(NAMES[name]) is None:
        return f"{NAMES[name]} is not installed"
    if "vos" in name and device.type != "cuda":
        return "it needs a CUDA device"
    return "it has no trunk like nano's" if name == "transformers" and size == "nano" else None


def measure(video: Callable[[], Video], work: Workload) -> tuple[float, float, np.ndarray]:
    """Frames per second after the first frames, seconds of the first frames, and the last frame's masks.

    The first frames are the first WARM_UP, or half of a shorter clip.
    """
    count = len(work.frames) - 1
    first = min(WARM_UP, count // 2)
    opened = synchronized_time(work.device, time.perf_counter)
    running = video()
    for _ in range(first):
        logits = running.track_next()
    started = synchronized_time(work.device, time.perf_counter)
    for _ in range(count - first):
        logits = running.track_next()
    ended = synchronized_time(work.device, time.perf_counter)
    masks = (logits > 0).cpu().numpy().reshape(-1, *FRAME_SIZE)
    return (count - first) / (ended - started), started - opened, masks


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise RowTimeoutError in the main thread after so many seconds.

    It is raised again after five more seconds, in case a compiler's callback swallowed it.
    """

    def stop(number: int, frame: object) -> None:
        raise RowTimeoutError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def make_weights(size: str, folder: Path) -> Path:
    """Write random weights to a file in the original's layout; nano has trained weights."""
    if size == "nano":
        return Path("nano")
    path = folder / f"{size}.pt"
    if not path.exists():
        network = toy_network(SIZES[size], seed=0)
        network.state_dict()["mask_decoder.score_head.layers.2.bias"].fill_(PRESENT)
        masklet.save(network, path, layout="original")
    return path


def read_rows(path: Path, *, retry: bool = False) -> dict[Key, Row]:
    """The rows of earlier runs; with `retry`, only those with a figure."""
    if not path.exists():
        return {}
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [Row(**{**entry, "settings": Settings(**entry["settings"])}) for entry in entries]
    return {row.key: row for row in rows if row.error is None or not retry}


def order_rows(sizes: list[str], objects: list[int], names: list[str]) -> list[tuple[str, int, str]]:
    """(size, objects, implementation) in measuring order: breadth first, slow starters last.

    >>> order_rows(["tiny", "large"], [1], ["masklet", "original, vos_optimized"])[1]
    ('large', 1, 'masklet')
    """
    early = [name for name in names if name != SLOW_STARTER]
    rows = [(size, count, name) for count, size, name in product(objects, sizes, early)]
    if SLOW_STARTER in names:
        rows += [(size, count, SLOW_STARTER) for count, size in product(objects, sizes)]
    return rows


def make_table(rows: list[Row], settings: Settings) -> Table:
    table = Table(title=f"frames a second, {settings.device}, torch {settings.torch}")
    for column in ("size", "objects", *NAMES):
        table.add_column(column)
    for size, objects in dict.fromkeys((row.size, row.objects) for row in rows):
        here = {row.implementation: row for row in rows if (row.size, row.objects) == (size, objects)}
        table.add_row(size, str(objects), *(format_row(here.get(name)) for name in NAMES))
    return table


def format_row(row: Row | None) -> str:
    if row is None:
        return ""
    if row.fps is None:
        return f"({row.error})"
    agreement = "" if row.j is None or row.f is None else f", J {row.j:.3f} F {row.f:.3f}"
    return f"{row.fps:.2f}{agreement}"


def main(
    sizes: str = "tiny,small,base-plus,large",
    objects: str = "1,4,16,64",
    implementations: Annotated[str, typer.Option(help="Separated by semicolons.")] = ";".join(NAMES),
    frames: Annotated[int, typer.Option(min=3)] = WARM_UP + 25,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    minutes: Annotated[float, typer.Option(help="No row starts after this time.")] = 10.0,
    row_seconds: Annotated[float, typer.Option(help="Rows that take longer are aborted.")] = 120.0,
    compiler: Annotated[str, typer.Option(help="masklet's compiler; eager does not compile.")] = "inductor",
    out: Annotated[Path, typer.Option(help="Rows in this file are not measured again.")] = Path("gpu.jsonl"),
    retry: Annotated[bool, typer.Option(help="Measure rows that failed again.")] = False,
) -> None:
    """Measure row by row, few objects first, and print the table."""
    console, target = Console(highlight=False, width=180), torch.device(device)
    began = time.monotonic()
    name_of_device = torch.cuda.get_device_name(target) if target.type == "cuda" else device
    settings = Settings(name_of_device, frames, torch.__version__)
    rows, images = read_rows(out, retry=retry), clip(frames, FRAME_SIZE)
    counts = [int(count) for count in objects.split(",")]
    order = order_rows(sizes.split(","), counts, implementations.split(";"))
    ends_at = began + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        work = Workload(Path(), images, target)
        run = Run(settings, work, compiler, row_seconds, ends_at, rows, out, Path(folder), console)
        works = run.measure_all(order)
    console.print(make_table([row for row in rows.values() if row.settings == settings], settings))
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes; rows are in {out}")
    if not works:
        raise typer.Exit(3)


@dataclass
class Run:
    """Measures rows, and writes each at once.

    Attributes:
        work: The workload without its weights.
        ends_at: The time of `time.monotonic` after which no row starts.
        rows: Measured rows by key; new ones are added.
        folder: The folder for weights.
        references: REFERENCE's masks by size and objects, from this run.
    """

    settings: Settings
    work: Workload
    compiler: str
    row_seconds: float
    ends_at: float
    rows: dict[Key, Row]
    out: Path
    folder: Path
    console: Console
    references: dict[tuple[str, int], np.ndarray | None] = field(default_factory=dict)

    def measure_all(self, order: list[tuple[str, int, str]]) -> bool:
        """Measure missing rows until the time is over. Return whether the device still works."""
        has_reference = any(name == REFERENCE for _, _, name in order)
        for size, count, name in order:
            row = Row(size, count, name, self.settings, error=reason_to_skip(name, size, self.work.device))
            if row.error is not None:
                self.rows[row.key] = row
            if row.key in self.rows:
                continue
            names = [name]
            if has_reference and name != REFERENCE and (size, count) not in self.references:
                names.insert(0, REFERENCE)  # measured in an earlier run, without its masks
            for needed in names:
                if time.monotonic() >= self.ends_at:
                    return True
                if not self.measure_row(size, count, needed):
                    return False
        return True

    def measure_row(self, size: str, count: int, name: str) -> bool:
        """Measure one row. Return whether the device still works."""
        limit = 2 * self.row_seconds if name == SLOW_STARTER else self.row_seconds
        limit = min(limit, self.ends_at - time.monotonic())
        work = replace(self.work, weights=make_weights(size, self.folder))
        row = Row(size, count, name, self.settings)
        row, masks = run_row(row, work, limit, self.compiler, self.references.get((size, count)))
        if row.error is not None and time.monotonic() >= self.ends_at:
            return True  # it had less time than a row may take, so it is measured again
        if name == REFERENCE:
            self.references[size, count] = masks
        self.rows[row.key] = row
        with self.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        self.console.print(f"{size:10} {count:3} objects  {name:24} {format_row(row)}")
        return row.error is None or is_usable(self.work.device)


def is_usable(device: torch.device) -> bool:
    """Whether a device still computes. Interrupting the recording of a graph can make it unusable."""
    try:
        total = torch.ones(2, device=device).sum().item()
    except RuntimeError:
        return False
    return total == 2


def run_row(
    row: Row, work: Workload, seconds: float, compiler: str, reference: np.ndarray | None
) -> tuple[Row, np.ndarray | None]:
    """Measure a row, and return it with its masks. An exception becomes the row's error."""
    try:
        torch.compiler.reset()  # graphs keep memory; their code stays in the compiler's cache on disk
        gc.collect()
        if work.device.type == "cuda":
            torch.cuda.empty_cache()
        with time_limit(seconds):
            fps, first, masks = measure(
                lambda: open_video(row.implementation, work, row.objects, compiler), work
            )
    except Exception as error:  # a peer may raise anything, and the other rows still count
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:80]}"
        return Row(row.size, row.objects, row.implementation, row.settings, error=reason), None
    j = f = None
    if reference is not None and reference.shape == masks.shape:
        pairs = [measure_agreement(truth, mask) for truth, mask in zip(reference, masks, strict=True)]
        j, f = (float(np.mean([getattr(pair, name) for pair in pairs])) for name in ("j", "f"))
    return Row(row.size, row.objects, row.implementation, row.settings, fps, first, j, f), masks


if __name__ == "__main__":
    typer.run(main)
