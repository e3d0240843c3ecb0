"""Validates weighted means of two networks' weights, and writes the best one.

python dev/mean_weights.py DATA SHIPPED END --out nano.safetensors

Means of the results of training rounds are better than the results themselves. DATA is the training data of
the recipe `nano`. Its held-back images and clips select the mean, independently of later measurements.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

import masklet
from masklet.train.recipe import TrainingOptions
from masklet.train.recipes import nano
from masklet.train.validation import validate

COLUMNS = ("1 click, best of 3", "1 click", "3 clicks", "box", "tracking", "mean")


def main(
    data: Path,
    first: str,
    second: str,
    out: Path = Path("mean.safetensors"),
    shares: Annotated[str, typer.Option(help="shares of the second network's weights")] = "0,0.3,0.5,0.7,1",
) -> None:
    """Validate means of two networks, and write the best one in half precision."""
    torch.set_num_threads(1)
    validation = nano.recipe(TrainingOptions(data)).validation
    assert validation is not None
    one, other = (masklet.load(name, device="cpu", engine="torch") for name in (first, second))
    typer.echo(f"| share of {Path(second).stem} | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}")
    best = -1.0
    for share in map(float, shares.split(",")):
        mean = masklet.Sam2(one.config).eval()
        mean.load_state_dict(blend(one, other, share))
        scores = validate(mean, validation)
        typer.echo(f"| {share:g} | {' | '.join(f'{scores[column]:.4f}' for column in COLUMNS)} |")
        if scores["mean"] > best:
            best = scores["mean"]
            masklet.save(mean, out, dtype="float16")


def blend(one: masklet.Sam2, other: masklet.Sam2, share: float) -> dict[str, torch.Tensor]:
    """The weighted mean of two networks' weights."""
    weights = other.state_dict()
    return {name: torch.lerp(tensor, weights[name], share) for name, tensor in one.state_dict().items()}


if __name__ == "__main__":
    typer.run(main)
