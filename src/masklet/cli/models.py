"""masklet models: list models by name, and show how they run on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.options import announce_start

if TYPE_CHECKING:
    from masklet.config import Sam2Config
    from masklet.model import Sam2
    from masklet.types import MemorySelection


def models(
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what runs the network on this machine, and how fast.")
    ] = False,
) -> None:
    """List the models that --model takes by name; a path or a hub id works too."""
    if explain:
        _explain()
        return
    from rich.console import Console
    from rich.table import Table

    from masklet.checkpoint import PUBLISHED
    from masklet.config import SIZES

    table = Table("name", "trunk", "input", "where")
    for name in ("nano", *PUBLISHED):
        size = SIZES[name.split("hiera-")[-1]]
        blocks = f"{size.embed_dim} wide, {sum(size.stages)} blocks" if size.embed_dim else size.trunk
        where = "in the package" if name == "nano" else "the hub"
        table.add_row(name, blocks, f"{size.image_size} px", where)
    Console().print(table)
    typer.echo(
        "Use one as --model NAME, or masklet.load(NAME). Models on the hub, huggingface.co/facebook/NAME, "
        "are downloaded once."
    )


def _explain() -> None:
    """The backend chosen on this machine, the reason, and nano's times with it and without it."""
    announce_start()
    import torch
    from rich.console import Console
    from rich.table import Table

    from masklet.backends.compiled import reason_for_no_compiler
    from masklet.checkpoint import load

    if torch.cuda.is_available():
        typer.echo(f"{torch.cuda.get_device_name()}: torch runs every verb there. The rest is about the CPU.")
    table = Table("setting", "verb", "runs on", "why")
    for setting in ("exact", "balanced", "fast"):
        for line in load(device="cpu", setting=setting).backend.explain():
            table.add_row(setting, line.verb, line.runs_on, line.reason)
    Console().print(table)

    times = Table("nano, milliseconds here", "encode", "attend to a full bank")
    for name, model in {
        "torch": load(device="cpu", engine="torch"),
        "torch, bfloat16": load(device="cpu", dtype="bfloat16"),
        "exact": load(device="cpu"),
        "balanced": load(device="cpu", setting="balanced"),
        "fast": load(device="cpu", setting="fast"),
    }.items():
        times.add_row(name, *(f"{milliseconds:.1f}" for milliseconds in time_verbs(model)))
    Console().print(times)
    missing = reason_for_no_compiler(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    state = "can be used; the first frames take minutes" if missing is None else f"cannot be used: {missing}"
    typer.echo(f"engine='compiled', torch.compile, {state}.")
    typer.echo("To use another backend: masklet.load(NAME, dtype=..., engine=..., setting=...).")


def time_verbs(model: Sam2) -> tuple[float, float]:
    """Milliseconds for encoding a frame, and for one object to attend to a full memory: the best of three."""
    import torch

    side = model.config.image_size
    image = torch.randn(1, 3, side, side, dtype=torch.float32, device="cpu")
    selection = _full_selection(model.config)
    with torch.inference_mode():
        features = model.encode(image)
        return _best_time(lambda: model.encode(image)), _best_time(
            lambda: model.attend(features, [selection])
        )


def _full_selection(config: Sam2Config) -> MemorySelection:
    """A full set of an object's memories, with random numbers."""
    import torch

    from masklet.types import Memory, MemorySelection

    def memory(frame: int) -> Memory:
        tokens = random(config.grid**2, config.memory_channels).to(getattr(torch, config.memory_dtype))
        return Memory(frame, tokens, random(config.channels), random(()), random(()), prompted=False)

    random = partial(torch.randn, dtype=torch.float32, device="cpu")
    pointers = [(age, random(config.channels)) for age in range(config.pointers)]
    return MemorySelection(tuple((row, memory(row)) for row in range(config.memories)), tuple(pointers))


def _best_time(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)
