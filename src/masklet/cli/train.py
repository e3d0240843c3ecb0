"""masklet train: run a training recipe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.options import announce_start, command_line, parse_folder, recipe_names

if TYPE_CHECKING:
    from masklet.train.parameters import Preset


class PresetName(StrEnum):
    """The presets, without importing torch."""

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
        typer.Argument(
            help="A recipe's name ({recipes}), or a Python file with `recipe(options)`.",
            autocompletion=recipe_names,
        ),
    ],
    data: Annotated[
        Path, typer.Argument(help="The training data, in a form that the recipe reads (docs/training.md).")
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_folder,
            metavar="FOLDER",
            help="Folder for checkpoints, log and report. The same folder resumes a run.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Weights to start from: a name, file or hub id; new-tiny for random weights."),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(rich_help_panel="Training", help="The parts of the network to train."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the model's input square, a multiple of 32.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Validation data. Default: a part of DATA is held back.")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="bf16 halves memory on a GPU.")] = Precision.no,
    workers: Annotated[int, typer.Option(min=0, help="Number of processes that load data.")] = 0,
    original: Annotated[
        bool, typer.Option("--original", help="Also write model.pt in the original package's layout.")
    ] = False,
) -> None:
    """Train a model with a recipe. Repeat the command to resume from the last checkpoint."""
    announce_start()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from masklet.errors import MediaError, MissingExtra
    from masklet.sessions.image import ImageSession

    for place in (data, validation):
        if place is not None and not place.exists():
            raise MediaError(f"there is no data set {place}.")

    try:
        from masklet.train.loop import VALIDATION
        from masklet.train.recipe import TrainingOptions
        from masklet.train.run import TrainingRun
    except ModuleNotFoundError as error:
        if error.name in ("accelerate", "tensorboard", "jinja2"):
            raise MissingExtra("train", error.name) from error
        raise

    preset_name: Preset | None = None if preset is None else preset.value
    options = TrainingOptions(data, model, preset_name, size, steps, rate, validation, ImageSession)
    run = TrainingRun.begin(recipe, options, out, command_line())
    if run.state.step >= run.state.recipe.steps and run.is_main_process:
        text = (
            f"{out} contains a finished run of {run.state.step} steps. To train again, choose another folder."
        )
        typer.echo(text, err=True)
    best: tuple[float, float] | None = None  # mean score and step of validations in this process
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), disable=not run.is_main_process) as progress:
        begun = "scoring the model before training" if run.state.step == 0 else "resuming"
        bar = progress.add_task(begun, total=run.state.recipe.steps, completed=run.state.step)
        for row in run.rows(precision=precision.value, workers=workers, original=original):
            if "loss" in row:
                text = (
                    f"loss {row['loss']:.3f}  learning rate {row['rate']:.1e}  {row['seconds']:.1f} s a step"
                )
                progress.update(bar, completed=row["step"], description=text)
            elif run.is_main_process:
                scores = "  ".join(
                    f"{name.removeprefix(VALIDATION)} {row[name]:.3f}" for name in row if name != "step"
                )
                progress.console.print(f"step {row['step']:.0f}, validation:  {scores}", soft_wrap=True)
                mean = row.get(VALIDATION + "mean")
                if mean is not None and (best is None or mean > best[0]):
                    best = mean, row["step"]
                progress.update(bar, description="training")
    is_saved = best is not None and best[0] == getattr(run.state, "best", None)  # otherwise the disk was full
    if is_saved and best is not None and best[1] == 0 and run.is_main_process:
        typer.echo(
            "no step scored better than the model before training: best.safetensors holds that model. "
            "model.safetensors has the weights of the last step.",
            err=True,
        )
    typer.echo(out)
