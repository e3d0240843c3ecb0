"""Frames a second of tracking on one GPU: every size, several numbers of objects, beside the peers.

    python -m benchmarks.gpu --minutes 10
    python -m benchmarks.gpu --device cpu --sizes nano --objects 1,4 --frames 6

It was written for one H100 or H200 and has never run on a CUDA device; the second line has, on a CPU.

Each figure is written to a JSON Lines file as soon as it is there, and a run that was cut off goes on where
it ended. Weights are random but for nano's. On a GPU everybody computes in bfloat16: masklet by its weights,
the peers by autocast, as in their examples. J and F compare masks with those of masklet without a compiler.
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
from dataclasses import asdict, dataclass
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
from toys import clip, toy_network

NAMES = {  # by name, the package that must be there
    "masklet": "masklet",
    "masklet, compiled": "masklet",
    "original": "sam2",
    "original, vos_optimized": "sam2",
    "transformers": "transformers",
}
FRAME_SIZE = (720, 1280)
REFERENCE = "masklet"  # whose masks the others are compared with


class RowTimeoutError(Exception):
    """A row took longer than it may."""


class Video(Protocol):
    """One implementation on one video whose objects are prompted on frame 0."""

    def track_next(self) -> Tensor:
        """Logits of all objects on the next frame, in the size of the video."""


@dataclass(frozen=True)
class Settings:
    """What figures are comparable under; a file holds rows of several."""

    device: str
    frames: int
    torch: str


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        fps: Frames a second behind the first frames; None where the row failed.
        first_seconds: What opening, prompting and the first frames took, compilation among them.
        j, f: Mean agreement with REFERENCE of the last frame's masks.
        error: Why there is no figure.
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
    def key(self) -> tuple[str, int, str, Settings]:
        return self.size, self.objects, self.implementation, self.settings


class MaskletVideo:
    """masklet's session of a stored video, with the torch backend or the compiled one."""

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
    """One of `benchmarks.peers`, frame by frame."""

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
    """Why an implementation does not run a size here; None where it does."""
    if find_spec(NAMES[name]) is None:
        return f"{NAMES[name]} is not installed"
    if "vos" in name and device.type != "cuda":
        return "it needs a CUDA device"
    return "it has no trunk like nano's" if name == "transformers" and size == "nano" else None


def measure(video: Callable[[], Video], work: Workload) -> tuple[float, float, np.ndarray]:
    """Frames a second behind the first frames, seconds of those, and the last frame's masks.

    The first frames are as many as fill the memory, or half of a shorter clip.
    """
    count = len(work.frames) - 1
    first = min(FULL, count // 2)
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
    """Raise RowTimeoutError in the main thread after so many seconds."""

    def stop(number: int, frame: object) -> None:
        raise RowTimeoutError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def make_weights(size: str, folder: Path) -> Path:
    """Random weights in a file in the original's layout; nano has real ones."""
    if size == "nano":
        return Path("nano")
    path = folder / f"{size}.pt"
    if not path.exists():
        masklet.save(toy_network(SIZES[size], seed=0), path, layout="original")
    return path


def read_rows(path: Path) -> dict[tuple[str, int, str, Settings], Row]:
    """The rows of earlier runs that have a figure."""
    if not path.exists():
        return {}
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [Row(**{**entry, "settings": Settings(**entry["settings"])}) for entry in entries]
    return {row.key: row for row in rows if row.error is None}


def pending(
    names: list[str],
    size: str,
    objects: int,
    settings: Settings,
    device: torch.device,
    rows: dict[tuple[str, int, str, Settings], Row],
) -> list[str]:
    """The implementations without a figure; the reference too, if others are to be compared with it.

    Those that cannot run here get a row that says why.
    """
    names_left = []
    for name in names:
        row = Row(size, objects, name, settings, error=reason_to_skip(name, size, device))
        if row.error is not None:
            rows[row.key] = row
        elif row.key not in rows:
            names_left.append(name)
    if names_left and REFERENCE in names and REFERENCE not in names_left:
        names_left.insert(0, REFERENCE)
    return names_left


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
    frames: Annotated[int, typer.Option(min=3)] = FULL + 25,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    minutes: Annotated[float, typer.Option(help="After so many no further row begins.")] = 10.0,
    row_seconds: Annotated[float, typer.Option(help="A row that takes longer is given up.")] = 120.0,
    compiler: Annotated[str, typer.Option(help="Of masklet, compiled; eager compiles nothing.")] = "inductor",
    out: Annotated[Path, typer.Option(help="Rows that are there already are not measured again.")] = Path(
        "gpu.jsonl"
    ),
) -> None:
    """Measure row by row, few objects first, and print the table."""
    console, target = Console(highlight=False, width=180), torch.device(device)
    began = time.monotonic()
    name_of_device = torch.cuda.get_device_name(target) if target.type == "cuda" else device
    settings = Settings(name_of_device, frames, torch.__version__)
    rows, images = read_rows(out), clip(frames, FRAME_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        for size, count in product(sizes.split(","), map(int, objects.split(","))):
            reference: np.ndarray | None = None
            for name in pending(implementations.split(";"), size, count, settings, target, rows):
                left = began + 60 * minutes - time.monotonic()
                if left <= 0:
                    break
                work = Workload(make_weights(size, Path(folder)), images, target)
                row = Row(size, count, name, settings)
                row, masks = run_row(row, work, min(row_seconds, left), compiler, reference)
                reference = masks if name == REFERENCE else reference
                rows[row.key] = row
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                console.print(f"{size:10} {count:3} objects  {name:24} {format_row(row)}")
    console.print(make_table([row for row in rows.values() if row.settings == settings], settings))
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes; rows are in {out}")


def run_row(
    row: Row, work: Workload, seconds: float, compiler: str, reference: np.ndarray | None
) -> tuple[Row, np.ndarray | None]:
    """One row measured, and its masks. What an implementation raises becomes the row's error."""
    gc.collect()
    if work.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
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
