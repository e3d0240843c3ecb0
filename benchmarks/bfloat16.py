"""Compares bfloat16 with 16-bit integers: linear layers, and nano's encoder, in processor time of one thread.

    python -m benchmarks.bfloat16

Errors are root mean squares, relative to the standard deviation of the float32 result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from torch import Tensor, nn

import masklet
from benchmarks import machine
from masklet.backends.native.encoders import NativeLinear

SHAPES = ((4096, 384, 1536), (576, 128, 512))  # rows, width, hidden: an MLP of tiny's trunk, one of nano's
ROUNDS = 9


def main() -> None:
    """Print a table of milliseconds and errors."""
    torch.set_num_threads(1)
    console, device = Console(highlight=False, soft_wrap=True), torch.device("cpu")
    description = machine.describe(device)
    console.print(f"{description['processor']}; {description['instructions']}")
    console.print("| | " + " | ".join(("torch, float32", "torch, bfloat16", "exact", "16 bits")) + " |")
    console.print("| --- | --- | --- | --- | --- |")
    with torch.inference_mode():
        for rows, width, hidden in SHAPES:
            _show(console, f"{rows} x {width}, hidden {hidden}", _mlp_actions(rows, width, hidden))
        _show(console, "nano's encoder", _encoder_actions())


def _mlp_actions(rows: int, width: int, hidden: int) -> dict[str, Callable[[], Tensor]]:
    torch.manual_seed(0)
    x = torch.randn(rows, width)
    layers = nn.Linear(width, hidden), nn.Linear(hidden, width)
    exact, rounded = (NativeLinear(*layers, bits=bits, between="relu") for bits in (32, 16))
    weights = [(layer.weight.bfloat16(), layer.bias.bfloat16()) for layer in layers]
    half = x.bfloat16()
    return {
        "torch": lambda: layers[1](layers[0](x).relu()),
        "bfloat16": lambda: F.linear(F.linear(half, *weights[0]).relu(), *weights[1]),
        "exact": lambda: exact(x),
        "16 bits": lambda: rounded(x),
    }


def _encoder_actions() -> dict[str, Callable[[], Tensor]]:
    torch.manual_seed(0)
    models = {
        "torch": masklet.load(device="cpu", engine="torch"),
        "bfloat16": masklet.load(device="cpu", dtype="bfloat16", engine="torch"),
        "exact": masklet.load(device="cpu"),
        "16 bits": masklet.load(device="cpu", setting="balanced"),
    }
    side = models["torch"].config.image_size
    image = torch.randn(1, 3, side, side)
    return {name: partial(_encode, model, image.to(model.dtype)) for name, model in models.items()}


def _encode(model: masklet.Sam2, image: Tensor) -> Tensor:
    return model.encode(image).coarse


def _show(console: Console, name: str, actions: Mapping[str, Callable[[], Tensor]]) -> None:
    results = {key: action().float() for key, action in actions.items()}  # the first run packs weights
    seconds: dict[str, list[float]] = {key: [] for key in actions}
    for _ in range(ROUNDS):
        for key, action in actions.items():
            start = time.process_time()
            action()
            seconds[key].append(time.process_time() - start)
    right = results["torch"]
    cells = []
    for key, result in results.items():
        error = (result - right).square().mean().sqrt() / right.std()
        milliseconds = 1000 * statistics.median(seconds[key])
        cells.append(f"{milliseconds:.1f} ms" + ("" if key == "torch" else f", error {error:.0e}"))
    console.print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
