"""masklet train: run a training recipe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.train.presets import Preset


class Learns(StrEnum):
    """The presets by name, known before anything heavy is imported."""

    decoder = "decoder"
    memory = "memory"
    everything = "everything"
    lora = "lora"


class Precision(StrEnum):
    no = "no"
    bf16 = "bf16"


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A recipe's name (nano, finetune, ...), or a Python file with `recipe(order)`."),
    ],
    data: Annotated[Path, typer.Argument(help="What to learn from: see the recipe.")],
    out: Annotated[Path, typer.Option(help="Takes checkpoints, log, report; the same folder again goes on.")],
    model: Annotated[
        str | None,
        typer.Option(help="What to start from: a name, a file, a hub id; new-tiny begins from nothing."),
    ] = None,
    preset: Annotated[Learns | None, typer.Option(help="Which parts of the network learn.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the model's square, a multiple of 32.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    rate: Annotated[float | None, typer.Option(help="The learning rate at its highest.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Measure on this, not on a held-back part.")] = None,
    precision: Annotated[Precision, typer.Option(help="bf16 halves memory on a GPU.")] = Precision.no,
    workers: Annotated[int, typer.Option(help="Processes that read data ahead.")] = 0,
    original: Annotated[bool, typer.Option("--original", help="Also write sam2's own layout.")] = False,
) -> None:
    """Train a model by a recipe; a run that was stopped goes on from its last checkpoint."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from masklet.errors import MissingExtra

    try:
        from masklet.train.options import Order
        from masklet.train.run import Course
    except ModuleNotFoundError as error:
        if error.name in ("accelerate", "tensorboard", "jinja2"):
            raise MissingExtra("train", error.name) from error
        raise

    learns: Preset | None = None if preset is None else preset.value
    course = Course.begin(recipe, Order(data, model, learns, size, steps, rate, validation), out)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), disable=not course.main) as progress:
        bar = progress.add_task("preparing", total=course.run.recipe.steps, completed=course.run.step)
        for row in course.rows(precision=precision.value, workers=workers, original=original):
            if "loss" in row:
                said = f"loss {row['loss']:.3f}  rate {row['rate']:.1e}  {row['seconds']:.1f} s a step"
                progress.update(bar, completed=row["step"], description=said)
            elif course.main:
                scores = "  ".join(
                    f"{name.removeprefix('held back, ')} {row[name]:.3f}" for name in row if name != "step"
                )
                progress.console.print(f"step {row['step']:.0f}, held back:  {scores}", soft_wrap=True)
    typer.echo(out)
