"""masklet train: run a training recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name (nano), or a Python file with `recipe(pictures)`.")
    ],
    sets: Annotated[Path, typer.Argument(help="A folder of image sets, each with an instances.json (COCO).")],
    out: Annotated[Path, typer.Option(help="Takes checkpoints and the log; the same folder again goes on.")],
) -> None:
    """Train a model by a recipe; a run that was stopped goes on from its last checkpoint."""
    from rich.console import Console

    from masklet.errors import MissingExtra

    try:
        from masklet.train.run import run_recipe
    except ModuleNotFoundError as error:
        if error.name in ("accelerate", "tensorboard", "jinja2"):
            raise MissingExtra("train", error.name) from error
        raise

    console = Console(stderr=True)
    with console.status("preparing") as status:
        for row in run_recipe(recipe, sets, out):
            status.update(
                f"step {row['step']:.0f}  loss {row['loss']:.3f}  rate {row['rate']:.1e}  {row['seconds']:.1f} s a step"
            )
    typer.echo(out / "state.pt")
